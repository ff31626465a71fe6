//! `IQ4_NL` and `IQ4_XS`: four bits a weight that name one of sixteen values, denser around zero.

use super::super::decode::CURVE;
use super::search::TINY;
use super::{importance, nearest, peak, put_f16, put_u16, sum_of_squares};

/// The number of the value nearest to `x`; of equally near ones the higher.
#[inline(always)]
fn nearest_value(x: f32) -> u8 {
    let (first, last) = (f32::from(CURVE[0]), f32::from(CURVE[15]));
    if x <= first {
        return 0;
    }
    if x >= last {
        return 15;
    }
    let (mut low, mut high) = (0, 15);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if x < f32::from(CURVE[middle]) {
            high = middle;
        } else {
            low = middle;
        }
    }
    let below = x - f32::from(CURVE[high - 1]) < f32::from(CURVE[high]) - x;
    (high - usize::from(below)) as u8
}

/// Weighted sums of value × weight and value² when the weights are divided by a scale.
#[inline(always)]
fn explained(values: &[f32; 32], weights: &[f32; 32], inverse: f32) -> (f32, f32) {
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for (x, w) in values.iter().zip(weights) {
        let q = f32::from(CURVE[usize::from(nearest_value(inverse * x))]);
        sum_qx += w * q * x;
        sum_q2 += w * q * q;
    }
    (sum_qx, sum_q2)
}

/// Tries scales that map the largest weight to the lowest value, a little more and a little less.
#[inline(always)]
fn scale(values: &[f32; 32], weights: &[f32; 32]) -> f32 {
    let largest = peak(values);
    if largest.abs() < TINY {
        return 0.0;
    }
    let first = f32::from(CURVE[0]);
    let (sum_qx, sum_q2) = explained(values, weights, 1.0 / (-largest / first));
    let mut scale = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { 0.0 };
    let mut best = scale * sum_qx;
    for attempt in -7..=7 {
        let (sum_qx, sum_q2) = explained(values, weights, (attempt as f32 + first) / largest);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
        }
    }
    scale
}

#[inline(always)]
fn weights_of(values: &[f32; 32], importances: Option<&[f32]>, typical: f32) -> [f32; 32] {
    match importances {
        Some(importances) => importance(values, importances, typical),
        None => values.map(|value| value * value),
    }
}

#[inline(always)]
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[inline(always)]
fn put_values(values: &[f32; 32], inverse: f32, out: &mut [u8]) {
    let numbers = values.map(|value| nearest_value(inverse * value));
    for k in 0..16 {
        out[k] = numbers[k] | (numbers[16 + k] << 4);
    }
}

#[inline(always)]
pub(super) fn iq4_nl(values: &[f32; 32], importances: Option<&[f32; 32]>, block: &mut [u8; 18]) {
    let typical = sum_of_squares(values) * (2.0 / 32.0);
    let weights = weights_of(values, importances.map(<[f32; 32]>::as_slice), typical);
    let scale = scale(values, &weights);
    put_f16(block, 0, scale);
    put_values(values, inverse(scale), &mut block[2..]);
}

#[inline(always)]
pub(super) fn iq4_xs(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 136]) {
    let typical = sum_of_squares(values) * (2.0 / 256.0);
    let groups = values.as_chunks::<32>().0;
    let scales: [f32; 8] = std::array::from_fn(|group| {
        let importances = importances.map(|importances| &importances[32 * group..32 * group + 32]);
        scale(&groups[group], &weights_of(&groups[group], importances, typical))
    });
    let scale = -peak(&scales) / 32.0;
    put_f16(block, 0, scale);
    let mut high = 0;
    block[4..8].fill(0);
    for (group, values) in groups.iter().enumerate() {
        let level = nearest(inverse(scale) * scales[group]).clamp(-32, 31);
        put_values(values, inverse(scale * level as f32), &mut block[8 + 16 * group..]);
        let bits = (level + 32) as u8;
        block[4 + group / 2] |= (bits & 15) << (4 * (group % 2));
        high |= u16::from(bits >> 4) << (2 * group);
    }
    put_u16(block, 2, high);
}
