//! `IQ1_S` and `IQ1_M`: eight weights are a point of a ternary lattice, shifted a little up or down.

use std::cmp::Ordering;

use super::super::decode::{iq1_m_scale, u16_at};
use super::super::half::f32_to_f16;
use super::super::lattice::{IQ1, Lattice, Place};
use super::vectors::scale_level;
use super::{importance, put_f16, put_u16, sum_of_squares};

/// The values that the three levels stand for, shifted up and shifted down.
const UP: [f32; 3] = [-0.875, 0.125, 1.125];
const DOWN: [f32; 3] = [-1.125, -0.125, 0.875];

/// The indices of a group's weights, smallest weight first; equal ones in their order, as glibc's `qsort` leaves them.
#[inline(always)]
fn ascending<const N: usize>(values: &[f32]) -> [usize; N] {
    let mut order: [usize; N] = std::array::from_fn(|k| k);
    order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap_or(Ordering::Equal));
    order
}

#[inline(always)]
fn largest_size(values: &[f32]) -> f32 {
    values[1..].iter().fold(values[0].abs(), |max, value| if max > value.abs() { max } else { value.abs() })
}

/// The best way found to cut a sorted group into three levels.
struct Cut<S> {
    first: usize,
    second: usize,
    scale: f32,
    shifts: S,
}

/// The levels of a group cut in two places.
#[inline(always)]
fn cut_levels<const N: usize>(order: &[usize; N], first: usize, second: usize) -> [u8; N] {
    let mut levels = [0; N];
    for (rank, &k) in order.iter().enumerate() {
        levels[k] = u8::from(rank >= first) + u8::from(rank >= second);
    }
    levels
}

/// The lattice point for eight levels: they themselves, or the neighbour with the least weighted error.
#[inline(always)]
fn point(
    lattice: &Lattice<8>,
    levels: &[u8],
    values: &[f32],
    weights: &[f32],
    scale: f32,
    of_level: &[f32; 3],
) -> (usize, bool) {
    let vector = std::array::from_fn(|k| levels[k]);
    let near = match lattice.place(&vector) {
        Place::Point(point) => return (point, true),
        Place::Between(near) => near,
    };
    let (mut best, mut found) = (f32::MAX, near.first().copied().unwrap_or(0));
    for &candidate in near {
        let levels = lattice.levels(usize::from(candidate));
        let mut error = 0.0;
        for k in 0..8 {
            let off = scale * of_level[usize::from(levels[k])] - values[k];
            error += weights[k] * off * off;
        }
        if error < best {
            (best, found) = (error, candidate);
        }
    }
    (usize::from(found), false)
}

/// Adds a vector's weighted sums of value × level value and level value² to `sums`.
#[inline(always)]
fn add_explained(
    sums: &mut (f32, f32),
    levels: &[u8; 8],
    of_level: [f32; 3],
    values: &[f32],
    weights: &[f32],
) {
    for k in 0..8 {
        let (w, q) = (weights[k], of_level[usize::from(levels[k])]);
        sums.0 += w * q * values[k];
        sums.1 += w * q * q;
    }
}

/// Tries every cut of a sorted group with both shifts. Least squares needs only sums up to the cuts.
#[inline(always)]
fn best_cut(values: &[f32], weights: &[f32; 32], order: &[usize; 32], max: f32) -> Option<Cut<i8>> {
    let (mut sum_x, mut sum_w) = ([0.0_f32; 33], [0.0_f32; 33]);
    for (rank, &k) in order.iter().enumerate() {
        sum_x[rank + 1] = sum_x[rank] + weights[k] * values[k];
        sum_w[rank + 1] = sum_w[rank] + weights[k];
    }
    let (mut best, mut score) = (Cut { first: 0, second: 0, scale: max, shifts: 0 }, -f32::MAX);
    for first in 0..=32 {
        for second in first..=32 {
            for (shift, of_level) in [(1, &UP), (-1, &DOWN)] {
                let qx = (sum_x[first] - sum_x[0]) * of_level[0]
                    + (sum_x[second] - sum_x[first]) * of_level[1]
                    + (sum_x[32] - sum_x[second]) * of_level[2];
                let q2 = (sum_w[first] - sum_w[0]) * of_level[0] * of_level[0]
                    + (sum_w[second] - sum_w[first]) * of_level[1] * of_level[1]
                    + (sum_w[32] - sum_w[second]) * of_level[2] * of_level[2];
                if q2 > 0.0 && qx * qx > score * q2 {
                    best = Cut { first, second, scale: qx / q2, shifts: shift };
                    score = best.scale * qx;
                }
            }
        }
    }
    (best.shifts != 0).then_some(best)
}

#[inline(always)]
pub(super) fn iq1_s(values: &[f32; 256], importances: &[f32; 256], block: &mut [u8; 50]) {
    let lattice = &*IQ1;
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    *block = [0; 50];
    let (mut scales, mut down) = ([0.0; 8], [false; 8]);
    for group in 0..8 {
        let range = 32 * group..32 * group + 32;
        let x = &values[range.clone()];
        let weights: [f32; 32] = importance(x, &importances[range], typical);
        let max = largest_size(x);
        if max < 1e-12 {
            continue;
        }
        let order = ascending::<32>(x);
        let Some(Cut { first, second, mut scale, mut shifts }) = best_cut(x, &weights, &order, max) else {
            continue;
        };
        let mut levels = cut_levels(&order, first, second);
        if scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            (scale, shifts) = (-scale, -shifts);
        }
        let of_level = if shifts == 1 { UP } else { DOWN };
        let mut direct = true;
        let points: [usize; 4] = std::array::from_fn(|k| {
            let eight = 8 * k..8 * k + 8;
            let (point, on_lattice) =
                point(lattice, &levels[eight.clone()], &x[eight.clone()], &weights[eight], scale, &of_level);
            direct &= on_lattice;
            point
        });
        if !direct {
            let mut sums = (0.0, 0.0);
            for (k, &point) in points.iter().enumerate() {
                add_explained(&mut sums, lattice.levels(point), of_level, &x[8 * k..], &weights[8 * k..]);
            }
            if sums.0 > 0.0 && sums.1 > 0.0 {
                scale = sums.0 / sums.1;
            }
        }
        let mut high = 0;
        for (k, point) in points.into_iter().enumerate() {
            block[2 + 4 * group + k] = point as u8;
            high |= ((point >> 8) as u16) << (3 * k);
        }
        put_u16(block, 34 + 2 * group, high);
        scales[group] = scale;
        down[group] = shifts == -1;
    }
    let max = scales.iter().fold(0.0, |max: f32, &scale| if max > scale { max } else { scale });
    if max == 0.0 {
        return;
    }
    let scale = max / 15.0;
    put_f16(block, 0, scale * 1.125);
    for group in 0..8 {
        let level = scale_level(1.0 / scale, scales[group], 7) | u8::from(down[group]) << 3;
        let high = u16_at(block, 34 + 2 * group);
        put_u16(block, 34 + 2 * group, high | u16::from(level) << 12);
    }
}

/// The level values of half `half` of a sixteen under one of the four combinations of shifts: up and up, up and down,
/// down and up, down and down.
#[inline(always)]
fn shifted(shifts: usize, half: usize) -> [f32; 3] {
    if (shifts >> (1 - half)) & 1 == 0 { UP } else { DOWN }
}

/// As [`best_cut`], for halves that are shifted apart. Neighbouring levels lie 1 apart, so that a half's sum is its
/// whole sum at the top level less the sums up to both cuts.
#[inline(always)]
fn best_double_cut(values: &[f32], weights: &[f32; 16], order: &[usize; 16], max: f32) -> Option<Cut<usize>> {
    let (mut sum_x, mut sum_w) = ([[0.0_f32; 17]; 2], [[0.0_f32; 17]; 2]);
    for (rank, &k) in order.iter().enumerate() {
        let (here, other) = (k / 8, 1 - k / 8);
        sum_x[here][rank + 1] = sum_x[here][rank] + weights[k] * values[k];
        sum_x[other][rank + 1] = sum_x[other][rank];
        sum_w[here][rank + 1] = sum_w[here][rank] + weights[k];
        sum_w[other][rank + 1] = sum_w[other][rank];
    }
    let steps = |of: [f32; 3]| [of[0] * of[0] - of[1] * of[1], of[1] * of[1] - of[2] * of[2]];
    let mut best = Cut { first: 0, second: 0, scale: max, shifts: usize::MAX };
    let mut score = -f32::MAX;
    for first in 0..=16 {
        for second in first..=16 {
            let half = |half: usize, of_level: [f32; 3]| {
                let (x, w, step) = (&sum_x[half], &sum_w[half], steps(of_level));
                let qx = x[16] * of_level[2] - (x[first] + x[second]);
                let q2 = w[16] * of_level[2] * of_level[2] + w[first] * step[0] + w[second] * step[1];
                (qx, q2)
            };
            let halves = [[half(0, UP), half(0, DOWN)], [half(1, UP), half(1, DOWN)]];
            for shifts in 0..4 {
                let (a, b) = (halves[0][shifts >> 1], halves[1][shifts & 1]);
                let (qx, q2) = (a.0 + b.0, a.1 + b.1);
                if q2 > 0.0 && qx * qx > score * q2 {
                    best = Cut { first, second, scale: qx / q2, shifts };
                    score = best.scale * qx;
                }
            }
        }
    }
    (best.shifts != usize::MAX).then_some(best)
}

#[inline(always)]
pub(super) fn iq1_m(values: &[f32; 256], importances: Option<&[f32; 256]>, block: &mut [u8; 56]) {
    let lattice = &*IQ1;
    let typical = 2.0 * sum_of_squares(values) / 256.0;
    let weights_of = |group: usize| -> [f32; 16] {
        let x = &values[16 * group..16 * group + 16];
        match importances {
            Some(importances) => importance(x, &importances[16 * group..16 * group + 16], typical),
            None => std::array::from_fn(|k| x[k] * x[k]),
        }
    };
    *block = [0; 56];
    let (mut scales, mut all_shifts) = ([0.0; 16], [0; 16]);
    for group in 0..16 {
        let x = &values[16 * group..16 * group + 16];
        let weights = weights_of(group);
        let max = largest_size(x);
        if max < 1e-7 {
            continue;
        }
        let order = ascending::<16>(x);
        let Some(Cut { first, second, mut scale, mut shifts }) = best_double_cut(x, &weights, &order, max)
        else {
            continue;
        };
        let mut levels = cut_levels(&order, first, second);
        if scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            (scale, shifts) = (-scale, 3 - shifts);
        }
        let mut direct = true;
        let points: [usize; 2] = std::array::from_fn(|k| {
            let eight = 8 * k..8 * k + 8;
            let of_level = shifted(shifts, k);
            let (point, on_lattice) =
                point(lattice, &levels[eight.clone()], &x[eight.clone()], &weights[eight], scale, &of_level);
            direct &= on_lattice;
            point
        });
        if !direct {
            let mut sums = (0.0, 0.0);
            for (k, &point) in points.iter().enumerate() {
                let levels = lattice.levels(point);
                add_explained(&mut sums, levels, shifted(shifts, k), &x[8 * k..], &weights[8 * k..]);
            }
            if sums.0 > 0.0 && sums.1 > 0.0 {
                scale = sums.0 / sums.1;
            }
        }
        block[2 * group] = points[0] as u8;
        block[2 * group + 1] = points[1] as u8;
        block[32 + group] = (points[0] >> 8) as u8 | ((points[1] >> 8) as u8) << 4;
        (scales[group], all_shifts[group]) = (scale, shifts);
    }
    let max = scales.iter().fold(0.0, |max: f32, &scale| if max > scale { max } else { scale });
    if max == 0.0 {
        return;
    }
    let mut scale = max / 15.0;
    let inverse = 1.0 / scale;
    let mut sums = (0.0, 0.0);
    for group in 0..16 {
        let level = scale_level(inverse, scales[group], 7);
        let word = 48 + 2 * (group / 4);
        let packed = u16_at(block, word) | u16::from(level) << (3 * (group % 4));
        put_u16(block, word, packed);
        let shifts = all_shifts[group];
        block[32 + group] |= (shifts as u8 & 1) << 7 | (shifts as u8 >> 1) << 3;
        let (x, weights) = (&values[16 * group..], weights_of(group));
        for k in 0..2 {
            let high = usize::from(block[32 + group] >> (4 * k)) & 7;
            let levels = lattice.levels(usize::from(block[2 * group + k]) | high << 8);
            let of_level = shifted(shifts, k).map(|value| value * f32::from(2 * level + 1));
            add_explained(&mut sums, levels, of_level, &x[8 * k..], &weights[8 * k..]);
        }
    }
    if sums.1 > 0.0 {
        scale = sums.0 / sums.1;
    }
    let scale = f32_to_f16(scale * 1.1125);
    for word in 0..4 {
        let packed = u16_at(block, 48 + 2 * word) | ((scale >> (4 * word)) & 15) << 12;
        put_u16(block, 48 + 2 * word, packed);
    }
    debug_assert_eq!(iq1_m_scale(block), scale);
}
