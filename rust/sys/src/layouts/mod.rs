//! The builds of llama.cpp whose ABI is known. A new one is a new file here and a line in [`KNOWN`].

mod llama_0_5_0;

use crate::abi::AbiLayout;

/// Every supported layout.
pub const KNOWN: &[AbiLayout] = &[llama_0_5_0::LAYOUT];
