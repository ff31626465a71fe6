//! The formats' loops, compiled once for each set of vector instructions and chosen when they run.
//!
//! No intrinsics: the functions called here are inlined into ones that may use wider registers, and the compiler
//! vectorizes them. Rust never fuses a multiplication with an addition, so every copy gives the same bits. AArch64 needs
//! no copy of its own since NEON is part of it.

use super::decode;
use crate::GgmlType;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of the architecture has: SSE2 or NEON.
    Baseline,
    /// AVX2 and what came with it.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest set that this processor has.
    pub(super) fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::Baseline)
    }

    /// All sets that this processor has, the widest last.
    pub(super) fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => &[Self::Baseline, Self::Avx2, Self::Avx512],
                (true, false) => &[Self::Baseline, Self::Avx2],
                _ => &[Self::Baseline],
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        &[Self::Baseline]
    }
}

/// Makes a function that runs `$inner` at a given level.
macro_rules! at_level {
    ($name:ident, $inner:path, ($($arg:ident: $type:ty),*) $(-> $result:ty)?) => {
        pub(super) fn $name(level: Level, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $inner($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $inner($($arg),*)
            }
            match level {
                Level::Baseline => $inner($($arg),*),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => {
                    assert!(Level::available().contains(&level));
                    // SAFETY: the function is safe but for its instructions, and the line above has seen that the
                    // processor has them.
                    unsafe { avx2($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => {
                    assert!(Level::available().contains(&level));
                    // SAFETY: the function is safe but for its instructions, and the line above has seen that the
                    // processor has them.
                    unsafe { avx512($($arg),*) }
                }
            }
        }
    };
}

at_level!(decode, decode::decode, (ty: GgmlType, bytes: &[u8], tensor_scale: f32, out: &mut [f32]));
at_level!(to_halves, super::dequantize::round_to_halves, (values: &[f32], halves: &mut [u16], ieee: bool));
at_level!(
    encode,
    super::quantize::encode_rows,
    (ty: GgmlType, values: &[f32], row_length: usize, imatrix: Option<&[f32]>, out: &mut [u8])
);
