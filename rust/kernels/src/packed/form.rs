//! How weights lie in memory: the packed forms of ggml's number formats.
//!
//! Sixteen rows make a tile, 32 columns of it a block. Vector `j` of a block (`j` below 8) has 64 bytes: four neighbouring weights, columns `4 j` to
//! `4 j + 3` of the block, for each of the 16 rows. A product needs no sum across a vector then: each lane of 32 bits belongs to a row, and the
//! same four activations meet all rows. Weights of fewer bits lie in planes: bits of several vectors share a byte. A weight is
//! `scale * (digit - offset) - minimum`, its digit a number without sign.

use tabagent_gguf::GgmlType;

/// Rows of a tile.
pub(crate) const TILE: usize = 16;

/// Columns of a block.
pub(crate) const BLOCK: usize = 32;

/// Blocks that share a scale of scales.
pub(crate) const SUPER: usize = 8;

/// 64 bytes: what a vector of AVX-512 holds, and a line of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// 32 bytes: a half-precision number for each row of a tile, or two small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct Half(pub(crate) [u8; 32]);

/// The planes that a block's digits lie in; the number is that of its [`Line`]s, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    /// Vector `j` is bits `2 (j % 4)` of line `j / 4`.
    Two = 2,
    /// As `Two`; the third bit is bit `j` of line 2.
    Three = 3,
    /// Vector `j` is the lower (`j` below 4) or upper half of the bytes in line `j % 4`.
    Four = 4,
    /// As `Four`; the fifth bit is bit `j` of line 4.
    Five = 5,
    /// As `Four`; the upper two bits lie in lines 4 and 5 as in `Two`.
    Six = 6,
    /// Vector `j` is line `j`.
    Eight = 8,
}

/// What scales a form has, and how they lie in [`Half`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    /// A block has an F16 scale a row.
    Half,
    /// A block has an F16 scale and an F16 summand (a minimum with its sign turned).
    HalfMin,
    /// A block has a byte a row: the exponent `e` of a scale of `2^(e - 128)`; two blocks share a `Half`.
    Exponent,
    /// A super-block has an F16 scale a row, then each of its blocks a signed byte a row; two blocks share a `Half`.
    Bytes,
    /// A super-block has an F16 scale and an F16 scale of minima, then each of its blocks a byte for the scale and one for the minimum.
    BytesMin,
    /// A super-block has an F16 scale, then each of its blocks two signed bytes a row: for 16 columns each.
    Bytes16,
    /// A super-block has an F16 scale and an F16 scale of minima, then each of its blocks two bytes a row, for 16 columns each: the scale is the lower
    /// half of the byte, the minimum the upper one.
    Nibbles16,
    /// A super-block has an F16 scale a row.
    Super,
}

impl Scales {
    /// `Half`s that `n_blocks` blocks of a tile take.
    pub(crate) const fn n_halves(self, n_blocks: usize) -> usize {
        let n_supers = n_blocks.div_ceil(SUPER);
        match self {
            Self::Half => n_blocks,
            Self::HalfMin => 2 * n_blocks,
            Self::Exponent => n_blocks.div_ceil(2),
            Self::Bytes => 5 * n_supers,
            Self::BytesMin | Self::Nibbles16 => 10 * n_supers,
            Self::Bytes16 => 9 * n_supers,
            Self::Super => n_supers,
        }
    }

    /// True if 16 columns have a scale of their own.
    pub(crate) const fn is_16(self) -> bool {
        matches!(self, Self::Bytes16 | Self::Nibbles16)
    }

    /// True if a minimum is added.
    pub(crate) const fn has_min(self) -> bool {
        matches!(self, Self::HalfMin | Self::BytesMin | Self::Nibbles16)
    }
}

/// A packed form, known when the kernels are compiled.
pub(crate) trait Form {
    /// The planes.
    const BITS: Bits;
    /// The scales.
    const SCALES: Scales;
    /// The digit of zero is two to this power; there is no offset if `None`.
    const OFFSET: Option<u32>;
    /// What digits stand for, where they are indices; the offset is in it already.
    const TABLE: Option<[u8; 16]>;
    /// The largest digit, after the table.
    const MAX: i32;
}

/// Makes the forms, their names at run time, and a macro that calls generic code for a name.
macro_rules! forms {
    ($($name:ident: $bits:ident, $scales:ident, $offset:expr, $table:expr, $max:literal;)+) => {
        /// A packed form, by its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum FormName {
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                $name,
            )+
        }

        $(
            /// A packed form.
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Form for $name {
                const BITS: Bits = Bits::$bits;
                const SCALES: Scales = Scales::$scales;
                const OFFSET: Option<u32> = $offset;
                const TABLE: Option<[u8; 16]> = $table;
                const MAX: i32 = $max;
            }
        )+

        impl FormName {
            /// The planes.
            pub(crate) const fn bits(self) -> Bits {
                match self { $(Self::$name => $name::BITS),+ }
            }

            /// The scales.
            pub(crate) const fn scales(self) -> Scales {
                match self { $(Self::$name => $name::SCALES),+ }
            }

            /// The digit of zero.
            pub(crate) const fn offset(self) -> i32 {
                let offset = match self { $(Self::$name => $name::OFFSET),+ };
                match offset {
                    Some(power) => 1 << power,
                    None => 0,
                }
            }

            /// What digits stand for.
            pub(crate) const fn table(self) -> Option<[u8; 16]> {
                match self { $(Self::$name => $name::TABLE),+ }
            }
        }

        /// `for_form!(name, F => code)`: the code with `F` the form of that name.
        macro_rules! for_form {
            ($form:expr, $generic:ident => $code:expr) => {
                match $form {
                    $($crate::packed::FormName::$name => {
                        type $generic = $crate::packed::$name;
                        $code
                    })+
                }
            };
        }
        pub(crate) use for_form;
    };
}

forms! {
    Nibbles: Four, Half, Some(3), None, 15;
    NibblesMin: Four, HalfMin, None, None, 15;
    Fives: Five, Half, Some(4), None, 31;
    FivesMin: Five, HalfMin, None, None, 31;
    Bytes: Eight, Half, Some(7), None, 255;
    TwosK: Two, Nibbles16, None, None, 3;
    ThreesK: Three, Bytes16, Some(2), None, 7;
    NibblesK: Four, BytesMin, None, None, 15;
    FivesK: Five, BytesMin, None, None, 31;
    SixesK: Six, Bytes16, Some(5), None, 63;
    Uneven: Four, Half, Some(7), Some(UNEVEN), 255;
    UnevenK: Four, Bytes, Some(7), Some(UNEVEN), 255;
    Floats4: Four, Exponent, Some(4), Some(FLOATS4), 28;
    Ternary: Two, Super, Some(0), None, 3;
}

/// `kvalues_iq4nl` in `ggml/src/ggml-common.h`, 128 added.
const UNEVEN: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// `kvalues_mxfp4` in `ggml/src/ggml-common.h` (twice the numbers of E2M1), 16 added.
const FLOATS4: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

impl FormName {
    /// The form that tensors of type `kind` are packed into; `None` for types that are kept as floats.
    pub(crate) const fn of(kind: GgmlType) -> Option<Self> {
        Some(match kind {
            GgmlType::Q4_0 => Self::Nibbles,
            GgmlType::Q4_1 => Self::NibblesMin,
            GgmlType::Q5_0 => Self::Fives,
            GgmlType::Q5_1 => Self::FivesMin,
            GgmlType::Q8_0 => Self::Bytes,
            GgmlType::Q2_K => Self::TwosK,
            GgmlType::Q3_K => Self::ThreesK,
            GgmlType::Q4_K => Self::NibblesK,
            GgmlType::Q5_K => Self::FivesK,
            GgmlType::Q6_K => Self::SixesK,
            GgmlType::IQ4_NL => Self::Uneven,
            GgmlType::IQ4_XS => Self::UnevenK,
            GgmlType::MXFP4 => Self::Floats4,
            GgmlType::TQ1_0 | GgmlType::TQ2_0 | GgmlType::I2_S => Self::Ternary,
            _ => return None,
        })
    }
}
