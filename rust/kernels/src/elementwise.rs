//! Activation functions and what else is done number by number.

use crate::math::{exp, sigmoid, tanh};
use crate::simd;

/// `x / (1 + exp(-x))`.
#[inline(always)]
fn silu_of(x: f32) -> f32 {
    x * sigmoid(x)
}

/// GELU by its usual approximation with a hyperbolic tangent (`ggml_gelu`).
#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6; // sqrt(2 / pi)
    0.5 * x * (1.0 + tanh(ROOT * x * (1.0 + 0.044_715 * x * x)))
}

/// `x * sigmoid(1.702 x)` (`ggml_gelu_quick`).
#[inline(always)]
fn gelu_quick_of(x: f32) -> f32 {
    x * sigmoid(1.702 * x)
}

/// GELU by the error function (`ggml_gelu_erf`).
#[inline(always)]
fn gelu_erf_of(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn relu_of(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn relu_squared_of(x: f32) -> f32 {
    relu_of(x) * relu_of(x)
}

/// The error function, with an absolute error below 6e-7: Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let mut sum = 1.061_405_4f32;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    (1.0 - sum * t * exp(-x * x)).copysign(x)
}

/// A function over a slice, and the same as a gate: the function of one slice times the other.
macro_rules! functions {
    ($($name:ident, $gate:ident = $of:ident, $text:literal;)+) => {
        /// The loops; `simd` has copies of them for wider vectors.
        pub(crate) mod inner {$(
            #[inline(always)]
            pub(crate) fn $name(values: &mut [f32]) {
                for x in values {
                    *x = super::$of(*x);
                }
            }

            #[inline(always)]
            pub(crate) fn $gate(gate: &mut [f32], up: &[f32]) {
                for (x, up) in gate.iter_mut().zip(up) {
                    *x = super::$of(*x) * up;
                }
            }
        )+}

        $(
            #[doc = concat!("Puts ", $text, " in place of every value.")]
            pub fn $name(values: &mut [f32]) {
                simd::$name(values);
            }

            #[doc = concat!("Puts ", $text, " of `gate`, times `up`, into `gate`.")]
            ///
            /// # Panics
            ///
            /// If the two differ in length.
            pub fn $gate(gate: &mut [f32], up: &[f32]) {
                assert_eq!(gate.len(), up.len(), "as many factors as gates");
                simd::$gate(gate, up);
            }
        )+
    };
}

functions! {
    silu, silu_mul = silu_of, "SiLU, `x * sigmoid(x)`,";
    gelu, gelu_mul = gelu_of, "GELU by its usual approximation with a hyperbolic tangent";
    gelu_quick, gelu_quick_mul = gelu_quick_of, "GELU by a sigmoid, `x * sigmoid(1.702 x)`,";
    gelu_erf, gelu_erf_mul = gelu_erf_of, "GELU by the error function";
    relu, relu_mul = relu_of, "the value or zero, whichever is larger,";
    relu_squared, relu_squared_mul = relu_squared_of, "the square of the value or zero, whichever is larger,";
}

/// Adds `more` to `values`.
///
/// # Panics
///
/// If the two differ in length.
pub fn add(values: &mut [f32], more: &[f32]) {
    assert_eq!(values.len(), more.len(), "as many summands as values");
    for (x, y) in values.iter_mut().zip(more) {
        *x += y;
    }
}

/// Multiplies all values by `factor`.
#[inline]
pub fn scale(values: &mut [f32], factor: f32) {
    for x in values {
        *x *= factor;
    }
}

/// Puts `cap * tanh(x / cap)` in place of every value: the soft cap of Gemma 2's logits.
pub fn soft_cap(values: &mut [f32], cap: f32) {
    simd::soft_cap(values, cap);
}

/// Makes shares of one out of a row: `exp(x - max) / sum`. A row of nothing but negative infinity becomes zeros.
pub fn softmax(row: &mut [f32]) {
    simd::softmax(row);
}

/// [`soft_cap`].
#[inline(always)]
pub(crate) fn soft_cap_inner(values: &mut [f32], cap: f32) {
    for x in values {
        *x = cap * tanh(*x / cap);
    }
}

/// [`softmax`].
#[inline(always)]
pub(crate) fn softmax_inner(row: &mut [f32]) {
    let max = largest(row, f32::NEG_INFINITY);
    if max == f32::NEG_INFINITY {
        // NaN is no number that is larger, but a row with NaN among such values is no row of shares either.
        for x in row {
            *x = if x.is_nan() { f32::NAN } else { 0.0 };
        }
        return;
    }
    let factor = 1.0 / exponentials(row, max);
    scale(row, factor);
}

/// The largest value, or `least` if that is larger; NaN is left out.
#[inline(always)]
pub(crate) fn largest(row: &[f32], least: f32) -> f32 {
    let mut lanes = [least; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let lanes = fold(lanes, |a, b| if a > b { a } else { b });
    rest.iter().fold(lanes, |a, b| if *b > a { *b } else { a })
}

/// Puts `exp(x - max)` in place of every value; their sum.
#[inline(always)]
pub(crate) fn exponentials(row: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = row.as_chunks_mut::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - max);
            *lane += *x;
        }
    }
    for x in &mut *rest {
        *x = exp(*x - max);
    }
    fold(lanes, |a, b| a + b) + rest.iter().sum::<f32>()
}

/// All lanes in one: halves of them meet each other.
#[inline(always)]
fn fold(mut lanes: [f32; 16], with: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            lanes[at] = with(lanes[at], lanes[at + half]);
        }
    }
    lanes[0]
}
