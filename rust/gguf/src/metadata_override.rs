//! Values given in place of a file's own.

use crate::owned::OwnedValue;

/// A value put in place of a file's own, of one of the four kinds that llama.cpp takes (`enum llama_model_kv_override_type` in
/// `include/llama.h`).
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataOverride {
    /// For keys of integer type.
    Int(i64),
    /// For keys of float type; finite.
    Float(f64),
    /// For keys of type bool.
    Bool(bool),
    /// For keys of type string; llama.cpp takes at most 127 bytes without NUL.
    Str(String),
}

impl From<MetadataOverride> for OwnedValue {
    fn from(value: MetadataOverride) -> Self {
        match value {
            MetadataOverride::Int(int) => Self::I64(int),
            MetadataOverride::Float(float) => Self::F64(float),
            MetadataOverride::Bool(flag) => Self::Bool(flag),
            MetadataOverride::Str(text) => Self::String(text.into_bytes()),
        }
    }
}
