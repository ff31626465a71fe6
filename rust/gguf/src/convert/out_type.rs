//! The number types that a converted model can have.

use std::fmt;
use std::str::FromStr;

use crate::file_type::FileType;
use crate::out_type::{UnknownOutType, name_of, named};

use super::checkpoint::{Checkpoint, Kind};

/// The number type of the matrices of a converted model; norms, biases and other vectors are always F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutType {
    /// BF16 or F16, whichever the first matrix of the checkpoint has; F16 if it has neither.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits with a scale for 32 weights.
    Q8_0,
    /// Ternary, 1.69 bits a weight.
    Tq1_0,
    /// Ternary, 2.06 bits a weight.
    Tq2_0,
}

impl OutType {
    /// All types with the names that the command line takes.
    pub const NAMES: [(&str, Self); 7] = [
        ("auto", Self::Auto),
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("q8_0", Self::Q8_0),
        ("tq1_0", Self::Tq1_0),
        ("tq2_0", Self::Tq2_0),
    ];

    /// The file type that `checkpoint` becomes; its default type is that of the matrices.
    pub(super) fn file_type(self, checkpoint: &Checkpoint) -> FileType {
        match self {
            Self::F32 => FileType::F32,
            Self::F16 => FileType::F16,
            Self::Q8_0 => FileType::Q8_0,
            Self::Bf16 => FileType::BF16,
            Self::Tq1_0 => FileType::TQ1_0,
            Self::Tq2_0 => FileType::TQ2_0,
            Self::Auto => {
                let half = checkpoint.tensors.iter().find_map(|(_, tensor)| {
                    (tensor.shape.len() > 1 && matches!(tensor.kind, Kind::F16 | Kind::Bf16))
                        .then_some(tensor.kind)
                });
                if half == Some(Kind::Bf16) { FileType::BF16 } else { FileType::F16 }
            }
        }
    }
}

impl fmt::Display for OutType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl FromStr for OutType {
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
        for (name, kind) in OutType::NAMES {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(name.to_uppercase().parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("q4_k".parse::<OutType>().unwrap_err().to_string().contains("`tq2_0`"));
    }
}
