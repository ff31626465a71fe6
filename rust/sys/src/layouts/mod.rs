//! The builds of llama.cpp whose ABI is known. A new one is a new file here, which `tools/make_layout.py` writes, and a line in [`KNOWN`].

mod llama_0_5_0;

use crate::layout::{AbiLayout, Field, FieldKind};

/// Every supported layout, the newest last.
pub const KNOWN: &[AbiLayout] = &[llama_0_5_0::LAYOUT];

const fn int(name: &'static str, offset: usize, default: i32) -> Field {
    Field { name, offset, kind: FieldKind::Int, default: default as u32 as u64 }
}

const fn float(name: &'static str, offset: usize, default: f32) -> Field {
    Field { name, offset, kind: FieldKind::Float, default: default.to_bits() as u64 }
}

const fn word(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Word, default: 0 }
}

const fn boolean(name: &'static str, offset: usize, default: bool) -> Field {
    Field { name, offset, kind: FieldKind::Bool, default: default as u64 }
}
