//! The number types that a converted model can have.

use std::fmt;
use std::str::FromStr;

use crate::ggml_type::GgmlType;

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
    /// All, with the names that the command line takes.
    pub const NAMES: [(&str, Self); 7] = [
        ("auto", Self::Auto),
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("q8_0", Self::Q8_0),
        ("tq1_0", Self::Tq1_0),
        ("tq2_0", Self::Tq2_0),
    ];
}

impl fmt::Display for OutType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for OutType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        Self::NAMES.iter().find(|(name, _)| *name == lower).map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<String> = Self::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("`{text}` is no output type; choose one of {}", names.join(", "))
        })
    }
}

/// An [`OutType`] that is decided, with llama.cpp's number for such files (`enum llama_ftype` in `include/llama.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileType {
    pub(super) ggml_type: GgmlType,
    pub(super) id: u32,
}

impl FileType {
    /// Decides `wanted` for `checkpoint`.
    pub(super) fn choose(wanted: OutType, checkpoint: &Checkpoint) -> Self {
        let (ggml_type, id) = match wanted {
            OutType::F32 => (GgmlType::F32, 0),
            OutType::F16 => (GgmlType::F16, 1),
            OutType::Q8_0 => (GgmlType::Q8_0, 7),
            OutType::Bf16 => (GgmlType::BF16, 32),
            OutType::Tq1_0 => (GgmlType::TQ1_0, 36),
            OutType::Tq2_0 => (GgmlType::TQ2_0, 37),
            OutType::Auto => {
                let half = checkpoint.tensors.iter().find_map(|(_, tensor)| {
                    (tensor.shape.len() > 1 && matches!(tensor.kind, Kind::F16 | Kind::Bf16))
                        .then_some(tensor.kind)
                });
                let kind = if half == Some(Kind::Bf16) { OutType::Bf16 } else { OutType::F16 };
                return Self::choose(kind, checkpoint);
            }
        };
        Self { ggml_type, id }
    }

    /// True for the ternary types.
    pub(super) fn is_ternary(self) -> bool {
        matches!(self.ggml_type, GgmlType::TQ1_0 | GgmlType::TQ2_0)
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
        assert!("q4_k".parse::<OutType>().unwrap_err().contains("`tq2_0`"));
    }
}
