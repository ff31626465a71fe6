//! The exponential of this crate: the same bits on every platform, and written so that the compiler can vectorise it.

/// Below this the result is 0: the least integer above the point where the result would be subnormal.
const FLUSH: f32 = -87.0;
/// 1.5 × 2^23: adding it rounds a small `f32` to the nearest integer, which then sits in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts: the high one has few enough bits for its product with an exponent to be exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x for x ≤ 0, with a relative error below 3e-7; 0 for x < -87 and for NaN.
///
/// Splits x into n ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite's two-part constant), sums the Taylor series of e^r up to r^7
/// (the rest is under 6e-9) and puts n into the exponent bits.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    let in_range = x >= FLUSH;
    let x = if in_range { x } else { FLUSH };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = r * (1.0 / 5040.0) + (1.0 / 720.0);
    sum = sum * r + (1.0 / 120.0);
    sum = sum * r + (1.0 / 24.0);
    sum = sum * r + (1.0 / 6.0);
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if in_range { sum * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_double_precision_one() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
    }

    #[test]
    fn exp_of_zero_is_exactly_one() {
        assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
        assert_eq!(exp(-0.0).to_bits(), 1f32.to_bits());
    }

    #[test]
    fn exp_flushes_what_it_cannot_hold() {
        for x in [-87.01, -1e30, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp(x).to_bits(), 0, "{x}");
        }
        assert!(exp(-87.0).is_normal());
    }
}
