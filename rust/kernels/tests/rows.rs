//! Norms, rotations and activation functions against their formulas in double precision.

#![allow(clippy::float_cmp, reason = "the results compared so are exact")]

use tabagent_kernels::*;

/// Numbers of all sizes that occur, of both signs.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0 + (i as f32).sin()).collect()
}

fn assert_close(found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= bound * expected.abs().max(1.0), "number {at}: {found} for {expected}");
    }
}

#[test]
fn rows_are_normed_by_their_mean_square() {
    for n_cols in [1, 5, 32, 67, 576] {
        let (values, weight) = (numbers(3 * n_cols), numbers(n_cols));
        let mut expected = Vec::new();
        for row in values.chunks(n_cols) {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n_cols as f64;
            let factor = 1.0 / (mean + f64::from(1e-5f32)).sqrt();
            expected.extend(row.iter().zip(&weight).map(|(x, w)| f64::from(*x) * factor * f64::from(*w)));
        }
        let mut out = vec![0.0; values.len()];
        rms_norm(&values, n_cols, Some(&weight), 1e-5, &mut out);
        assert_close(&out, &expected, 2e-6);
        rms_norm(&values, n_cols, None, 1e-5, &mut out);
        for (out, weight) in out.iter_mut().zip(weight.iter().cycle()) {
            *out *= weight;
        }
        assert_close(&out, &expected, 2e-6);
    }
}

#[test]
fn rows_are_normed_by_mean_and_variance() {
    for n_cols in [1, 7, 64, 100] {
        let (values, weight) = (numbers(2 * n_cols), numbers(n_cols));
        let mut expected = Vec::new();
        for row in values.chunks(n_cols) {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n_cols as f64;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n_cols as f64;
            let factor = 1.0 / (variance + f64::from(1e-5f32)).sqrt();
            let of = |(x, w): (&f32, &f32)| (f64::from(*x) - mean) * factor * f64::from(*w) + f64::from(*w);
            expected.extend(row.iter().zip(&weight).map(of));
        }
        let mut out = vec![0.0; values.len()];
        layer_norm(&values, n_cols, Some(&weight), Some(&weight), 1e-5, &mut out);
        assert_close(&out, &expected, 5e-6);
    }
}

/// The error function by its series and, far out, one.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

type Plain = fn(&mut [f32]);
type Gate = fn(&mut [f32], &[f32]);
type Formula = Box<dyn Fn(f64) -> f64>;

#[test]
fn activation_functions_are_close_to_their_formulas() {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let cases: [(Plain, Gate, Formula); 6] = [
        (silu, silu_mul, Box::new(|x| x / (1.0 + (-x).exp()))),
        (gelu, gelu_mul, Box::new(move |x| 0.5 * x * (1.0 + (root * (x + 0.044_715 * x.powi(3))).tanh()))),
        (gelu_quick, gelu_quick_mul, Box::new(|x| x / (1.0 + (-1.702 * x).exp()))),
        (gelu_erf, gelu_erf_mul, Box::new(|x| 0.5 * x * (1.0 + erf(x / 2.0f64.sqrt())))),
        (relu, relu_mul, Box::new(|x| x.max(0.0))),
        (relu_squared, relu_squared_mul, Box::new(|x| x.max(0.0).powi(2))),
    ];
    let (values, up) = (numbers(1000), numbers(1001));
    for (plain, gate, formula) in cases {
        let mut out = values.clone();
        plain(&mut out);
        let expected: Vec<f64> = values.iter().map(|x| formula(f64::from(*x))).collect();
        assert_close(&out, &expected, 3e-6);
        let mut out = values.clone();
        gate(&mut out, &up[..1000]);
        let expected: Vec<f64> = expected.iter().zip(&up).map(|(x, up)| x * f64::from(*up)).collect();
        assert_close(&out, &expected, 2e-5);
        let mut out = [f32::NAN];
        plain(&mut out);
        assert!(out[0].is_nan());
        let mut out = [f32::INFINITY];
        plain(&mut out);
        assert_eq!(out, [f32::INFINITY]);
    }
}

#[test]
fn shares_add_up_to_one_and_follow_exponentials() {
    for n in [1, 2, 15, 16, 17, 1000] {
        let values = numbers(n);
        let sum: f64 = values.iter().map(|x| f64::from(*x).exp()).sum();
        let expected: Vec<f64> = values.iter().map(|x| f64::from(*x).exp() / sum).collect();
        let mut out = values.clone();
        softmax(&mut out);
        assert_close(&out, &expected, 1e-6);
    }
    let mut row = [f32::NEG_INFINITY, 1000.0, f32::NEG_INFINITY, 1000.0];
    softmax(&mut row);
    assert_eq!(row, [0.0, 0.5, 0.0, 0.5]);
    let mut row = [f32::NEG_INFINITY; 3];
    softmax(&mut row);
    assert_eq!(row, [0.0; 3]);
    let mut row = [f32::NAN, 1.0, 2.0];
    softmax(&mut row);
    assert!(row.iter().all(|x| x.is_nan()));
}

#[test]
fn logits_are_capped() {
    let values = numbers(100);
    let mut out = values.clone();
    soft_cap(&mut out, 3.0);
    let expected: Vec<f64> = values.iter().map(|x| 3.0 * (f64::from(*x) / 3.0).tanh()).collect();
    assert_close(&out, &expected, 1e-6);
}

/// Turns by the angles that `angle` gives for position and pair.
fn turned(
    kind: RopeKind,
    n_dims: usize,
    values: &[f32],
    positions: &[i32],
    head_dim: usize,
    angle: impl Fn(i32, usize) -> f64,
) -> Vec<f64> {
    let mut out: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let n_heads = values.len() / positions.len() / head_dim;
    for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
        for pair in 0..n_dims / 2 {
            let (a, b) = match kind {
                RopeKind::Normal => (2 * pair, 2 * pair + 1),
                RopeKind::NeoX => (pair, pair + n_dims / 2),
            };
            let (sin, cos) = angle(positions[head / n_heads], pair).sin_cos();
            (out[a], out[b]) = (out[a] * cos - out[b] * sin, out[a] * sin + out[b] * cos);
        }
    }
    out
}

#[test]
fn heads_are_turned_by_position() {
    for kind in [RopeKind::Normal, RopeKind::NeoX] {
        let positions = [0, 1, 7, 4000, -3];
        let values = numbers(5 * 3 * 20);
        let mut options = RopeOptions::new(kind, 16, 10_000.0);
        options.freq_scale = 0.25;
        options.freq_factors = Some((1..=8).map(|i| i as f32).collect());
        let rope = Rope::new(&options).unwrap();
        let mut out = values.clone();
        rope.angles(&positions).apply(&mut out, 3, 20);
        let expected = turned(kind, 16, &values, &positions, 20, |position, pair| {
            0.25 * f64::from(position) * 10_000f64.powf(-(pair as f64) / 8.0) / (pair + 1) as f64
        });
        assert_close(&out, &expected, 1e-5);
        let back: Vec<i32> = positions.iter().map(|position| -position).collect();
        rope.angles(&back).apply(&mut out, 3, 20);
        assert_close(&out, &values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 1e-5);
    }
}

/// YaRN with the numbers of a model that was extended fourfold from 4,096 tokens.
#[test]
fn yarn_keeps_high_frequencies_and_scales_low_ones() {
    let mut options = RopeOptions::new(RopeKind::NeoX, 64, 10_000.0);
    options.freq_scale = 0.25;
    options.yarn = Some(Yarn { ext_factor: 1.0, beta_fast: 32.0, beta_slow: 1.0, n_ctx_orig: 4096 });
    let rope = Rope::new(&options).unwrap();
    let magnitude = 1.0 + 0.1 * 4f64.ln();
    let values = numbers(64);
    let mut out = values.clone();
    rope.angles(&[100]).apply(&mut out, 1, 64);
    let expected = turned(RopeKind::NeoX, 64, &values, &[100], 64, |position, pair| {
        let base = 10_000f64.powf(-(pair as f64) / 32.0);
        // 32 turns in 4,096 tokens are made by pair 10.46, one turn by pair 22.51.
        let kept = 1.0 - ((pair as f64 - 10.0) / 13.0).clamp(0.0, 1.0);
        f64::from(position) * (0.25 * base * (1.0 - kept) + base * kept)
    });
    let expected: Vec<f64> = expected.iter().map(|x| x * magnitude).collect();
    assert_close(&out, &expected, 1e-5);
}

#[test]
fn wrong_rotations_are_errors() {
    let good = RopeOptions::new(RopeKind::Normal, 8, 10_000.0);
    assert!(Rope::new(&good).is_ok());
    for options in [
        RopeOptions { n_dims: 0, ..good.clone() },
        RopeOptions { n_dims: 7, ..good.clone() },
        RopeOptions { freq_base: 0.0, ..good.clone() },
        RopeOptions { freq_scale: f32::NAN, ..good.clone() },
        RopeOptions { freq_factors: Some(vec![1.0; 3]), ..good.clone() },
        RopeOptions { freq_factors: Some(vec![0.0; 4]), ..good.clone() },
    ] {
        assert!(Rope::new(&options).is_err(), "{options:?}");
    }
}
