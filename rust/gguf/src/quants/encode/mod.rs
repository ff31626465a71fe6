//! Encodes F32 to blocks: for each format ggml's search, with its order of floating-point operations.
//!
//! Where ggml works on one group of weights after another, these functions put several groups side by side, one in each
//! lane of a vector: every lane does the same operations in the same order, so the bytes stay equal. The searches are
//! those of `ggml/src/ggml-quants.c`; which constants they use is part of what makes files equal, not of the format.

#![allow(
    clippy::needless_range_loop,
    reason = "an index names the same weight, lane or group in several arrays"
)]

mod fp4;
mod iq1;
mod iq2;
mod iq3;
mod iq4;
mod k;
pub(super) mod legacy;
mod plain;
mod q3_k;
mod search;
mod ternary;
mod vectors;

use super::half::f32_to_f16;
use crate::GgmlType;

/// Writes a number as F16 at byte `at` of a block.
#[inline(always)]
fn put_f16<const B: usize>(block: &mut [u8; B], at: usize, value: f32) {
    put_u16(block, at, f32_to_f16(value));
}

#[inline(always)]
fn put_u16<const B: usize>(block: &mut [u8; B], at: usize, value: u16) {
    [block[at], block[at + 1]] = value.to_le_bytes();
}

#[inline(always)]
fn put_u32<const B: usize>(block: &mut [u8; B], at: usize, value: u32) {
    [block[at], block[at + 1], block[at + 2], block[at + 3]] = value.to_le_bytes();
}

/// The whole number nearest to `value`, ties to even, for magnitudes up to 2^22; other values give what the bits say.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    let shifted = (value + 12_582_912.0).to_bits().cast_signed();
    (shifted & 0x007f_ffff) - 0x0040_0000
}

/// The lowest byte of a small whole number held as a float; 0 for infinities and NaN, as x86 converts them.
#[inline(always)]
fn low_byte(whole: f32) -> u8 {
    (whole + 12_582_912.0).to_bits() as u8
}

/// The first number of the largest size, passing over NaN; 0 if there is none. `legacy` has a quicker way for blocks of finite weights.
#[inline(always)]
fn peak(values: &[f32]) -> f32 {
    let (mut largest, mut size) = (0.0, 0.0);
    for &value in values {
        if value.abs() > size {
            (largest, size) = (value, value.abs());
        }
    }
    largest
}

/// The sum of squares, in order.
#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |sum, value| sum + value * value)
}

/// How much each weight's error counts: its importance times its size as seen against the typical size.
#[inline(always)]
fn importance<const N: usize>(values: &[f32], importances: &[f32], typical_square: f32) -> [f32; N] {
    std::array::from_fn(|k| importances[k] * (typical_square + values[k] * values[k]).sqrt())
}

/// The largest number as bits without the sign, which orders floats by size with infinity and NaN above all.
#[inline(always)]
pub(super) fn largest_magnitude(values: &[f32]) -> u32 {
    values.iter().fold(0, |max, value| max.max(value.to_bits() & 0x7fff_ffff))
}

/// Encodes whole rows; the caller has checked all lengths.
#[inline(always)]
pub(super) fn encode_rows(
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
) {
    // Without importances the bounds of rows do not matter, and short rows would only cost time.
    let length = if imatrix.is_none() { values.len() } else { row_length };
    each_row(ty, values, length, out, |row, out| self::row(ty, row, imatrix, out));
}

/// Calls `encode` with each row of `length` weights and the place for its blocks.
#[inline(always)]
pub(super) fn each_row(
    ty: GgmlType,
    values: &[f32],
    length: usize,
    out: &mut [u8],
    mut encode: impl FnMut(&[f32], &mut [u8]),
) {
    if length == 0 {
        return;
    }
    let row_bytes = length / ty.block_size() as usize * ty.block_bytes() as usize;
    for (row, out) in values.chunks_exact(length).zip(out.chunks_exact_mut(row_bytes)) {
        encode(row, out);
    }
}

#[inline(always)]
fn each<const N: usize, const B: usize>(
    values: &[f32],
    out: &mut [u8],
    encode_block: impl Fn(&[f32; N], &mut [u8; B]),
) {
    for (values, block) in values.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<B>().0) {
        encode_block(values, block);
    }
}

/// As [`each`], with the importances of the block's weights.
#[inline(always)]
fn each_weighted<const N: usize, const B: usize>(
    values: &[f32],
    importances: &[f32],
    out: &mut [u8],
    encode_block: impl Fn(&[f32; N], &[f32; N], &mut [u8; B]),
) {
    let blocks = values.as_chunks::<N>().0.iter().zip(importances.as_chunks::<N>().0);
    for ((values, importances), block) in blocks.zip(out.as_chunks_mut::<B>().0) {
        encode_block(values, importances, block);
    }
}

/// As [`each`] for formats that do the same thing with and without importances.
#[inline(always)]
fn each_maybe<const N: usize, const B: usize>(
    values: &[f32],
    importances: Option<&[f32]>,
    out: &mut [u8],
    encode_block: impl Fn(&[f32; N], Option<&[f32; N]>, &mut [u8; B]),
) {
    match importances {
        Some(importances) => each_weighted(values, importances, out, |values, importances, block| {
            encode_block(values, Some(importances), block);
        }),
        None => each(values, out, |values, block| encode_block(values, None, block)),
    }
}

/// Encodes one row, or any number of rows when there are no importances. Types that cannot be quantized to are left out
/// by the caller.
#[inline(always)]
pub(super) fn row(ty: GgmlType, row: &[f32], imatrix: Option<&[f32]>, out: &mut [u8]) {
    match (ty, imatrix) {
        (GgmlType::F32, _) => each(row, out, plain::f32),
        (GgmlType::F16, _) => each(row, out, plain::f16),
        (GgmlType::BF16, _) => each(row, out, plain::bf16),
        (GgmlType::Q1_0, _) => each(row, out, legacy::q1_0),
        (GgmlType::Q2_0, _) => each(row, out, legacy::q2_0),
        (GgmlType::Q4_0, None) => each(row, out, legacy::q4_0),
        (GgmlType::Q4_0, Some(imatrix)) => legacy::q4_0_weighted(row, imatrix, out),
        (GgmlType::Q4_1, None) => each(row, out, legacy::q4_1),
        (GgmlType::Q4_1, Some(imatrix)) => legacy::q4_1_weighted(row, imatrix, out),
        (GgmlType::Q5_0, None) => each(row, out, legacy::q5_0),
        (GgmlType::Q5_0, Some(imatrix)) => legacy::q5_0_weighted(row, imatrix, out),
        (GgmlType::Q5_1, None) => each(row, out, legacy::q5_1),
        (GgmlType::Q5_1, Some(imatrix)) => legacy::q5_1_weighted(row, imatrix, out),
        (GgmlType::Q8_0, _) => each(row, out, legacy::q8_0),
        (GgmlType::Q8_1, _) => each(row, out, legacy::q8_1),
        (GgmlType::Q2_K, None) => each(row, out, k::q2_k),
        (GgmlType::Q2_K, Some(imatrix)) => each_weighted(row, imatrix, out, k::q2_k_weighted),
        (GgmlType::Q3_K, None) => each(row, out, q3_k::q3_k),
        (GgmlType::Q3_K, Some(imatrix)) => each_weighted(row, imatrix, out, q3_k::q3_k_weighted),
        (GgmlType::Q4_K, None) => each(row, out, k::q4_k),
        (GgmlType::Q4_K, Some(imatrix)) => each_weighted(row, imatrix, out, k::q4_k_weighted),
        (GgmlType::Q5_K, None) => each(row, out, k::q5_k),
        (GgmlType::Q5_K, Some(imatrix)) => each_weighted(row, imatrix, out, k::q5_k_weighted),
        (GgmlType::Q6_K, _) => each_maybe(row, imatrix, out, k::q6_k),
        (GgmlType::Q8_K, _) => each(row, out, k::q8_k),
        (GgmlType::IQ1_S, Some(imatrix)) => each_weighted(row, imatrix, out, iq1::iq1_s),
        (GgmlType::IQ1_M, _) => each_maybe(row, imatrix, out, iq1::iq1_m),
        (GgmlType::IQ2_XXS, Some(imatrix)) => each_weighted(row, imatrix, out, iq2::iq2_xxs),
        (GgmlType::IQ2_XS, Some(imatrix)) => each_weighted(row, imatrix, out, iq2::iq2_xs),
        (GgmlType::IQ2_S, _) => each_maybe(row, imatrix, out, iq2::iq2_s),
        (GgmlType::IQ3_XXS, _) => each_maybe(row, imatrix, out, iq3::iq3_xxs),
        (GgmlType::IQ3_S, _) => each_maybe(row, imatrix, out, iq3::iq3_s),
        (GgmlType::IQ4_NL, _) => each_maybe(row, imatrix, out, iq4::iq4_nl),
        (GgmlType::IQ4_XS, _) => each_maybe(row, imatrix, out, iq4::iq4_xs),
        (GgmlType::TQ1_0, _) => each(row, out, ternary::tq1_0),
        (GgmlType::TQ2_0, _) => each(row, out, ternary::tq2_0),
        (GgmlType::MXFP4, _) => each(row, out, fp4::mxfp4),
        (GgmlType::NVFP4, _) => each(row, out, fp4::nvfp4),
        // Refused before: no quantizer, or none without importances.
        (
            GgmlType::F64
            | GgmlType::I8
            | GgmlType::I16
            | GgmlType::I32
            | GgmlType::I64
            | GgmlType::I2_S
            | GgmlType::IQ1_S
            | GgmlType::IQ2_XXS
            | GgmlType::IQ2_XS,
            _,
        ) => {}
    }
}
