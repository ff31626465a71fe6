//! Norms over rows.

use crate::simd;

/// Divides each row of `n_cols` values by the root of its mean square: `out = x / sqrt(mean(x²) + eps) * weight`.
///
/// # Panics
///
/// If `n_cols` is zero, `values` and `out` differ in length or are no whole rows, or `weight` is not one row.
pub fn rms_norm(values: &[f32], n_cols: usize, weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "as many results as values");
    out.copy_from_slice(values);
    rms_norm_in_place(out, n_cols, weight, eps);
}

/// As [`rms_norm`], over the values themselves.
///
/// # Panics
///
/// As [`rms_norm`].
pub fn rms_norm_in_place(values: &mut [f32], n_cols: usize, weight: Option<&[f32]>, eps: f32) {
    check_rows(values, n_cols, weight);
    simd::rms_norm(values, n_cols, weight, eps);
}

/// Takes the mean from each row of `n_cols` values and divides by the standard deviation:
/// `out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.
///
/// # Panics
///
/// As [`rms_norm`]; also if `bias` is not one row.
pub fn layer_norm(
    values: &[f32],
    n_cols: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    assert_eq!(values.len(), out.len(), "as many results as values");
    check_rows(values, n_cols, weight);
    check_rows(values, n_cols, bias);
    out.copy_from_slice(values);
    simd::layer_norm(out, n_cols, weight, bias, eps);
}

fn check_rows(values: &[f32], n_cols: usize, weight: Option<&[f32]>) {
    assert!(n_cols > 0 && values.len().is_multiple_of(n_cols), "whole rows of at least one value");
    assert!(weight.is_none_or(|w| w.len() == n_cols), "weights for one row");
}

/// [`rms_norm_in_place`].
#[inline(always)]
pub(crate) fn rms_norm_inner(values: &mut [f32], n_cols: usize, weight: Option<&[f32]>, eps: f32) {
    for row in values.chunks_exact_mut(n_cols) {
        let mean = sum_by(row, |x| x * x) / n_cols as f32;
        let factor = 1.0 / (mean + eps).sqrt();
        match weight {
            Some(weight) => row.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * factor * w),
            None => row.iter_mut().for_each(|x| *x *= factor),
        }
    }
}

/// [`layer_norm`], in place.
#[inline(always)]
pub(crate) fn layer_norm_inner(
    values: &mut [f32],
    n_cols: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
) {
    for row in values.chunks_exact_mut(n_cols) {
        let mean = sum_by(row, |x| x) / n_cols as f32;
        for x in &mut *row {
            *x -= mean;
        }
        let variance = sum_by(row, |x| x * x) / n_cols as f32;
        let factor = 1.0 / (variance + eps).sqrt();
        match weight {
            Some(weight) => row.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * factor * w),
            None => row.iter_mut().for_each(|x| *x *= factor),
        }
        if let Some(bias) = bias {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
    }
}

/// The sum of `of(x)` in 32 lanes that are added up in the end.
#[inline(always)]
fn sum_by(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 32];
    let (chunks, rest) = values.as_chunks::<32>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| of(*x)).sum::<f32>()
}
