//! `IQ3_XXS` and `IQ3_S`: four weights are a point of a lattice with eight levels.

use super::super::lattice::{IQ3_S, IQ3_XXS};
use super::vectors::{Again, Group, largest, scale_level, with_even_signs, without_signs};
use super::{importance, put_f16, put_u32, sum_of_squares};

const LEVELS: i32 = 8;

#[inline(always)]
fn weights_of(values: &[f32], importances: Option<&[f32]>, typical: f32) -> [f32; 32] {
    match importances {
        Some(importances) => importance(values, importances, typical),
        None => std::array::from_fn(|k| values[k] * values[k]),
    }
}

#[inline(always)]
fn largest_scale(scales: &[f32; 8]) -> f32 {
    scales.iter().fold(0.0, |max: f32, &scale| if max > scale { max } else { scale })
}

#[inline(always)]
pub(super) fn iq3_xxs(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 98]) {
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    *block = [0; 98];
    let mut scales = [0.0; 8];
    let mut all_signs = [0_u32; 8];
    for group in 0..8 {
        let range = 32 * group..32 * group + 32;
        let x = &values[range.clone()];
        let weights = weights_of(x, importances.map(|importances| &importances[range]), typical);
        let mut signed = with_even_signs::<32, 4>(x, &weights);
        let max = largest(&signed.sizes);
        if max < 1e-8 {
            continue;
        }
        let roots = weights.map(f32::sqrt);
        let vectors =
            Group { lattice: &IQ3_XXS, levels: LEVELS, sizes: &signed.sizes, weights: &weights, roots };
        let mut levels = [0; 32];
        let scale = vectors.search(max, 15, 0.2, Again::OffLattice, &mut levels);
        if scale < 0.0 {
            signed.signs = signed.signs.map(|signs| !signs & 127);
        }
        for vector in 0..8 {
            block[2 + 8 * group + vector] = vectors.point(vector, &levels) as u8;
        }
        all_signs[group] = (0..4).fold(0, |all, k| all | u32::from(signed.signs[k]) << (7 * k));
        scales[group] = scale.abs();
    }
    let max = largest_scale(&scales);
    if max == 0.0 {
        *block = [0; 98];
        return;
    }
    let scale = max / 31.0;
    put_f16(block, 0, scale * 1.0125);
    for group in 0..8 {
        let level = scale_level(1.0 / scale, scales[group], 15);
        put_u32(block, 66 + 4 * group, all_signs[group] | u32::from(level) << 28);
    }
}

#[inline(always)]
pub(super) fn iq3_s(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 110]) {
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    *block = [0; 110];
    let mut scales = [0.0; 8];
    for group in 0..8 {
        let range = 32 * group..32 * group + 32;
        let x = &values[range.clone()];
        let weights = weights_of(x, importances.map(|importances| &importances[range]), typical);
        let mut signed = without_signs::<32, 4>(x);
        let max = largest(&signed.sizes);
        if max == 0.0 {
            continue;
        }
        let roots = weights.map(f32::sqrt);
        let vectors =
            Group { lattice: &IQ3_S, levels: LEVELS, sizes: &signed.sizes, weights: &weights, roots };
        let mut levels = [0; 32];
        let scale = vectors.search(max, 9, 0.2, Again::All, &mut levels);
        if scale < 0.0 {
            signed.signs = signed.signs.map(|signs| !signs);
        }
        for vector in 0..8 {
            let point = vectors.point(vector, &levels);
            block[2 + 8 * group + vector] = point as u8;
            block[66 + group] |= ((point >> 8) as u8) << vector;
        }
        block[74 + 4 * group..78 + 4 * group].copy_from_slice(&signed.signs);
        scales[group] = scale.abs();
    }
    let max = largest_scale(&scales);
    if max == 0.0 {
        return;
    }
    let scale = max / 31.0;
    put_f16(block, 0, scale * 1.033);
    for (group, group_scale) in scales.into_iter().enumerate() {
        block[106 + group / 2] |= scale_level(1.0 / scale, group_scale, 15) << (4 * (group % 2));
    }
}
