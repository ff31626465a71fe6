//! The raw C ABI of llama.cpp: types, function table, struct layouts and dynamic loading.
//!
//! llama.cpp promises no stable ABI and passes large parameter structs by value. This crate finds out which build a
//! library is ([`probe`], [`identify`]), refuses builds it does not know, and gives the layer above a table of
//! function pointers ([`Api`]) plus the layout ([`AbiLayout`]) through which parameter structs are written.
//!
//! Nothing here is safe to call without reading `llama.h`; the safe types live in `tabagent-llama`.

mod abi;
mod api;
mod binary;
mod block;
mod elf;
mod explain;
mod layouts;
mod loader;
mod macho;
mod open;
mod pe;
mod types;

pub use abi::{
    AbiLayout, AbiMismatch, DefaultBytes, Evidence, Field, FieldKind, StructLayout, UnknownField,
    VersionEvidence, identify, probe,
};
pub use api::{Api, MissingSymbols};
pub use binary::{BinaryFacts, BinaryFormat, InspectError, inspect};
pub use block::ParamBlock;
pub use explain::LoadFailure;
pub use layouts::KNOWN as KNOWN_LAYOUTS;
pub use open::{LocatedLibrary, OpenedLibrary, file_of_address, library_file, library_file_name, locate};
pub use types::*;
