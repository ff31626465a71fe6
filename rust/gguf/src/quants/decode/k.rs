//! K-quants: blocks of 256 weights, in 8 or 16 groups with their own small scales.

use super::{bytes_at, f16_at, u32_at};

/// Two bits a weight, groups of 16 with a 4-bit scale and a 4-bit minimum.
#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, min) = (f16_at(block, 80), f16_at(block, 82));
    for (group, weights) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let group_scale = scale * f32::from(block[group] & 15);
        let group_min = min * f32::from(block[group] >> 4);
        let (start, shift) = two_bit_place(group);
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = group_scale * f32::from((block[16 + start + k] >> shift) & 3) - group_min;
        }
    }
}

/// Where the 2-bit numbers of a group of 16 lie: each half of a block packs 4 × 32 of them into 32 bytes.
#[inline(always)]
fn two_bit_place(group: usize) -> (usize, usize) {
    (32 * (group / 8) + 16 * (group % 2), 2 * (group / 2 % 4))
}

/// The 6-bit scale of a group of `Q3_K`, stored 32 too large: sixteen low nibbles in 8 bytes, the upper pairs of bits in 4 bytes.
#[inline(always)]
pub(crate) fn q3_scale(packed: &[u8; 12], group: usize) -> u8 {
    let low = if group < 8 { packed[group] & 15 } else { packed[group - 8] >> 4 };
    low | (((packed[8 + group % 4] >> (2 * (group / 4))) & 3) << 4)
}

/// Three bits a weight, groups of 16 with a 6-bit scale.
#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = f16_at(block, 108);
    let scales: [u8; 12] = bytes_at(block, 96);
    for (group, weights) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let group_scale = scale * f32::from(q3_scale(&scales, group).cast_signed() - 32);
        let (start, shift) = two_bit_place(group);
        for (k, weight) in weights.iter_mut().enumerate() {
            let low = (block[32 + start + k] >> shift) & 3;
            let high = (block[16 * (group % 2) + k] >> (group / 2)) & 1;
            *weight = group_scale * f32::from((low | (high << 2)).cast_signed() - 4);
        }
    }
}

/// The 6-bit scale and minimum of a group of `Q4_K` and `Q5_K`: the first four lie whole in 8 bytes, whose upper pairs
/// complete the nibbles of the last four.
#[inline(always)]
pub(crate) fn scale_and_min(packed: &[u8; 12], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
            (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
        )
    }
}

/// Four bits a weight, groups of 32 with a 6-bit scale and a 6-bit minimum.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, min) = (f16_at(block, 0), f16_at(block, 2));
    let scales: [u8; 12] = bytes_at(block, 4);
    for (pair, weights) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (scale_1, min_1) = scale_and_min(&scales, 2 * pair);
        let (scale_2, min_2) = scale_and_min(&scales, 2 * pair + 1);
        let (scale_1, min_1) = (scale * f32::from(scale_1), min * f32::from(min_1));
        let (scale_2, min_2) = (scale * f32::from(scale_2), min * f32::from(min_2));
        let packed: [u8; 32] = bytes_at(block, 16 + 32 * pair);
        for k in 0..32 {
            weights[k] = scale_1 * f32::from(packed[k] & 15) - min_1;
        }
        for k in 0..32 {
            weights[32 + k] = scale_2 * f32::from(packed[k] >> 4) - min_2;
        }
    }
}

/// As `Q4_K` with a fifth bit a weight, stored apart.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, min) = (f16_at(block, 0), f16_at(block, 2));
    let scales: [u8; 12] = bytes_at(block, 4);
    let fifth: [u8; 32] = bytes_at(block, 16);
    for (group, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (group_scale, group_min) = scale_and_min(&scales, group);
        let (group_scale, group_min) = (scale * f32::from(group_scale), min * f32::from(group_min));
        let packed: [u8; 32] = bytes_at(block, 48 + 32 * (group / 2));
        for k in 0..32 {
            let low = (packed[k] >> (4 * (group % 2))) & 15;
            let high = (fifth[k] >> group) & 1;
            weights[k] = group_scale * f32::from(low | (high << 4)) - group_min;
        }
    }
}

/// Six bits a weight, groups of 16 with an 8-bit scale.
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = f16_at(block, 208);
    for (half, weights) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let low: [u8; 64] = bytes_at(block, 64 * half);
        let high: [u8; 32] = bytes_at(block, 128 + 32 * half);
        for (group, weights) in weights.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let group_scale = scale * f32::from(block[192 + 8 * half + group].cast_signed());
            let (quarter, start) = (group / 2, 16 * (group % 2));
            for (k, weight) in weights.iter_mut().enumerate() {
                let low = (low[32 * (quarter % 2) + start + k] >> (4 * (quarter / 2))) & 15;
                let high = (high[start + k] >> (2 * quarter)) & 3;
                *weight = group_scale * f32::from((low | (high << 4)).cast_signed() - 32);
            }
        }
    }
}

/// Eight bits a weight and an F32 scale; the sums at the end serve dot products only.
#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let scale = f32::from_bits(u32_at(block, 0));
    for k in 0..256 {
        out[k] = scale * f32::from(block[4 + k].cast_signed());
    }
}
