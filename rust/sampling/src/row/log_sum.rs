//! The logarithm of a sum of exponentials: what turns logits into log-probabilities.

use libm::log;

use crate::row::blocks::BLOCK;
use crate::row::simd::{self, Level};
use crate::row::weight::Scale;

/// ln of the sum of e^logit over a row, with the same bits on every platform and within 2e-6 of the exact value.
///
/// A logit less this is the token's log-probability, its log-softmax. NaN counts as negative infinity. It is negative infinity if no logit
/// is a number above that, and positive infinity if one is.
///
/// ```
/// let sum = tabagent_sampling::log_sum_exp(&[0.0, 0.0, f32::NAN]);
/// assert!((sum - 2f64.ln()).abs() < 1e-6);
/// ```
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let level = Level::best();
    let (row, rest) = logits.as_chunks::<BLOCK>();
    let mut end = [f32::NEG_INFINITY; BLOCK];
    end[..rest.len()].copy_from_slice(rest);
    let (row_top, end_top) = (simd::highest(level, row), simd::highest(level, &[end]));
    let top = if end_top > row_top { end_top } else { row_top };
    if !top.is_finite() {
        return f64::from(top);
    }
    let scale = Scale::new(top, 1.0);
    f64::from(top) + log(simd::total(level, row, scale) + simd::total(level, &[end], scale))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::log_sum_exp;

    proptest! {
        #[test]
        fn sums_agree_with_double_precision(logits in prop::collection::vec(-60.0..60f32, 1..2000)) {
            let top = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - top).exp()).sum();
            let (got, want) = (log_sum_exp(&logits), top + sum.ln());
            prop_assert!((got - want).abs() < 2e-6, "{} instead of {}", got, want);
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "infinities are exact")]
    fn rows_without_a_finite_logit_have_an_infinite_sum() {
        for logits in [&[][..], &[f32::NAN; 130], &[f32::NEG_INFINITY; 3]] {
            assert_eq!(log_sum_exp(logits), f64::NEG_INFINITY);
        }
        assert_eq!(log_sum_exp(&[0.0, f32::INFINITY, f32::NAN]), f64::INFINITY);
        assert_eq!(log_sum_exp(&[f32::NAN, 7.5, f32::NEG_INFINITY]), 7.5);
    }
}
