//! `IQ2_XXS`, `IQ2_XS` and `IQ2_S`: eight weights are a point of a lattice with three levels.

use super::super::lattice::{IQ2_S, IQ2_XS, IQ2_XXS, Lattice};
use super::search::{TINY, positive};
use super::vectors::{Again, Group, Signed, explained, largest, scale_level, with_even_signs, without_signs};
use super::{importance, put_f16, put_u16, put_u32, sum_of_squares};

const LEVELS: i32 = 3;

#[inline(always)]
pub(super) fn iq2_xxs(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 66]) {
    let typical = sum_of_squares(values) / 256.0;
    let lattice = &*IQ2_XXS;
    *block = [0; 66];
    let mut packed = [(0_u32, 0_u32); 8];
    let mut scales = [0.0; 8];
    for group in 0..8 {
        let range = 32 * group..32 * group + 32;
        let weights: [f32; 32] = importance(&values[range.clone()], &importances[range.clone()], typical);
        let Signed { sizes, mut signs } = with_even_signs::<32, 4>(&values[range], &weights);
        if largest(&sizes) < TINY {
            continue;
        }
        let roots = weights.map(f32::sqrt);
        let vectors = Group { lattice, levels: LEVELS, sizes: &sizes, weights: &weights, roots };
        let Some((mut scale, levels)) = first_scale_then_search(&vectors) else { continue };
        if scale < 0.0 {
            scale = -scale;
            signs = signs.map(|signs| !signs & 127);
        }
        for vector in 0..4 {
            packed[group].0 |= (vectors.point(vector, &levels) as u32) << (8 * vector);
            packed[group].1 |= u32::from(signs[vector]) << (7 * vector);
        }
        scales[group] = scale;
    }
    let max = scales.iter().fold(0.0, |max: f32, &scale| if max > scale { max } else { scale });
    if max == 0.0 {
        return;
    }
    let scale = max / 31.0;
    put_f16(block, 0, scale);
    for (group, (points, signs)) in packed.into_iter().enumerate() {
        put_u32(block, 2 + 8 * group, points);
        let level = scale_level(1.0 / scale, scales[group], 15);
        put_u32(block, 6 + 8 * group, signs | u32::from(level) << 28);
    }
}

/// The search of `IQ2_XXS`: it starts from a scale for free levels `0..=4`, and rounds all vectors again at the end.
#[inline(always)]
fn first_scale_then_search(vectors: &Group<'_, 32, 8>) -> Option<(f32, [u8; 32])> {
    let mut levels = [0; 32];
    let mut scale = positive(vectors.sizes, vectors.weights, LEVELS + 1, &mut levels);
    let reach = scale * LEVELS as f32;
    if reach <= 0.0 {
        return None;
    }
    let mut best = 0.0;
    for attempt in -6..=6 {
        let inverse = ((2 * LEVELS - 1) as f32 + attempt as f32 * 0.1) / reach;
        let mut tried = [0; 32];
        for vector in 0..4 {
            vectors.round(vector, inverse, 1.0 / inverse, &mut tried);
        }
        let (sum_qx, sum_q2) = explained(vectors.sizes, vectors.weights, &tried);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
            levels = tried;
        }
    }
    if scale > 0.0 {
        for vector in 0..4 {
            vectors.round(vector, 1.0 / scale, scale, &mut levels);
        }
        let (sum_qx, sum_q2) = explained(vectors.sizes, vectors.weights, &levels);
        if sum_q2 > 0.0 {
            scale = sum_qx / sum_q2;
        }
    }
    Some((scale, levels))
}

/// A group of sixteen: its scale and the numbers of its two points, or nothing if it counts as zero.
#[inline(always)]
fn sixteen(
    lattice: &Lattice<8>,
    signed: &mut Signed<16, 2>,
    weights: &[f32; 16],
    tiny: f32,
) -> Option<(f32, [usize; 2])> {
    let max = largest(&signed.sizes);
    if max < tiny {
        return None;
    }
    let roots = weights.map(f32::sqrt);
    let vectors = Group { lattice, levels: LEVELS, sizes: &signed.sizes, weights, roots };
    let mut levels = [0; 16];
    let scale = vectors.search(max, 9, 0.1, Again::OffLattice, &mut levels);
    if scale < 0.0 {
        signed.signs = signed.signs.map(|signs| !signs);
    }
    Some((scale.abs(), [vectors.point(0, &levels), vectors.point(1, &levels)]))
}

/// Writes the scale of the block times `stretch` and the 4-bit scales of its sixteen groups.
#[inline(always)]
fn put_scales<const B: usize>(block: &mut [u8; B], scales: &[f32; 16], stretch: f32, at: usize) -> bool {
    let max = scales.iter().fold(0.0, |max: f32, &scale| if max > scale { max } else { scale });
    if max == 0.0 {
        return false;
    }
    let scale = max / 31.0;
    put_f16(block, 0, scale * stretch);
    for (group, group_scale) in scales.iter().enumerate() {
        block[at + group / 2] |= scale_level(1.0 / scale, *group_scale, 15) << (4 * (group % 2));
    }
    true
}

#[inline(always)]
pub(super) fn iq2_xs(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 74]) {
    let typical = sum_of_squares(values) / 256.0;
    *block = [0; 74];
    let mut scales = [0.0; 16];
    for group in 0..16 {
        let range = 16 * group..16 * group + 16;
        let weights: [f32; 16] = importance(&values[range.clone()], &importances[range.clone()], typical);
        let mut signed = with_even_signs::<16, 2>(&values[range], &weights);
        let Some((scale, points)) = sixteen(&IQ2_XS, &mut signed, &weights, TINY) else { continue };
        scales[group] = scale;
        for (k, point) in points.into_iter().enumerate() {
            let packed = point as u16 | u16::from(signed.signs[k] & 127) << 9;
            put_u16(block, 2 + 4 * group + 2 * k, packed);
        }
    }
    if !put_scales(block, &scales, 1.0, 66) {
        *block = [0; 74];
    }
}

#[inline(always)]
pub(super) fn iq2_s(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 82]) {
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    *block = [0; 82];
    let mut scales = [0.0; 16];
    for group in 0..16 {
        let range = 16 * group..16 * group + 16;
        let x = &values[range.clone()];
        let weights: [f32; 16] = match importances {
            Some(importances) => importance(x, &importances[range], typical),
            None => std::array::from_fn(|k| 0.25 * typical + x[k] * x[k]),
        };
        let mut signed = without_signs::<16, 2>(x);
        let Some((scale, points)) = sixteen(&IQ2_S, &mut signed, &weights, 1e-8) else { continue };
        scales[group] = scale;
        for (k, point) in points.into_iter().enumerate() {
            let vector = 2 * group + k;
            block[2 + vector] = point as u8;
            block[34 + vector] = signed.signs[k];
            block[66 + vector / 4] |= ((point >> 8) as u8) << (2 * (vector % 4));
        }
    }
    put_scales(block, &scales, 0.9875, 74);
}
