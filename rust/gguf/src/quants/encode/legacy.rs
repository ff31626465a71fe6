//! Blocks of 32 to 128 weights with one scale, some with an offset.

use super::search::{Tries, affine, explained, lanes, symmetric_with};
use super::{importance, low_byte, put_f16, put_u32, sum_of_squares};

/// The largest of all numbers, none of them NaN. The order does not matter (but for zeros of both signs), so that the
/// compiler may halve the block again and again.
#[inline(always)]
fn max<const N: usize>(mut values: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for k in 0..width {
            values[k] = if values[k + width] > values[k] { values[k + width] } else { values[k] };
        }
        width /= 2;
    }
    values[0]
}

/// The largest size in a block.
#[inline(always)]
fn size<const N: usize>(values: &[f32; N]) -> f32 {
    max(values.map(f32::abs))
}

/// The first weight of the largest size.
#[inline(always)]
fn largest<const N: usize>(values: &[f32; N]) -> f32 {
    let bits = max(values.map(f32::abs)).to_bits();
    let first = values.iter().position(|value| value.abs().to_bits() == bits).unwrap_or(0);
    // Zeros of either sign count as plus zero.
    values[first] + 0.0
}

#[inline(always)]
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The smallest weight, of equal zeros the first, and how far the largest lies above it.
#[inline(always)]
fn bounds(values: &[f32; 32]) -> (f32, f32) {
    let (min, max) = (-max(values.map(|value| -value)), max(*values));
    // Below or above zero one number has one representation; of zeros, bit patterns tell which comes first.
    let first = if min == 0.0 { values.iter().copied().find(|value| *value == 0.0) } else { None };
    let min = first.unwrap_or(min);
    (min, if max > min { max - min } else { 0.0 })
}

#[inline(always)]
pub(super) fn q1_0(values: &[f32; 128], block: &mut [u8; 18]) {
    let sum = values.iter().fold(0.0, |sum, value| sum + value.abs());
    put_f16(block, 0, sum / 128.0);
    for (byte, values) in block[2..].iter_mut().zip(values.as_chunks::<8>().0) {
        *byte = values.iter().rev().fold(0, |bits, &value| bits << 1 | u8::from(value >= 0.0));
    }
}

#[inline(always)]
pub(super) fn q2_0(values: &[f32; 64], block: &mut [u8; 18]) {
    let scale = size(values);
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    for (byte, values) in block[2..].iter_mut().zip(values.as_chunks::<4>().0) {
        *byte = values.iter().rev().fold(0, |bits, &value| {
            let level = (value * inverse).round();
            // Beyond the range of integers x86 converts to the smallest one.
            let level = if level.abs() < 3.0 { level as i32 } else { -2 };
            bits << 2 | (level + 1).clamp(0, 3) as u8
        });
    }
}

#[inline(always)]
pub(super) fn q4_0(values: &[f32; 32], block: &mut [u8; 18]) {
    let scale = largest(values) / -8.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    let levels = values.map(|value| low_byte((value * inverse + 8.5).trunc()).cast_signed().min(15));
    for k in 0..16 {
        block[2 + k] = levels[k].cast_unsigned() | (levels[16 + k].cast_unsigned() << 4);
    }
}

#[inline(always)]
pub(super) fn q4_1(values: &[f32; 32], block: &mut [u8; 20]) {
    let (min, range) = bounds(values);
    let scale = range / 15.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    put_f16(block, 2, min);
    let levels = values.map(|value| low_byte(((value - min) * inverse + 0.5).trunc()).cast_signed().min(15));
    for k in 0..16 {
        block[4 + k] = levels[k].cast_unsigned() | (levels[16 + k].cast_unsigned() << 4);
    }
}

/// The lower four bits of 32 numbers in 16 bytes, and their fifth bits.
#[inline(always)]
fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], u32) {
    let low = std::array::from_fn(|k| (levels[k] & 15) | (levels[16 + k] << 4));
    let fifth = (0..32).fold(0, |bits, k| bits | u32::from((levels[k] >> 4) & 1) << k);
    (low, fifth)
}

#[inline(always)]
fn put_q5_0(levels: &[u8; 32], block: &mut [u8; 22]) {
    let (low, fifth) = pack_five_bits(levels);
    put_u32(block, 2, fifth);
    block[6..].copy_from_slice(&low);
}

#[inline(always)]
fn put_q5_1(levels: &[u8; 32], block: &mut [u8; 24]) {
    let (low, fifth) = pack_five_bits(levels);
    put_u32(block, 4, fifth);
    block[8..].copy_from_slice(&low);
}

#[inline(always)]
pub(super) fn q5_0(values: &[f32; 32], block: &mut [u8; 22]) {
    let scale = largest(values) / -16.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    let level = |value: f32| low_byte((value * inverse + 16.5).trunc()).cast_signed().min(31);
    put_q5_0(&values.map(|value| level(value).cast_unsigned()), block);
}

#[inline(always)]
pub(super) fn q5_1(values: &[f32; 32], block: &mut [u8; 24]) {
    let (min, range) = bounds(values);
    let scale = range / 31.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    put_f16(block, 2, min);
    put_q5_1(&values.map(|value| low_byte(((value - min) * inverse + 0.5).trunc())), block);
}

#[inline(always)]
pub(super) fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let scale = size(values) / 127.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = low_byte((value * inverse).round());
    }
}

#[inline(always)]
pub(super) fn q8_1(values: &[f32; 32], block: &mut [u8; 36]) {
    let scale = size(values) / 127.0;
    let inverse = inverse(scale);
    put_f16(block, 0, scale);
    let levels = values.map(|value| low_byte((value * inverse).round()));
    block[4..].copy_from_slice(&levels);
    let sum: i16 = levels.iter().map(|level| i16::from(level.cast_signed())).sum();
    put_f16(block, 2, f32::from(sum) * scale);
}

/// The mean square of a row.
#[inline(always)]
fn typical(row: &[f32]) -> f32 {
    sum_of_squares(row) / row.len() as f32
}

/// Blocks that are searched side by side: as many as floats in a vector of AVX2.
pub(in super::super) const LANES: usize = 8;

/// One number of each of the blocks that are searched side by side.
pub(in super::super) type Lane = [f32; LANES];

/// What the search for scales spends its time on: [`explained`] for [`LANES`] blocks with the weights, the importances, half the number
/// of levels and the inverse scales.
pub(in super::super) trait Explain:
    Fn(&[Lane; 32], &[Lane; 32], i32, &Lane) -> (Lane, Lane)
{
}

impl<F: Fn(&[Lane; 32], &[Lane; 32], i32, &Lane) -> (Lane, Lane)> Explain for F {}

/// The weights of [`LANES`] blocks.
const WIDE: usize = 32 * LANES;

/// Runs `wide` on the row's groups of [`LANES`] blocks and `single` on the blocks that are left; both get the weights of the search.
#[inline(always)]
fn in_lanes<const B: usize>(
    row: &[f32],
    imatrix: &[f32],
    out: &mut [u8],
    wide: impl Fn(&[f32; WIDE], &[f32; WIDE], &mut [[u8; B]]),
    single: impl Fn(&[f32; 32], &[f32; 32], &mut [[u8; B]]),
) {
    let typical = typical(row);
    let (groups, rest) = row.as_chunks::<WIDE>();
    let (group_importances, rest_importances) = imatrix.as_chunks::<WIDE>();
    let blocks = out.as_chunks_mut::<B>().0;
    let (group_blocks, rest_blocks) = blocks.split_at_mut(groups.len() * LANES);
    let groups = groups.iter().zip(group_importances).zip(group_blocks.chunks_exact_mut(LANES));
    for ((values, importances), blocks) in groups {
        wide(values, &importance(values, importances, typical), blocks);
    }
    let rest = rest.as_chunks::<32>().0.iter().zip(rest_importances.as_chunks::<32>().0);
    for ((values, importances), blocks) in rest.zip(rest_blocks.chunks_exact_mut(1)) {
        single(values, &importance(values, importances, typical), blocks);
    }
}

/// Writes scale and levels of `G` blocks with one scale each.
#[inline(always)]
fn symmetric_blocks<const G: usize, const B: usize>(
    values: &[f32],
    weights: &[f32],
    half: i32,
    blocks: &mut [[u8; B]],
    explain: impl Fn(&[[f32; G]; 32], &[[f32; G]; 32], i32, &[f32; G]) -> ([f32; G], [f32; G]),
    put: impl Fn(f32, &[u8; 32], &mut [u8; B]),
) {
    let mut best = [[0.0; G]; 32];
    let (values, weights) = (lanes::<32, G>(values), lanes::<32, G>(weights));
    let scales =
        symmetric_with(&values, half, &mut best, |inverse| explain(&values, &weights, half, inverse));
    for (lane, (scale, block)) in scales.into_iter().zip(blocks).enumerate() {
        put(scale, &best.map(|levels| levels[lane] as u8), block);
    }
}

/// Writes scale, offset and levels of `G` blocks with an offset each.
#[inline(always)]
fn affine_blocks<const G: usize, const B: usize>(
    values: &[f32],
    weights: &[f32],
    top: i32,
    blocks: &mut [[u8; B]],
    put: impl Fn(f32, f32, &[u8; 32], &mut [u8; B]),
) {
    let tries = Tries { first: -0.9, step: 0.05, last: 36 };
    let mut best = [[0.0; G]; 32];
    let (values, weights) = (lanes::<32, G>(values), lanes::<32, G>(weights));
    let (scales, offsets) = affine(&values, &weights, top, &tries, false, &mut best);
    for (lane, ((scale, offset), block)) in scales.into_iter().zip(offsets).zip(blocks).enumerate() {
        put(scale, -offset, &best.map(|levels| levels[lane] as u8), block);
    }
}

#[inline(always)]
pub(super) fn q4_0_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    q4_0_weighted_with(row, imatrix, out, explained::<32, LANES>);
}

/// As [`q4_0_weighted`], with the search's inner loop written by the caller.
#[inline(always)]
pub(in super::super) fn q4_0_weighted_with(
    row: &[f32],
    imatrix: &[f32],
    out: &mut [u8],
    explain: impl Explain,
) {
    let put = |scale: f32, levels: &[u8; 32], block: &mut [u8; 18]| {
        put_f16(block, 0, scale);
        for k in 0..16 {
            block[2 + k] = levels[k] | (levels[16 + k] << 4);
        }
    };
    in_lanes(
        row,
        imatrix,
        out,
        |values, weights, blocks| symmetric_blocks::<LANES, 18>(values, weights, 8, blocks, &explain, put),
        |values, weights, blocks| {
            symmetric_blocks::<1, 18>(values, weights, 8, blocks, explained::<32, 1>, put);
        },
    );
}

#[inline(always)]
pub(super) fn q4_1_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    let put = |scale: f32, min: f32, levels: &[u8; 32], block: &mut [u8; 20]| {
        put_f16(block, 0, scale);
        put_f16(block, 2, min);
        for k in 0..16 {
            block[4 + k] = levels[k] | (levels[16 + k] << 4);
        }
    };
    in_lanes(
        row,
        imatrix,
        out,
        |values, weights, blocks| affine_blocks::<LANES, 20>(values, weights, 15, blocks, put),
        |values, weights, blocks| affine_blocks::<1, 20>(values, weights, 15, blocks, put),
    );
}

#[inline(always)]
pub(super) fn q5_0_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    q5_0_weighted_with(row, imatrix, out, explained::<32, LANES>);
}

/// As [`q5_0_weighted`], with the search's inner loop written by the caller.
#[inline(always)]
pub(in super::super) fn q5_0_weighted_with(
    row: &[f32],
    imatrix: &[f32],
    out: &mut [u8],
    explain: impl Explain,
) {
    let put = |scale: f32, levels: &[u8; 32], block: &mut [u8; 22]| {
        put_f16(block, 0, scale);
        put_q5_0(levels, block);
    };
    in_lanes(
        row,
        imatrix,
        out,
        |values, weights, blocks| symmetric_blocks::<LANES, 22>(values, weights, 16, blocks, &explain, put),
        |values, weights, blocks| {
            symmetric_blocks::<1, 22>(values, weights, 16, blocks, explained::<32, 1>, put);
        },
    );
}

#[inline(always)]
pub(super) fn q5_1_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    let put = |scale: f32, min: f32, levels: &[u8; 32], block: &mut [u8; 24]| {
        put_f16(block, 0, scale);
        put_f16(block, 2, min);
        put_q5_1(levels, block);
    };
    in_lanes(
        row,
        imatrix,
        out,
        |values, weights, blocks| affine_blocks::<LANES, 24>(values, weights, 31, blocks, put),
        |values, weights, blocks| affine_blocks::<1, 24>(values, weights, 31, blocks, put),
    );
}
