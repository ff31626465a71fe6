//! The types that merged tensors get.

use std::fmt;
use std::str::FromStr;

use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::out_type::{UnknownOutType, name_of, named};

/// The types that converted adapters can have.
pub const ADAPTER_TYPES: [GgmlType; 3] = [GgmlType::F32, GgmlType::F16, GgmlType::BF16];

/// The type of the tensors that an adapter changes; all others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeType {
    /// The type of the model's tensor.
    #[default]
    Keep,
    /// F32.
    F32,
    /// F16, but tensors of F32 stay so: what `llama-export-lora` writes.
    F16,
    /// BF16, but tensors of F32 stay so.
    Bf16,
    /// `Q8_0`, but tensors of F32 stay so, and rows that its blocks of 32 do not divide become F16.
    Q8_0,
}

impl MergeType {
    /// All types with the names that the command line takes.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("keep", Self::Keep),
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("q8_0", Self::Q8_0),
    ];

    /// The type for a tensor of `kind` with rows of `row_len`.
    pub(super) fn choose(self, kind: GgmlType, row_len: u64) -> GgmlType {
        match self {
            Self::Keep => kind,
            Self::F32 => GgmlType::F32,
            _ if kind == GgmlType::F32 => kind,
            Self::Bf16 => GgmlType::BF16,
            Self::Q8_0 if row_len.is_multiple_of(GgmlType::Q8_0.block_size()) => GgmlType::Q8_0,
            Self::F16 | Self::Q8_0 => GgmlType::F16,
        }
    }

    /// The file type of a file whose tensors mostly have this type.
    pub(super) fn file_type(self) -> Option<FileType> {
        match self {
            Self::Keep => None,
            Self::F32 => Some(FileType::F32),
            Self::F16 => Some(FileType::F16),
            Self::Q8_0 => Some(FileType::Q8_0),
            Self::Bf16 => Some(FileType::BF16),
        }
    }
}

impl fmt::Display for MergeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl FromStr for MergeType {
    type Err = UnknownOutType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        named(&Self::NAMES, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for (name, kind) in MergeType::NAMES {
            assert_eq!(name.to_uppercase().parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("q4_k".parse::<MergeType>().unwrap_err().to_string().contains("`keep`"));
    }

    #[test]
    fn full_precision_is_not_lost_unasked() {
        assert_eq!(MergeType::F16.choose(GgmlType::F32, 32), GgmlType::F32);
        assert_eq!(MergeType::F16.choose(GgmlType::Q4_K, 256), GgmlType::F16);
        assert_eq!(MergeType::Q8_0.choose(GgmlType::F16, 48), GgmlType::F16);
        assert_eq!(MergeType::Q8_0.choose(GgmlType::Q4_K, 256), GgmlType::Q8_0);
        assert_eq!(MergeType::Keep.choose(GgmlType::IQ4_NL, 64), GgmlType::IQ4_NL);
        assert_eq!(MergeType::F32.choose(GgmlType::F16, 3), GgmlType::F32);
    }
}
