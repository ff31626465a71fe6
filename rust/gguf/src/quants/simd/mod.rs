//! The formats' loops, compiled once for each set of vector instructions and chosen when they run.
//!
//! The functions called here are inlined into ones that may use wider registers, and the compiler vectorizes them. Rust
//! never fuses a multiplication with an addition, so every copy gives the same bits. AArch64 needs no copy of its own
//! since NEON is part of it. The most used formats have AVX2 code of their own, where that was measured to be faster.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod stream;

pub(super) use stream::Stream;

use super::{decode, encode, half};
use crate::GgmlType;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    /// What every processor of the architecture has: SSE2 or NEON.
    Baseline,
    /// AVX2 and what came with it.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The widest set that this processor has.
    pub(super) fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::Baseline)
    }

    /// All sets that this processor has, the widest last.
    pub(super) fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c");
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
        pub(super) fn $name(level: Instructions, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $inner($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $inner($($arg),*)
            }
            match level {
                Instructions::Baseline => $inner($($arg),*),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => {
                    assert!(Instructions::available().contains(&level));
                    // SAFETY: the function is safe but for its instructions, and the line above has seen that the
                    // processor has them.
                    unsafe { avx2($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => {
                    assert!(Instructions::available().contains(&level));
                    // SAFETY: the function is safe but for its instructions, and the line above has seen that the
                    // processor has them.
                    unsafe { avx512($($arg),*) }
                }
            }
        }
    };
}

at_level!(decode_any, decode::decode, (ty: GgmlType, bytes: &[u8], tensor_scale: f32, out: &mut [f32]));
at_level!(largest_magnitude, encode::largest_magnitude, (values: &[f32]) -> u32);
at_level!(to_halves, half::round_to_halves, (values: &[f32], halves: &mut [u16], ieee: bool));
at_level!(
    encode_any,
    encode::encode_rows,
    (ty: GgmlType, values: &[f32], row_length: usize, imatrix: Option<&[f32]>, out: &mut [u8])
);

/// Decodes blocks at a given level.
pub(super) fn decode(level: Instructions, ty: GgmlType, bytes: &[u8], tensor_scale: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level != Instructions::Baseline {
        assert!(Instructions::available().contains(&level));
        let run: unsafe fn(&[u8], &mut [f32]) = match ty {
            GgmlType::Q8_0 => avx2::decode_q8_0,
            GgmlType::Q4_0 => avx2::decode_q4_0,
            GgmlType::Q4_1 => avx2::decode_q4_1,
            GgmlType::Q5_0 => avx2::decode_q5_0,
            GgmlType::Q5_1 => avx2::decode_q5_1,
            GgmlType::Q4_K => avx2::decode_q4_k,
            GgmlType::Q6_K => avx2::decode_q6_k,
            _ => return decode_any(level, ty, bytes, tensor_scale, out),
        };
        // SAFETY: the functions are safe but for AVX2 and F16C, which every level above the baseline includes and the
        // processor was seen to have.
        return unsafe { run(bytes, out) };
    }
    decode_any(level, ty, bytes, tensor_scale, out);
}

/// Encodes whole rows at a given level.
pub(super) fn encode(
    level: Instructions,
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
) {
    #[cfg(target_arch = "x86_64")]
    if level != Instructions::Baseline {
        assert!(Instructions::available().contains(&level));
        if let (GgmlType::Q4_0 | GgmlType::Q5_0, Some(imatrix)) = (ty, imatrix) {
            let run: unsafe fn(&[f32], &[f32], &mut [u8]) = match ty {
                GgmlType::Q4_0 => avx2::encode_q4_0_weighted,
                _ => avx2::encode_q5_0_weighted,
            };
            encode::each_row(ty, values, row_length, out, |row, out| {
                // SAFETY: the functions are safe but for AVX2 and F16C, which every level above the baseline includes and the
                // processor was seen to have.
                unsafe { run(row, imatrix, out) };
            });
            return;
        }
        let run: unsafe fn(&[f32], &mut [u8]) = match (ty, imatrix) {
            (GgmlType::Q8_0, _) => avx2::encode_q8_0,
            (GgmlType::Q4_0, None) => avx2::encode_q4_0,
            (GgmlType::Q4_1, None) => avx2::encode_q4_1,
            _ => return encode_any(level, ty, values, row_length, imatrix, out),
        };
        // SAFETY: the functions are safe but for AVX2 and F16C, which every level above the baseline includes and the
        // processor was seen to have.
        return unsafe { run(values, out) };
    }
    encode_any(level, ty, values, row_length, imatrix, out);
}

#[cfg(test)]
mod tests {
    use super::super::{can_quantize, needs_imatrix};
    use super::*;

    /// Bytes with every bit pattern likely, the same on every machine.
    fn bytes(n: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn all_levels_decode_to_the_same_bits() {
        for &ty in GgmlType::ALL {
            let data = bytes(300 * ty.block_bytes() as usize);
            let n_weights = 300 * ty.block_size() as usize;
            let decoded = |level| {
                let mut out = vec![0.0; n_weights];
                decode(level, ty, &data, 0.37, &mut out);
                // Which of two NaNs survives an operation is not specified.
                out.iter().map(|value| if value.is_nan() { 0 } else { value.to_bits() }).collect::<Vec<_>>()
            };
            let baseline = decoded(Instructions::Baseline);
            for &level in Instructions::available() {
                assert!(decoded(level) == baseline, "{ty} at {level:?}");
            }
        }
    }

    #[test]
    fn all_levels_encode_to_the_same_bytes() {
        // Sums of bytes are about normal; the factor makes blocks of different sizes, among them none and subnormal ones.
        let factors = [1.0, 1e-3, 0.0, 40.0, 1e-39];
        let values: Vec<f32> = bytes(6 * 4 * 768)
            .chunks(6)
            .enumerate()
            .map(|(k, chunk)| {
                chunk.iter().fold(-765.0, |sum, &byte| sum + f32::from(byte)) * factors[k / 256 % 5]
            })
            .collect();
        let imatrix: Vec<f32> = bytes(768).into_iter().map(|byte| f32::from(byte) / 16.0).collect();
        for &ty in GgmlType::ALL.iter().filter(|ty| can_quantize(**ty)) {
            let encoded = |level, imatrix| {
                let mut out = vec![0; ty.n_bytes(values.len() as u64).unwrap() as usize];
                encode(level, ty, &values, 768, imatrix, &mut out);
                out
            };
            for imatrix in [None, Some(imatrix.as_slice())] {
                if imatrix.is_none() && needs_imatrix(ty) {
                    continue;
                }
                let baseline = encoded(Instructions::Baseline, imatrix);
                for &level in Instructions::available() {
                    assert!(encoded(level, imatrix) == baseline, "{ty} at {level:?}");
                }
            }
        }
    }

    #[test]
    fn all_levels_round_halves_alike() {
        let values: Vec<f32> =
            bytes(4 * 4096).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        for ieee in [false, true] {
            let rounded = |level| {
                let mut halves = vec![0; values.len()];
                to_halves(level, &values, &mut halves, ieee);
                halves
            };
            for &level in Instructions::available() {
                assert_eq!(rounded(level), rounded(Instructions::Baseline));
            }
        }
    }
}
