//! `Q3_K`: three bits a weight in groups of 16, without offsets.

use super::super::decode::q3_scale;
use super::super::half::f16_to_f32;
use super::k::{pack_pairs, round};
use super::search::{TINY, lanes, symmetric, unlane};
use super::{importance, nearest, peak, put_f16, sum_of_squares};

/// Rounds a group to levels −4 to 3 and moves single weights, up to five times over, while that explains more of it.
#[inline(always)]
fn refined(values: &[f32; 16], levels: &mut [u8; 16]) -> f32 {
    let largest = peak(values);
    if largest.abs() < TINY {
        *levels = [0; 16];
        return 0.0;
    }
    let inverse = -4.0 / largest;
    let mut found = values.map(|value| nearest(inverse * value).clamp(-4, 3));
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for (x, level) in values.iter().zip(found) {
        let (w, level) = (x * x, level as f32);
        sum_lx += w * x * level;
        sum_l2 += w * level * level;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (x, level) in values.iter().zip(&mut found) {
            let (w, old) = (x * x, *level as f32);
            let mut without_lx = sum_lx - w * x * old;
            if without_lx > 0.0 {
                let mut without_l2 = sum_l2 - w * old * old;
                let moved = nearest(x * without_l2 / without_lx).clamp(-4, 3);
                if moved != *level {
                    let new = moved as f32;
                    without_lx += w * x * new;
                    without_l2 += w * new * new;
                    if without_l2 > 0.0 && without_lx * without_lx * sum_l2 > sum_lx * sum_lx * without_l2 {
                        (*level, sum_lx, sum_l2) = (moved, without_lx, without_l2);
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    *levels = found.map(|level| (level + 4) as u8);
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}

/// Packs sixteen 6-bit scales into 12 bytes.
#[inline(always)]
fn pack_scales(scales: &[u8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (group, scale) in scales.iter().enumerate() {
        packed[group % 8] |= (scale & 15) << (4 * (group / 8));
        packed[8 + group % 4] |= (scale >> 4) << (2 * (group / 4));
    }
    packed
}

#[inline(always)]
fn finish(values: &[f32; 256], scale: f32, scales: &[u8; 12], levels: &mut [u8; 256], block: &mut [u8; 110]) {
    put_f16(block, 108, scale);
    block[96..108].copy_from_slice(scales);
    let scale = f16_to_f32(u16::from_le_bytes([block[108], block[109]]));
    let groups = values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0);
    for (group, (values, levels)) in groups.enumerate() {
        let group_scale = scale * f32::from(q3_scale(scales, group).cast_signed() - 32);
        round(values, group_scale, 0.0, -4, 3, levels);
    }
    let mut high = [0; 32];
    for (bit, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for k in 0..32 {
            high[k] |= (levels[k] >> 2) << bit;
            levels[k] &= 3;
        }
    }
    block[..32].copy_from_slice(&high);
    pack_pairs(levels, &mut block[32..96]);
}

#[inline(always)]
pub(super) fn q3_k(values: &[f32; 256], block: &mut [u8; 110]) {
    let mut levels = [0; 256];
    let mut scales = [0.0_f32; 16];
    let groups = values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0);
    for (scale, (values, levels)) in scales.iter_mut().zip(groups) {
        *scale = refined(values, levels);
    }
    let max_scale = peak(&scales);
    if max_scale == 0.0 {
        finish(values, 0.0, &[0; 12], &mut levels, block);
        return;
    }
    let to_scale = -32.0 / max_scale;
    let packed = pack_scales(&scales.map(|scale| {
        let level = nearest(to_scale * scale) as i8;
        (level.clamp(-32, 31) + 32).cast_unsigned()
    }));
    finish(values, 1.0 / to_scale, &packed, &mut levels, block);
}

#[inline(always)]
pub(super) fn q3_k_weighted(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 110]) {
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    let weights: [f32; 256] = importance(values, importances, typical);
    let weights = lanes::<16, 16>(&weights);
    let mut sums = [[0.0]; 16];
    for row in &weights {
        for g in 0..16 {
            sums[g][0] += row[g];
        }
    }
    let mut best = [[0.0; 16]; 16];
    let scales = symmetric(&lanes(values), &weights, 4, &mut best);
    let mut levels: [u8; 256] = unlane(&best);
    let mut scale_levels = [[0.0]; 16];
    let [scale] = symmetric(&scales.map(|scale| [scale]), &sums, 32, &mut scale_levels);
    let packed = pack_scales(&scale_levels.map(|[level]| level as u8));
    finish(values, scale, &packed, &mut levels, block);
}
