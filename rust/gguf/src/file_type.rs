//! The kinds of files that llama.cpp's quantizer makes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::ggml_type::GgmlType;

/// Builds the enum and its tables from one list, so that they cannot disagree.
macro_rules! file_types {
    ($($name:ident = $id:literal, $default:ident, $note:literal;)+) => {
        /// A file of mostly one type, with the mixture that llama.cpp's quantizer makes of it (`enum llama_ftype` in `include/llama.h`).
        ///
        /// The letter after a K type tells how many of the tensors that matter most get finer types: `S` hardly any, `M` some of them, `L` more.
        ///
        /// ```
        /// use tabagent_gguf::{FileType, GgmlType};
        /// let kind: FileType = "q4_k".parse()?;
        /// assert_eq!((kind, kind.id()), (FileType::Q4_K_M, 15));
        /// assert_eq!(kind.default_type(), GgmlType::Q4_K);
        /// assert_eq!("15".parse::<FileType>()?, kind);
        /// # Ok::<(), tabagent_gguf::UnknownFileType>(())
        /// ```
        #[allow(non_camel_case_types, reason = "llama.cpp's own names")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FileType {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $note, ".")]
                $name,
            )+
        }

        impl FileType {
            /// All, by their number.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// llama.cpp's number, as in `general.file_type`.
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id),+ }
            }

            /// The name, as in `Q4_K_M`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The type of the tensors that no rule singles out.
            pub const fn default_type(self) -> GgmlType {
                match self { $(Self::$name => GgmlType::$default),+ }
            }

            /// What it is, in a few words.
            pub const fn note(self) -> &'static str {
                match self { $(Self::$name => $note),+ }
            }
        }
    };
}

file_types! {
    F32 = 0, F32, "every weight in 32 bits";
    F16 = 1, F16, "half precision";
    Q4_0 = 2, Q4_0, "blocks of 32 with a scale; fast everywhere";
    Q4_1 = 3, Q4_1, "blocks of 32 with a scale and a minimum";
    Q8_0 = 7, Q8_0, "blocks of 32 with a scale; next to no loss";
    Q5_0 = 8, Q5_0, "blocks of 32 with a scale";
    Q5_1 = 9, Q5_1, "blocks of 32 with a scale and a minimum";
    Q2_K = 10, Q2_K, "K blocks; attention and `ffn_down` finer";
    Q3_K_S = 11, Q3_K, "K blocks, hardly mixed";
    Q3_K_M = 12, Q3_K, "K blocks; attention and `ffn_down` finer";
    Q3_K_L = 13, Q3_K, "K blocks; attention and `ffn_down` much finer";
    Q4_K_S = 14, Q4_K, "K blocks; the first layers finer";
    Q4_K_M = 15, Q4_K, "K blocks; half of `attn_v` and `ffn_down` finer; the usual choice";
    Q5_K_S = 16, Q5_K, "K blocks, hardly mixed";
    Q5_K_M = 17, Q5_K, "K blocks; half of `attn_v` and `ffn_down` finer";
    Q6_K = 18, Q6_K, "K blocks; little loss";
    IQ2_XXS = 19, IQ2_XXS, "lattice; needs an importance matrix";
    IQ2_XS = 20, IQ2_XS, "lattice; needs an importance matrix";
    Q2_K_S = 21, Q2_K, "K blocks; needs an importance matrix";
    IQ3_XS = 22, IQ3_S, "lattice; outer layers finer; needs an importance matrix";
    IQ3_XXS = 23, IQ3_XXS, "lattice; needs an importance matrix";
    IQ1_S = 24, IQ1_S, "lattice; needs an importance matrix";
    IQ4_NL = 25, IQ4_NL, "blocks of 32 with uneven steps";
    IQ3_S = 26, IQ3_S, "lattice";
    IQ3_M = 27, IQ3_S, "lattice; attention and `ffn_down` finer";
    IQ2_S = 28, IQ2_XS, "lattice; attention finer; needs an importance matrix";
    IQ2_M = 29, IQ2_S, "lattice; attention finer; needs an importance matrix";
    IQ4_XS = 30, IQ4_XS, "blocks of 256 with uneven steps";
    IQ1_M = 31, IQ1_M, "lattice; needs an importance matrix";
    BF16 = 32, BF16, "bfloat16";
    TQ1_0 = 36, TQ1_0, "ternary weights, for BitNet models";
    TQ2_0 = 37, TQ2_0, "ternary weights, for BitNet models; faster";
    MXFP4_MOE = 38, MXFP4, "experts in 4-bit floats, all else in `Q8_0`";
    Q1_0 = 40, Q1_0, "one bit with a scale for 128 weights";
    Q2_0 = 41, Q2_0, "two bits with a scale for 64 weights";
}

/// `LLAMA_FTYPE_MOSTLY_NVFP4`, which the quantizer does not make.
const NVFP4: u32 = 39;

impl FileType {
    /// Other names that llama.cpp's quantizer takes.
    pub const ALIASES: [(&str, Self); 3] =
        [("Q3_K", Self::Q3_K_M), ("Q4_K", Self::Q4_K_M), ("Q5_K", Self::Q5_K_M)];

    /// The type with llama.cpp's number `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.id() == id)
    }

    /// The name of the type with llama.cpp's number `id`, also where the quantizer does not make it.
    pub fn name_of(id: u32) -> Option<&'static str> {
        if id == NVFP4 { Some(GgmlType::NVFP4.name()) } else { Self::from_id(id).map(Self::name) }
    }

    /// Bits that a weight of [`FileType::default_type`] takes; the file as a whole takes some more.
    pub fn bits_per_weight(self) -> f64 {
        let kind = self.default_type();
        (kind.block_bytes() * 8) as f64 / kind.block_size() as f64
    }

    /// The number that llama.cpp's loader guesses for a file of mostly `kind` that does not state its file type.
    pub(crate) fn guessed_id(kind: GgmlType) -> u32 {
        match kind {
            GgmlType::Q3_K => Self::Q3_K_M.id(),
            GgmlType::Q4_K => Self::Q4_K_M.id(),
            GgmlType::Q5_K => Self::Q5_K_M.id(),
            GgmlType::NVFP4 => NVFP4,
            _ => Self::ALL.iter().find(|known| known.name() == kind.name()).map_or(0, |known| known.id()),
        }
    }
}

/// A text that is neither the name nor the number of a [`FileType`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no file type; choose one of {}, or COPY", names())]
pub struct UnknownFileType {
    /// The text.
    pub text: String,
}

/// All names, for messages.
fn names() -> String {
    let names: Vec<&str> = FileType::ALL.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes names and their aliases, in upper or lower case, and numbers.
impl FromStr for FileType {
    type Err = UnknownFileType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let by_alias = || Self::ALIASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
            .or_else(|| by_alias().map(|(_, kind)| *kind))
            .or_else(|| text.parse().ok().and_then(Self::from_id))
            .ok_or_else(|| UnknownFileType { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_aliases_and_numbers_are_read_in_any_case() {
        for &kind in FileType::ALL {
            assert_eq!(kind.name().parse::<FileType>().unwrap(), kind);
            assert_eq!(kind.name().to_lowercase().parse::<FileType>().unwrap(), kind);
            assert_eq!(kind.id().to_string().parse::<FileType>().unwrap(), kind);
        }
        assert_eq!("q5_k".parse::<FileType>().unwrap(), FileType::Q5_K_M);
        assert_eq!([15, 39, 33].map(FileType::name_of), [Some("Q4_K_M"), Some("NVFP4"), None]);
        for wrong in ["", "Q4", "39", "4", "Q4_K_M ", "-1", "1024"] {
            let text = wrong.parse::<FileType>().unwrap_err().to_string();
            assert!(text.contains("no file type") && text.contains("Q4_K_M"), "{text}");
        }
    }

    #[test]
    fn guesses_are_those_of_the_loader() {
        assert_eq!(FileType::guessed_id(GgmlType::Q4_K), 15);
        assert_eq!(FileType::guessed_id(GgmlType::IQ2_S), 28);
        assert_eq!(FileType::guessed_id(GgmlType::F32), 0);
        assert_eq!(FileType::guessed_id(GgmlType::Q6_K), 18);
        assert_eq!(FileType::guessed_id(GgmlType::Q2_K), 10);
        // The loader has no file type for MXFP4, nor for integers.
        assert_eq!(FileType::guessed_id(GgmlType::MXFP4), 0);
        assert_eq!(FileType::guessed_id(GgmlType::I32), 0);
    }
}
