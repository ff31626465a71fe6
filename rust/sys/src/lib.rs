//! The raw C ABI of llama.cpp: types, function table, struct layouts and dynamic loading.
//!
//! llama.cpp promises no stable ABI and passes large parameter structs by value. This crate finds out which build a
//! library is ([`probe`], [`identify`]), refuses builds it does not know, and gives the layer above a table of
//! function pointers ([`Api`]) plus the layout ([`AbiLayout`]) that writes settings into its parameter structs.
//!
//! Nothing here is safe to call without reading `llama.h`; the safe types live in `tabagent-llama`.

mod api;
mod binary;
mod block;
mod elf;
mod evidence;
mod explain;
mod family;
mod handles;
mod inspect;
mod layout;
mod layouts;
mod loader;
mod macho;
mod open;
mod pe;
mod probe;
mod settings;
mod shim;
mod symbols;
mod types;

pub use api::{Api, MissingSymbols};
pub use binary::{BinaryFacts, BinaryFormat, InspectError};
pub use block::ParamBlock;
pub use evidence::{AbiMismatch, DefaultBytes, Evidence, Strictness, VersionEvidence, candidates, identify};
pub use explain::LoadFailure;
pub use family::{AdapterFamily, Family, MemoryFamily, VocabularyFamily};
pub use inspect::inspect;
pub use layout::{AbiLayout, Field, FieldKind, StructLayout, TensorFields, TensorLayout};
pub use layouts::KNOWN as KNOWN_LAYOUTS;
pub use open::{
    LocatedLibrary, OpenedLibrary, check_module, file_of_address, library_file, library_file_name,
    load_ahead, locate,
};
pub use probe::probe;
pub use settings::{
    ContextSettings, ModelSettings, PlacementSettings, UnsupportedFeature, UnsupportedSetting,
};
pub use shim::{Shim, Thrown, ThrownKind};
pub use types::*;
