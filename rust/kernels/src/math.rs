//! Functions of single numbers, written so that the compiler can compute many at once.

/// `exp(x)` with a relative error below 3e-7; zero below -87.3, where results are no normal numbers any more.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0; // 1.5 * 2^23: adding and taking it off rounds to a whole number
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons and not `clamp`, so that NaN stays NaN.
    let clamped = if x > 88.7 { 88.7 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (clamped - n * LN_2_HIGH) - n * LN_2_LOW;
    // exp(r) for |r| <= ln(2) / 2, as in Cephes' `expf`.
    let mut sum = 1.987_569_1e-4f32;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * r + coefficient;
    }
    let sum = sum * (r * r) + r + 1.0;
    // Two factors, since 2^128 is no number; the lower bits of `shifted` are the whole number.
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed();
    let first = power >> 1;
    let factor = |power: i32| f32::from_bits((power.wrapping_add(127) as u32) << 23);
    let result = sum * factor(first) * factor(power.wrapping_sub(first));
    let result = if x < -87.3 { 0.0 } else { result };
    if x > 88.72 { f32::INFINITY } else { result }
}

/// `tanh(x)` with an absolute error below 2e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_close_to_those_in_double_precision() {
        let mut x = -87.0f32;
        while x < 88.6 {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7, "{x}: {} for {expected}", exp(x));
            x += 0.003_7;
        }
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!([exp(-88.0), exp(f32::NEG_INFINITY)].map(f32::to_bits), [0; 2]);
        assert!([exp(89.0), exp(f32::INFINITY)].iter().all(|x| *x == f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tangents_and_sigmoids_are_close_and_end_at_one() {
        let mut x = -12.0f32;
        while x < 12.0 {
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "{x}");
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs() < 2e-7, "{x}");
            x += 0.001_3;
        }
        assert!(tanh(f32::INFINITY) > 0.999_999_9 && tanh(f32::NEG_INFINITY) < -0.999_999_9);
        assert!(sigmoid(f32::INFINITY) > 0.999_999_9 && sigmoid(f32::NEG_INFINITY).abs() < 1e-7);
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
