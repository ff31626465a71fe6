//! Activation functions and what else is done number by number.

/// `x / (1 + exp(-x))`.
fn silu_of(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// GELU by its usual approximation with a hyperbolic tangent (`ggml_gelu`).
fn gelu_of(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6; // sqrt(2 / pi)
    0.5 * x * (1.0 + (ROOT * x * (1.0 + 0.044_715 * x * x)).tanh())
}

/// `x * sigmoid(1.702 x)` (`ggml_gelu_quick`).
fn gelu_quick_of(x: f32) -> f32 {
    x / (1.0 + (-1.702 * x).exp())
}

/// GELU by the error function (`ggml_gelu_erf`).
fn gelu_erf_of(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn relu_of(x: f32) -> f32 {
    x.max(0.0)
}

fn relu_squared_of(x: f32) -> f32 {
    let x = x.max(0.0);
    x * x
}

/// The error function, with an absolute error below 2e-7: Abramowitz and Stegun, 7.1.26, in double precision.
fn erf(x: f32) -> f32 {
    let x = f64::from(x);
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - poly * (-x * x).exp()).copysign(x) as f32
}

/// A function over a slice, and the same as a gate: the function of one slice times the other.
macro_rules! functions {
    ($($name:ident, $gate:ident = $of:ident, $text:literal;)+) => {$(
        #[doc = concat!("Puts ", $text, " in place of every value.")]
        pub fn $name(values: &mut [f32]) {
            values.iter_mut().for_each(|x| *x = $of(*x));
        }

        #[doc = concat!("Puts ", $text, " of `gate`, times `up`, into `gate`.")]
        ///
        /// # Panics
        ///
        /// If the two differ in length.
        pub fn $gate(gate: &mut [f32], up: &[f32]) {
            assert_eq!(gate.len(), up.len(), "as many factors as gates");
            gate.iter_mut().zip(up).for_each(|(x, up)| *x = $of(*x) * up);
        }
    )+};
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
    values.iter_mut().zip(more).for_each(|(x, y)| *x += y);
}

/// Multiplies all values by `factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|x| *x *= factor);
}

/// Puts `cap * tanh(x / cap)` in place of every value: the soft cap of Gemma 2's logits.
pub fn soft_cap(values: &mut [f32], cap: f32) {
    values.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
}

/// Makes shares of one out of a row: `exp(x - max) / sum`. A row of nothing but negative infinity becomes zeros.
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    let mut sum = 0.0f64;
    for x in &mut *row {
        *x = (*x - max).exp();
        sum += f64::from(*x);
    }
    let factor = (1.0 / sum) as f32;
    row.iter_mut().for_each(|x| *x *= factor);
}
