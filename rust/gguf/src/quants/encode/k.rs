//! K-quants with offsets (`Q2_K`, `Q4_K`, `Q5_K`), and those of eight and six bits.

use super::super::decode::scale_and_min;
use super::super::half::f16_to_f32;
use super::search::{TINY, Tries, affine, lanes, positive, symmetric, unlane};
use super::{importance, nearest, peak, put_f16, put_u16, put_u32, sum_of_squares};

const TRIES_WEIGHTED: Tries = Tries { first: -0.9, step: 0.05, last: 36 };

/// Rounds a group's weights to levels `low..=high` of the scale and offset as stored; a zero scale leaves what the
/// search found.
#[inline(always)]
pub(super) fn round(values: &[f32], scale: f32, offset: f32, low: i32, high: i32, levels: &mut [u8]) {
    if scale == 0.0 {
        return;
    }
    for (level, value) in levels.iter_mut().zip(values) {
        *level = (nearest((value + offset) / scale).min(high).max(low) - low) as u8;
    }
}

/// The larger of zero and all numbers.
#[inline(always)]
fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |max, &number| if number > max { number } else { max })
}

/// Packs 2-bit numbers, four a byte: byte `k` of a half holds numbers `k`, `32 + k`, `64 + k` and `96 + k`.
#[inline(always)]
pub(super) fn pack_pairs(levels: &[u8; 256], out: &mut [u8]) {
    for (levels, out) in levels.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for k in 0..32 {
            out[k] = levels[k] | (levels[32 + k] << 2) | (levels[64 + k] << 4) | (levels[96 + k] << 6);
        }
    }
}

fn finish_q2_k(values: &[f32; 256], levels: &mut [u8; 256], block: &mut [u8; 84]) {
    let scale = f16_to_f32(u16::from_le_bytes([block[80], block[81]]));
    let min = f16_to_f32(u16::from_le_bytes([block[82], block[83]]));
    for (group, (values, levels)) in
        values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0).enumerate()
    {
        let group_scale = scale * f32::from(block[group] & 15);
        let group_min = min * f32::from(block[group] >> 4);
        round(values, group_scale, group_min, 0, 3, levels);
    }
    pack_pairs(levels, &mut block[16..80]);
}

#[inline(always)]
pub(super) fn q2_k(values: &[f32; 256], block: &mut [u8; 84]) {
    let x = lanes::<16, 16>(values);
    let weights = x.map(|row| row.map(f32::abs));
    let mut best = [[0.0; 16]; 16];
    let tries = Tries { first: -0.5, step: 0.1, last: 15 };
    let (scales, mins) = affine(&x, &weights, 3, &tries, true, &mut best);
    let mut levels: [u8; 256] = unlane(&best);
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let (to_scale, to_min) = (15.0 / max_scale, 15.0 / max_min);
    for group in 0..16 {
        let scale = if max_scale > 0.0 { nearest(to_scale * scales[group]) } else { 0 };
        let min = if max_min > 0.0 { nearest(to_min * mins[group]) } else { 0 };
        block[group] = scale as u8 | (min << 4) as u8;
    }
    put_f16(block, 80, if max_scale > 0.0 { max_scale / 15.0 } else { 0.0 });
    put_f16(block, 82, if max_min > 0.0 { max_min / 15.0 } else { 0.0 });
    finish_q2_k(values, &mut levels, block);
}

#[inline(always)]
pub(super) fn q2_k_weighted(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 84]) {
    let typical = sum_of_squares(values) / 256.0;
    let weights: [f32; 256] = importance(values, importances, typical);
    let sums = group_sums::<16, 16>(&weights);
    let mut best = [[0.0; 16]; 16];
    let (scales, mins) =
        affine::<16, 16>(&lanes(values), &lanes(&weights), 3, &TRIES_WEIGHTED, false, &mut best);
    let mut levels: [u8; 256] = unlane(&best);
    let (mut scale_levels, mut min_levels) = ([0; 16], [0; 16]);
    let scale = positive(&scales, &sums, 15, &mut scale_levels);
    let min = positive(&mins, &sums, 15, &mut min_levels);
    put_f16(block, 80, scale);
    put_f16(block, 82, min);
    for group in 0..16 {
        block[group] = scale_levels[group] | (min_levels[group] << 4);
    }
    finish_q2_k(values, &mut levels, block);
}

/// The sum of the weights of each of `G` groups of `N`.
#[inline(always)]
fn group_sums<const N: usize, const G: usize>(weights: &[f32; 256]) -> [f32; G] {
    std::array::from_fn(|group| {
        weights[N * group..N * (group + 1)].iter().fold(0.0, |sum, weight| sum + weight)
    })
}

/// Packs eight scales and eight minimums of 6 bits into 12 bytes.
#[inline(always)]
fn pack_six_bits(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    packed[..4].copy_from_slice(&scales[..4]);
    packed[4..8].copy_from_slice(&mins[..4]);
    for group in 4..8 {
        packed[group + 4] = (scales[group] & 15) | (mins[group] << 4);
        packed[group - 4] |= (scales[group] >> 4) << 6;
        packed[group] |= (mins[group] >> 4) << 6;
    }
    packed
}

/// What `Q4_K` and `Q5_K` share: the start of a block (scales) and the levels.
struct SixBits {
    scale: f32,
    min: f32,
    packed: [u8; 12],
    levels: [u8; 256],
}

impl SixBits {
    /// The search without importances: each weight counts by its group's typical size plus its own.
    #[inline(always)]
    fn plain(values: &[f32; 256], top: i32, tries: &Tries) -> Self {
        let x = lanes::<32, 8>(values);
        let mut squares = [0.0; 8];
        for row in &x {
            for g in 0..8 {
                squares[g] += row[g] * row[g];
            }
        }
        let typical = squares.map(|square| (square / 32.0).sqrt());
        let weights = x.map(|row| std::array::from_fn(|g| typical[g] + row[g].abs()));
        let mut best = [[0.0; 8]; 32];
        let (scales, mins) = affine(&x, &weights, top, tries, false, &mut best);
        let (max_scale, max_min) = (largest(&scales), largest(&mins));
        let to_scale = if max_scale > 0.0 { 63.0 / max_scale } else { 0.0 };
        let to_min = if max_min > 0.0 { 63.0 / max_min } else { 0.0 };
        let packed = pack_six_bits(
            &scales.map(|scale| (nearest(to_scale * scale) as u8).min(63)),
            &mins.map(|min| (nearest(to_min * min) as u8).min(63)),
        );
        Self { scale: max_scale / 63.0, min: max_min / 63.0, packed, levels: unlane(&best) }
    }

    #[inline(always)]
    fn weighted(values: &[f32; 256], importances: &[f32; 256], top: i32, largest_level: u8) -> Self {
        let typical = 2.0 * sum_of_squares(values) / 256.0;
        let weights: [f32; 256] = importance(values, importances, typical);
        let sums = group_sums::<32, 8>(&weights);
        let mut best = [[0.0; 8]; 32];
        let (scales, mins) =
            affine::<32, 8>(&lanes(values), &lanes(&weights), top, &TRIES_WEIGHTED, false, &mut best);
        let (mut scale_levels, mut min_levels) = ([0; 8], [0; 8]);
        let scale = positive(&scales, &sums, 63, &mut scale_levels);
        let min = positive(&mins, &sums, 63, &mut min_levels);
        let packed = pack_six_bits(
            &scale_levels.map(|level| level.min(largest_level)),
            &min_levels.map(|level| level.min(largest_level)),
        );
        Self { scale, min, packed, levels: unlane(&best) }
    }

    /// Rounds the weights to the scales as stored and writes the block's first 16 bytes.
    #[inline(always)]
    fn finish<const B: usize>(mut self, values: &[f32; 256], top: i32, block: &mut [u8; B]) -> [u8; 256] {
        put_f16(block, 0, self.scale);
        put_f16(block, 2, self.min);
        block[4..16].copy_from_slice(&self.packed);
        let scale = f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
        let min = f16_to_f32(u16::from_le_bytes([block[2], block[3]]));
        let groups = values.as_chunks::<32>().0.iter().zip(self.levels.as_chunks_mut::<32>().0);
        for (group, (values, levels)) in groups.enumerate() {
            let (group_scale, group_min) = scale_and_min(&self.packed, group);
            let (group_scale, group_min) = (scale * f32::from(group_scale), min * f32::from(group_min));
            round(values, group_scale, group_min, 0, top, levels);
        }
        self.levels
    }
}

#[inline(always)]
fn put_q4_k(levels: &[u8; 256], block: &mut [u8; 144]) {
    for (levels, out) in levels.as_chunks::<64>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
        for k in 0..32 {
            out[k] = levels[k] | (levels[32 + k] << 4);
        }
    }
}

#[inline(always)]
pub(super) fn q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let found = SixBits::plain(values, 15, &Tries { first: -1.0, step: 0.1, last: 20 });
    put_q4_k(&found.finish(values, 15, block), block);
}

#[inline(always)]
pub(super) fn q4_k_weighted(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 144]) {
    let found = SixBits::weighted(values, importances, 15, u8::MAX);
    put_q4_k(&found.finish(values, 15, block), block);
}

#[inline(always)]
fn put_q5_k(levels: &[u8; 256], block: &mut [u8; 176]) {
    let mut fifth = [0; 32];
    for (pair, levels) in levels.as_chunks::<64>().0.iter().enumerate() {
        for k in 0..32 {
            fifth[k] |= (levels[k] >> 4) << (2 * pair) | (levels[32 + k] >> 4) << (2 * pair + 1);
            block[48 + 32 * pair + k] = (levels[k] & 15) | (levels[32 + k] << 4);
        }
    }
    block[16..48].copy_from_slice(&fifth);
}

#[inline(always)]
pub(super) fn q5_k(values: &[f32; 256], block: &mut [u8; 176]) {
    let found = SixBits::plain(values, 31, &Tries { first: -0.5, step: 0.1, last: 15 });
    put_q5_k(&found.finish(values, 31, block), block);
}

#[inline(always)]
pub(super) fn q5_k_weighted(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 176]) {
    let found = SixBits::weighted(values, importances, 31, 63);
    put_q5_k(&found.finish(values, 31, block), block);
}

#[inline(always)]
pub(super) fn q6_k(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 210]) {
    let x = lanes::<16, 16>(values);
    let weights = match importances {
        Some(importances) => lanes(importances),
        None => x.map(|row| row.map(|value| value * value)),
    };
    let mut best = [[0.0; 16]; 16];
    let scales = symmetric(&x, &weights, 32, &mut best);
    let max_scale = peak(&scales);
    if max_scale.abs() < TINY {
        *block = [0; 210];
        return;
    }
    let mut levels: [u8; 256] = unlane(&best);
    let to_scale = -128.0 / max_scale;
    put_f16(block, 208, 1.0 / to_scale);
    let scale = f16_to_f32(u16::from_le_bytes([block[208], block[209]]));
    let groups = values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0);
    for (group, (values, levels)) in groups.enumerate() {
        let level = nearest(to_scale * scales[group]).min(127) as i8;
        block[192 + group] = level.cast_unsigned();
        round(values, scale * f32::from(level), 0.0, -32, 31, levels);
    }
    for (half, levels) in levels.as_chunks::<128>().0.iter().enumerate() {
        for k in 0..32 {
            let [low, second, third, high] = [levels[k], levels[32 + k], levels[64 + k], levels[96 + k]];
            block[64 * half + k] = (low & 15) | (third << 4);
            block[64 * half + 32 + k] = (second & 15) | (high << 4);
            block[128 + 32 * half + k] =
                (low >> 4) | ((second >> 4) << 2) | ((third >> 4) << 4) | ((high >> 4) << 6);
        }
    }
}

#[inline(always)]
pub(super) fn q8_k(values: &[f32; 256], block: &mut [u8; 292]) {
    let max = peak(values);
    if max == 0.0 {
        *block = [0; 292];
        return;
    }
    let to_level = -127.0 / max;
    put_u32(block, 0, (1.0 / to_level).to_bits());
    for (group, values) in values.as_chunks::<16>().0.iter().enumerate() {
        let levels = values.map(|value| nearest(to_level * value).min(127) as i8);
        for (out, level) in block[4 + 16 * group..].iter_mut().zip(levels) {
            *out = level.cast_unsigned();
        }
        let sum: i16 = levels.iter().copied().map(i16::from).sum();
        put_u16(block, 260 + 2 * group, sum.cast_unsigned());
    }
}
