//! The number types of ggml and the sizes of their blocks.

use std::fmt;

/// Builds the enum and its tables from one list, so that they cannot disagree.
macro_rules! ggml_types {
    ($($name:ident = $id:literal, $text:literal, $block:literal, $bytes:literal;)+) => {
        /// A tensor's number type, as stored in GGUF (`enum ggml_type` in `ggml/include/ggml.h`).
        ///
        /// Sizes are those of the blocks in `ggml/src/ggml-common.h`. `I2_S` is a type of Microsoft's BitNet fork: such
        /// files can be read and rewritten here but not loaded by llama.cpp.
        ///
        /// ```
        /// use tabagent_gguf::GgmlType;
        /// assert_eq!(GgmlType::Q4_K.n_bytes(512), Some(288));
        /// assert_eq!(GgmlType::from_id(4), None); // removed from ggml in 2023
        /// ```
        #[allow(non_camel_case_types, reason = "ggml's own names")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum GgmlType {
            $(
                #[doc = concat!("`", $text, "`: ", stringify!($block), " weights in ", stringify!($bytes), " bytes.")]
                $name,
            )+
        }

        impl GgmlType {
            /// All types, by their number.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The type with ggml's number `id`, or `None` if there is none (any more).
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// ggml's number for the type.
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id),+ }
            }

            /// The usual name, as in `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Weights in one block; a row must be a multiple of it.
            pub const fn block_size(self) -> u64 {
                match self { $(Self::$name => $block),+ }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$name => $bytes),+ }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "F32", 1, 4;
    F16 = 1, "F16", 1, 2;
    Q4_0 = 2, "Q4_0", 32, 18;
    Q4_1 = 3, "Q4_1", 32, 20;
    Q5_0 = 6, "Q5_0", 32, 22;
    Q5_1 = 7, "Q5_1", 32, 24;
    Q8_0 = 8, "Q8_0", 32, 34;
    Q8_1 = 9, "Q8_1", 32, 36;
    Q2_K = 10, "Q2_K", 256, 84;
    Q3_K = 11, "Q3_K", 256, 110;
    Q4_K = 12, "Q4_K", 256, 144;
    Q5_K = 13, "Q5_K", 256, 176;
    Q6_K = 14, "Q6_K", 256, 210;
    Q8_K = 15, "Q8_K", 256, 292;
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    IQ1_S = 19, "IQ1_S", 256, 50;
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    IQ3_S = 21, "IQ3_S", 256, 110;
    IQ2_S = 22, "IQ2_S", 256, 82;
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    I8 = 24, "I8", 1, 1;
    I16 = 25, "I16", 1, 2;
    I32 = 26, "I32", 1, 4;
    I64 = 27, "I64", 1, 8;
    F64 = 28, "F64", 1, 8;
    IQ1_M = 29, "IQ1_M", 256, 56;
    BF16 = 30, "BF16", 1, 2;
    TQ1_0 = 34, "TQ1_0", 256, 54;
    TQ2_0 = 35, "TQ2_0", 256, 66;
    I2_S = 36, "I2_S", 128, 32;
    MXFP4 = 39, "MXFP4", 32, 17;
    NVFP4 = 40, "NVFP4", 64, 36;
    Q1_0 = 41, "Q1_0", 128, 18;
    Q2_0 = 42, "Q2_0", 64, 18;
}

/// Bytes after the weights of an `I2_S` tensor: its one F32 scale, padded.
const I2_S_TRAILER_BYTES: u64 = 32;

impl GgmlType {
    /// Bytes that `n_elements` take, a multiple of the block size; `None` if it is not one or the size overflows.
    pub const fn n_bytes(self, n_elements: u64) -> Option<u64> {
        if !n_elements.is_multiple_of(self.block_size()) {
            return None;
        }
        let Some(blocks) = (n_elements / self.block_size()).checked_mul(self.block_bytes()) else {
            return None;
        };
        if matches!(self, Self::I2_S) { blocks.checked_add(I2_S_TRAILER_BYTES) } else { Some(blocks) }
    }

    /// True for the types whose blocks name points of a lattice; searching for those points takes long.
    pub const fn is_lattice(self) -> bool {
        matches!(
            self,
            Self::IQ1_S
                | Self::IQ1_M
                | Self::IQ2_XXS
                | Self::IQ2_XS
                | Self::IQ2_S
                | Self::IQ3_XXS
                | Self::IQ3_S
        )
    }

    /// True for a plain floating-point type that llama.cpp's kernels take for norms and biases.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// True for a type that upstream llama.cpp knows; false for those of forks.
    pub const fn is_upstream(self) -> bool {
        !matches!(self, Self::I2_S)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_types_are_inverse() {
        for &kind in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(kind.id()), Some(kind));
        }
        for removed in [4, 5, 31, 32, 33, 37, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_id(removed), None, "{removed}");
        }
    }

    #[test]
    fn partial_blocks_and_overflow_have_no_size() {
        assert_eq!(GgmlType::Q4_0.n_bytes(33), None);
        assert_eq!(GgmlType::F64.n_bytes(u64::MAX / 4), None);
        assert_eq!(GgmlType::I2_S.n_bytes(256), Some(96));
    }
}
