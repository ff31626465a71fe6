//! Decodes blocks to F32: one function a format, all of them exact.
//!
//! The functions are written so that the compiler turns them into vector code for whatever instructions the caller
//! enables; [`super::simd`] compiles [`decode`] once for each set. Layouts are those of `ggml/src/ggml-common.h`, the
//! order of operations that of `dequantize_row_*` in `ggml/src/ggml-quants.c`.

mod fp4;
mod iq;
mod k;
mod legacy;
mod plain;
mod ternary;

pub(super) use fp4::DOUBLED;
pub(super) use iq::{CURVE, iq1_m_scale};
pub(super) use k::{q3_scale, scale_and_min};

use super::half::f16_to_f32;
use crate::GgmlType;

/// The F16 at byte `at` of a block, as F32.
#[inline(always)]
pub(super) fn f16_at<const B: usize>(block: &[u8; B], at: usize) -> f32 {
    f16_to_f32(u16_at(block, at))
}

/// The little-endian 16-bit number at byte `at` of a block.
#[inline(always)]
pub(super) fn u16_at<const B: usize>(block: &[u8; B], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The little-endian 32-bit number at byte `at` of a block.
#[inline(always)]
pub(super) fn u32_at<const B: usize>(block: &[u8; B], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// `N` bytes of a block from byte `at` on.
#[inline(always)]
pub(super) fn bytes_at<const N: usize, const B: usize>(block: &[u8; B], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[at..at + N]);
    bytes
}

#[inline(always)]
fn each<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode_block: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, weights) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        decode_block(block, weights);
    }
}

/// Decodes as many blocks as both buffers hold; the caller has checked that they agree. `I2_S` keeps its scale outside
/// its blocks: `tensor_scale` is for it alone.
#[inline(always)]
pub(super) fn decode(ty: GgmlType, bytes: &[u8], tensor_scale: f32, out: &mut [f32]) {
    match ty {
        GgmlType::F32 => each(bytes, out, plain::f32),
        GgmlType::F16 => each(bytes, out, plain::f16),
        GgmlType::BF16 => each(bytes, out, plain::bf16),
        GgmlType::F64 => each(bytes, out, plain::f64),
        GgmlType::I8 => each(bytes, out, plain::i8),
        GgmlType::I16 => each(bytes, out, plain::i16),
        GgmlType::I32 => each(bytes, out, plain::i32),
        GgmlType::I64 => each(bytes, out, plain::i64),
        GgmlType::Q1_0 => each(bytes, out, legacy::q1_0),
        GgmlType::Q2_0 => each(bytes, out, legacy::q2_0),
        GgmlType::Q4_0 => each(bytes, out, legacy::q4_0),
        GgmlType::Q4_1 => each(bytes, out, legacy::q4_1),
        GgmlType::Q5_0 => each(bytes, out, legacy::q5_0),
        GgmlType::Q5_1 => each(bytes, out, legacy::q5_1),
        GgmlType::Q8_0 => each(bytes, out, legacy::q8_0),
        GgmlType::Q8_1 => each(bytes, out, legacy::q8_1),
        GgmlType::Q2_K => each(bytes, out, k::q2_k),
        GgmlType::Q3_K => each(bytes, out, k::q3_k),
        GgmlType::Q4_K => each(bytes, out, k::q4_k),
        GgmlType::Q5_K => each(bytes, out, k::q5_k),
        GgmlType::Q6_K => each(bytes, out, k::q6_k),
        GgmlType::Q8_K => each(bytes, out, k::q8_k),
        GgmlType::IQ1_S => each(bytes, out, iq::iq1_s),
        GgmlType::IQ1_M => each(bytes, out, iq::iq1_m),
        GgmlType::IQ2_XXS => each(bytes, out, iq::iq2_xxs),
        GgmlType::IQ2_XS => each(bytes, out, iq::iq2_xs),
        GgmlType::IQ2_S => each(bytes, out, iq::iq2_s),
        GgmlType::IQ3_XXS => each(bytes, out, iq::iq3_xxs),
        GgmlType::IQ3_S => each(bytes, out, iq::iq3_s),
        GgmlType::IQ4_NL => each(bytes, out, iq::iq4_nl),
        GgmlType::IQ4_XS => each(bytes, out, iq::iq4_xs),
        GgmlType::TQ1_0 => each(bytes, out, ternary::tq1_0),
        GgmlType::TQ2_0 => each(bytes, out, ternary::tq2_0),
        GgmlType::I2_S => each(bytes, out, |block, weights| ternary::i2_s(block, tensor_scale, weights)),
        GgmlType::MXFP4 => each(bytes, out, fp4::mxfp4),
        GgmlType::NVFP4 => each(bytes, out, fp4::nvfp4),
    }
}
