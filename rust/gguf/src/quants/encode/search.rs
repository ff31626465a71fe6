//! Searches for the scale (and offset) of a group of weights that keep the weighted squared error low.
//!
//! A group lies in a lane: `values[k][lane]` is weight `k` of group `lane`. Lanes never mix, so a search over one lane
//! and over sixteen give the same bits.

use super::nearest;

/// Groups smaller than this count as zero.
pub(super) const TINY: f32 = 1e-15;

/// Puts group after group of `N` weights side by side.
#[inline(always)]
pub(super) fn lanes<const N: usize, const G: usize>(values: &[f32]) -> [[f32; G]; N] {
    std::array::from_fn(|k| std::array::from_fn(|lane| values[N * lane + k]))
}

/// The same weights group after group again, as bytes.
#[inline(always)]
pub(super) fn unlane<const N: usize, const G: usize, const T: usize>(levels: &[[f32; G]; N]) -> [u8; T] {
    std::array::from_fn(|at| levels[at % N][at / N] as u8)
}

/// The scales that [`affine`] tries: `top + first + step × n` levels over the range of a group, for n in `0..=last`.
pub(super) struct Tries {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) last: i32,
}

/// Finds for each group a scale and an offset ≤ 0, so that levels `0..=top` come near the weights.
///
/// For every try the weights are rounded to levels, the best line through them is fitted (weighted least squares), and
/// it is kept if it lowers the error (squared or, if `absolute`, plain). A better offset moves the later tries. Returns
/// scales and negated offsets; the levels go to `best`.
#[inline(always)]
pub(super) fn affine<const N: usize, const G: usize>(
    values: &[[f32; G]; N],
    weights: &[[f32; G]; N],
    top: i32,
    tries: &Tries,
    absolute: bool,
    best: &mut [[f32; G]; N],
) -> ([f32; G], [f32; G]) {
    let top_f = top as f32;
    let mut min = values[0];
    let mut max = values[0];
    let mut sum_w = weights[0];
    let mut sum_x = [0.0; G];
    for g in 0..G {
        sum_x[g] = sum_w[g] * values[0][g];
    }
    for k in 1..N {
        for g in 0..G {
            let (x, w) = (values[k][g], weights[k][g]);
            min[g] = if x < min[g] { x } else { min[g] };
            max[g] = if x > max[g] { x } else { max[g] };
            sum_w[g] += w;
            sum_x[g] += w * x;
        }
    }
    let mut scale = [0.0; G];
    let mut inverse = [0.0; G];
    let mut flat = [false; G];
    for g in 0..G {
        min[g] = if min[g] > 0.0 { 0.0 } else { min[g] };
        flat[g] = max[g] <= min[g];
        inverse[g] = top_f / (max[g] - min[g]);
        scale[g] = 1.0 / inverse[g];
    }
    let (start_min, mut best_error) = (min, [0.0; G]);
    for k in 0..N {
        for g in 0..G {
            let level = level(inverse[g] * (values[k][g] - min[g]), top);
            best[k][g] = level;
            let off = scale[g] * level + min[g] - values[k][g];
            let off = if absolute { off.abs() } else { off * off };
            best_error[g] += weights[k][g] * off;
        }
    }
    let mut levels = [[0.0; G]; N];
    for attempt in 0..=tries.last {
        let span = tries.first + tries.step * attempt as f32 + top_f;
        for g in 0..G {
            inverse[g] = span / (max[g] - min[g]);
        }
        let (mut sum_l, mut sum_l2, mut sum_xl) = ([0.0; G], [0.0; G], [0.0; G]);
        for k in 0..N {
            for g in 0..G {
                let x = values[k][g];
                let level = level(inverse[g] * (x - min[g]), top);
                levels[k][g] = level;
                let weighted = weights[k][g] * level;
                sum_l[g] += weighted;
                sum_l2[g] += weighted * level;
                sum_xl[g] += weighted * x;
            }
        }
        let (mut new_scale, mut new_min, mut determinant) = ([0.0; G], [0.0; G], [0.0; G]);
        for g in 0..G {
            let d = sum_w[g] * sum_l2[g] - sum_l[g] * sum_l[g];
            let fitted = (sum_w[g] * sum_xl[g] - sum_x[g] * sum_l[g]) / d;
            let offset = (sum_l2[g] * sum_x[g] - sum_l[g] * sum_xl[g]) / d;
            determinant[g] = d;
            new_scale[g] = if offset > 0.0 { sum_xl[g] / sum_l2[g] } else { fitted };
            new_min[g] = if offset > 0.0 { 0.0 } else { offset };
        }
        let mut error = [0.0; G];
        for k in 0..N {
            for g in 0..G {
                let off = new_scale[g] * levels[k][g] + new_min[g] - values[k][g];
                let off = if absolute { off.abs() } else { off * off };
                error[g] += weights[k][g] * off;
            }
        }
        let mut better = [false; G];
        let mut any = false;
        for g in 0..G {
            better[g] = determinant[g] > 0.0 && error[g] < best_error[g];
            any |= better[g];
            best_error[g] = if better[g] { error[g] } else { best_error[g] };
            scale[g] = if better[g] { new_scale[g] } else { scale[g] };
            min[g] = if better[g] { new_min[g] } else { min[g] };
        }
        if any {
            for k in 0..N {
                for g in 0..G {
                    best[k][g] = if better[g] { levels[k][g] } else { best[k][g] };
                }
            }
        }
    }
    let mut offset = [0.0; G];
    for g in 0..G {
        if flat[g] {
            scale[g] = 0.0;
            min[g] = start_min[g];
            for level in best.iter_mut() {
                level[g] = 0.0;
            }
        }
        offset[g] = -min[g];
    }
    (scale, offset)
}

/// The nearest level in `0..=top`.
#[inline(always)]
fn level(value: f32, top: i32) -> f32 {
    nearest(value).min(top).max(0) as f32
}

/// Finds for each group a scale, so that levels `-half..half` come near the weights.
///
/// Starts from the scale that maps the weight of largest size to `-half` and tries nine a little smaller and nine a
/// little larger; each is refitted to its levels and the best explained one wins. Writes levels plus `half`.
#[inline(always)]
pub(super) fn symmetric<const N: usize, const G: usize>(
    values: &[[f32; G]; N],
    weights: &[[f32; G]; N],
    half: i32,
    best: &mut [[f32; G]; N],
) -> [f32; G] {
    symmetric_with(values, half, best, |inverse| explained(values, weights, half, inverse))
}

/// As [`symmetric`]; `explained` gives the sums of [`explained`](fn@explained) for the inverse of each group's scale.
#[inline(always)]
pub(super) fn symmetric_with<const N: usize, const G: usize>(
    values: &[[f32; G]; N],
    half: i32,
    best: &mut [[f32; G]; N],
    explained: impl Fn(&[f32; G]) -> ([f32; G], [f32; G]),
) -> [f32; G] {
    let half_f = half as f32;
    let (mut largest, mut size) = ([0.0; G], [0.0; G]);
    for row in values {
        for g in 0..G {
            let here = row[g].abs();
            largest[g] = if here > size[g] { row[g] } else { largest[g] };
            size[g] = if here > size[g] { here } else { size[g] };
        }
    }
    let mut inverse = [0.0; G];
    for g in 0..G {
        inverse[g] = -half_f / largest[g];
    }
    let (mut scale, mut score) = ([0.0; G], [0.0; G]);
    let mut best_inverse = inverse;
    let (sum_lx, sum_l2) = explained(&inverse);
    for g in 0..G {
        scale[g] = if sum_l2[g] == 0.0 { 0.0 } else { sum_lx[g] / sum_l2[g] };
        score[g] = scale[g] * sum_lx[g];
    }
    for attempt in (-9..=9).filter(|attempt| *attempt != 0) {
        let span = -(half_f + 0.1 * attempt as f32);
        for g in 0..G {
            inverse[g] = span / largest[g];
        }
        let (sum_lx, sum_l2) = explained(&inverse);
        for g in 0..G {
            let better = sum_l2[g] > 0.0 && sum_lx[g] * sum_lx[g] > score[g] * sum_l2[g];
            let fitted = sum_lx[g] / sum_l2[g];
            scale[g] = if better { fitted } else { scale[g] };
            score[g] = if better { fitted * sum_lx[g] } else { score[g] };
            best_inverse[g] = if better { inverse[g] } else { best_inverse[g] };
        }
    }
    for g in 0..G {
        if size[g] < TINY {
            scale[g] = 0.0;
        }
    }
    for k in 0..N {
        for g in 0..G {
            let level = nearest(best_inverse[g] * values[k][g]).min(half - 1).max(-half) + half;
            best[k][g] = if size[g] < TINY { 0.0 } else { level as f32 };
        }
    }
    scale
}

/// Weighted sums of level × value and level².
#[inline(always)]
pub(super) fn explained<const N: usize, const G: usize>(
    values: &[[f32; G]; N],
    weights: &[[f32; G]; N],
    half: i32,
    inverse: &[f32; G],
) -> ([f32; G], [f32; G]) {
    let (mut sum_lx, mut sum_l2) = ([0.0; G], [0.0; G]);
    for k in 0..N {
        for g in 0..G {
            let (x, w) = (values[k][g], weights[k][g]);
            let level = nearest(inverse[g] * x).min(half - 1).max(-half) as f32;
            sum_lx[g] += w * x * level;
            sum_l2[g] += w * level * level;
        }
    }
    (sum_lx, sum_l2)
}

/// Finds a scale for numbers that are mostly not negative, with levels `0..=top`, and refines single levels after it.
///
/// Levels are bytes: a negative number's level wraps around, and where the sums use the byte and where the number is
/// what the order of ggml's `make_qp_quants` makes it.
#[inline(always)]
pub(super) fn positive<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    top: i32,
    levels: &mut [u8; N],
) -> f32 {
    let max = values.iter().fold(0.0, |max, &value| if max > value { max } else { value });
    if max < TINY {
        *levels = [0; N];
        return 0.0;
    }
    let top_f = top as f32;
    let error = |inverse: f32, level: &dyn Fn(f32) -> f32| {
        let scale = 1.0 / inverse;
        values.iter().zip(weights).fold(0.0, |error, (x, w)| {
            let off = x - scale * level(inverse * x);
            error + w * off * off
        })
    };
    let mut inverse = top_f / max;
    let mut best = error(inverse, &|value| f32::from(nearest(value) as u8));
    for attempt in (-4..=4).filter(|attempt| *attempt != 0) {
        let tried = (0.1 * attempt as f32 + top_f) / max;
        let error = error(tried, &|value| nearest(value).min(top) as f32);
        if error < best {
            (best, inverse) = (error, tried);
        }
    }
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for k in 0..N {
        let level = nearest(inverse * values[k]).min(top);
        levels[k] = level as u8;
        let level = level as f32;
        sum_lx += weights[k] * values[k] * level;
        sum_l2 += weights[k] * level * level;
    }
    for _ in 0..5 {
        let mut changed = false;
        for k in 0..N {
            let (x, w, old) = (values[k], weights[k], f32::from(levels[k]));
            let mut without_lx = sum_lx - w * x * old;
            let mut without_l2 = sum_l2 - w * old * old;
            if without_lx > 0.0 && without_l2 > 0.0 {
                let level = nearest(x * without_l2 / without_lx).min(top);
                if level != i32::from(levels[k]) {
                    let new = level as f32;
                    without_lx += w * x * new;
                    without_l2 += w * new * new;
                    if without_lx * without_lx * sum_l2 > sum_lx * sum_lx * without_l2 {
                        levels[k] = level as u8;
                        (sum_lx, sum_l2) = (without_lx, without_l2);
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}
