//! The weight of a token beside the best one: the same bits on every platform, whatever the width of its vectors.

use std::f32::consts::LOG2_E;

/// Below this power of two, rounded to an integer, a weight is 0: its exponent bits come out as those of zero.
pub(crate) const FLOOR: f32 = -126.0;
/// 1.5 × 2^23 + 126: adding it rounds a small `f32` to the nearest integer, which then sits, biased, in the low bits.
pub(crate) const ROUNDER: f32 = 12_583_038.0;
/// 2 × 2^r over r on [-1/2, 1/2], highest power first: the polynomial of the least greatest relative error, 9.2e-8, among those with the
/// value 2 at r = 0 (Lawson's reweighted least squares). The factor 2 is taken back by the bias of the exponent, which is one short: so no
/// product is subnormal, which would slow a processor down.
pub(crate) const POLYNOMIAL: [f32; 6] =
    [0.002_652_945_5, 0.019_343_026, 0.111_014_67, 0.480_444_85, 1.386_294, 2.0];

/// What turns logits into weights: e^((logit − top) × inverse temperature), computed as a power of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) top: f32,
    pub(crate) slope: f32,
}

impl Scale {
    /// `top` is finite and the highest logit of those weighed; `inverse_temperature` is positive and finite.
    pub(crate) fn new(top: f32, inverse_temperature: f32) -> Self {
        Self { top, slope: (inverse_temperature * LOG2_E).min(f32::MAX) }
    }

    /// Whether the [`weight`](Self::weight) is 0: the power is rounded to `FLOOR` or lower, or is NaN.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN weighs nothing")]
    pub(crate) fn is_nothing(self, logit: f32) -> bool {
        !((logit - self.top) * self.slope > FLOOR + 0.5)
    }

    /// The weight of a logit of at most `top`: 1 at the top, 0 below 2^-125.5 and for NaN.
    ///
    /// The polynomial is evaluated by Horner's rule with fused multiplications and additions, which every instruction set of `simd` has, and
    /// NEON. The polynomial's and the products' roundings stay below 2e-7 of the weight; the rounding of the power adds as much as a
    /// change of the temperature by a factor of 1 ± 2e-7.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn weight(self, logit: f32) -> f32 {
        self.weight_by(logit, fused)
    }

    /// Whether [`far_weight`](Self::far_weight) is for this logit.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn is_far(self, logit: f32) -> bool {
        let near = (logit - self.top) * self.slope > -0.5;
        cfg!(not(any(target_feature = "fma", target_arch = "aarch64"))) && !near
    }

    /// The weight of a logit whose power is at most -1/2, without the fused operations that some processors do not have.
    ///
    /// The remainder r is then a multiple of 2^-24, so that each product and sum of the polynomial has at most 51 bits: it is exact in
    /// `f64`, and the only rounding is that to `f32`, as in a fused operation.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn far_weight(self, logit: f32) -> f32 {
        self.weight_by(logit, |a, b, c| (f64::from(a) * f64::from(b) + f64::from(c)) as f32)
    }

    /// The power of two that the weight is; `FLOOR`, where the weight is 0, if it is below that or NaN.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn power(self, logit: f32) -> f32 {
        let power = (logit - self.top) * self.slope;
        if power > FLOOR { power } else { FLOOR }
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    fn weight_by(self, logit: f32, fused: impl Fn(f32, f32, f32) -> f32) -> f32 {
        let power = self.power(logit);
        let shifted = power + ROUNDER;
        let r = power - (shifted - ROUNDER);
        let [mut sum, rest @ ..] = POLYNOMIAL;
        for coefficient in rest {
            sum = fused(sum, r, coefficient);
        }
        sum * f32::from_bits(shifted.to_bits() << 23)
    }
}

/// `a * b + c`, rounded once. Where the processor's own operation cannot be taken for granted, Rust calls the system's `fmaf`, and that of
/// mingw-w64 is not exact.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it is part of loops that are compiled for several instruction sets")]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(all(windows, target_env = "gnu", not(target_feature = "fma"))) {
        libm::fmaf(a, b, c)
    } else {
        a.mul_add(b, c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_agree_with_the_double_precision_exponential() {
        let scale = Scale { top: 0.0, slope: 1.0 };
        for i in 0..=1_254_000 {
            let power = -(i as f32) * 1e-4;
            let want = f64::from(power).exp2();
            let error = (f64::from(scale.weight(power)) - want).abs() / want;
            assert!(error < 2e-7, "2^{power} is off by {error}");
        }
        let scale = Scale::new(18.0, 1.25);
        for i in 0..=60_000 {
            let logit = 18.0 - i as f32 * 1e-3;
            let depth = f64::from(18.0 - logit) * 1.25;
            let error = (f64::from(scale.weight(logit)) / (-depth).exp() - 1.0).abs();
            assert!(error < 2e-7 + 2e-7 * depth, "{logit} is off by {error}");
        }
    }

    #[test]
    fn far_weights_have_the_bits_of_fused_operations() {
        let scale = Scale { top: 0.0, slope: 1.0 };
        let powers = (0..2_000_000).map(|i| -0.5 - i as f32 * 6.1e-5);
        for power in powers.chain([f32::NEG_INFINITY, f32::NAN]) {
            assert_eq!(scale.far_weight(power).to_bits(), scale.weight(power).to_bits(), "{power}");
        }
    }

    #[test]
    fn weights_never_rise_as_the_logit_falls() {
        let scale = Scale::new(20.0, 1.0);
        let mut last = 1.0;
        for i in 0..2_000_000 {
            let weight = scale.weight(20.0 - i as f32 * 5e-5);
            assert!(weight <= last, "{i}");
            last = weight;
        }
    }

    #[test]
    fn the_best_token_weighs_exactly_one() {
        for (top, inverse) in [(0.0, 1.0), (-0.0, 1.0), (-3.5, 1e-30), (f32::MAX, f32::MAX), (f32::MIN, 0.8)]
        {
            assert_eq!(Scale::new(top, inverse).weight(top).to_bits(), 1f32.to_bits());
        }
        assert_eq!(Scale::new(0.0, 1.0).weight(-0.0).to_bits(), 1f32.to_bits());
    }

    #[test]
    fn what_is_too_far_below_the_top_weighs_nothing() {
        let scale = Scale { top: 1.0, slope: 1.0 };
        for logit in [-124.6, -1e30, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(scale.weight(logit).to_bits(), 0, "{logit}");
            assert!(scale.is_nothing(logit), "{logit}");
        }
        assert!(scale.weight(-124.4).is_normal());
        let border = (0..2_000_000u32).map(|i| -f32::from_bits(124.5f32.to_bits() - 1_000_000 + i));
        for logit in border.chain([1.0, 0.0, -30.0]) {
            assert_eq!(scale.is_nothing(logit), scale.weight(logit) == 0.0, "{logit}");
        }
        assert_eq!(Scale::new(f32::MAX, f32::MAX).weight(f32::MIN).to_bits(), 0);
    }
}
