//! The cases of llama.cpp's `tests/test-sampling.cpp` (pinned version), restated as data.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use std::sync::Arc;

use tabagent_sampling::{Breakers, Parameters, Sampler, SamplerConfig, Stage, TokenId};

/// The probabilities before, the stage, the tokens accepted before, and the probabilities after.
struct Case<'a> {
    before: &'a [f32],
    stage: Parameters,
    history: &'a [TokenId],
    after: &'a [f32],
}

const FOUR: &[f32] = &[0.1, 0.2, 0.3, 0.4];
const FALLING: &[f32] = &[0.4, 0.3, 0.2, 0.1];
const FIVE: &[f32] = &[0.2; 5];
const QUARTERS: &[f32] = &[0.25; 4];

fn check(case: &Case<'_>, breakers: &[&[TokenId]]) {
    let config = SamplerConfig {
        order: vec![Stage::With(case.stage)],
        seed: Some(1),
        dry_breakers: Arc::new(Breakers::from_sequences(breakers.iter().copied())),
        ..SamplerConfig::default()
    };
    let logits: Vec<f32> = case.before.iter().map(|p| p.ln()).collect();
    let mut sampler = Sampler::new(&config, logits.len()).unwrap();
    for &token in case.history {
        sampler.accept(token);
    }
    let got = sampler.probabilities(&logits).unwrap();
    for (token, (got, want)) in got.iter().zip(case.after).enumerate() {
        let text = format!("token {token}: {got} instead of {want} after {:?}", case.stage);
        assert!((got - want).abs() < 1e-5, "{text}");
    }
    assert_eq!(got.len(), case.after.len());
}

fn run(before: &[f32], stage: Parameters, after: &[f32]) {
    check(&Case { before, stage, history: &[], after }, &[]);
}

/// The cases of the extended temperature are the same: its range is 0 there.
#[test]
fn temperatures() {
    let stage =
        |temperature| Parameters::Temperature { temperature, dynatemp_range: 0.0, dynatemp_exponent: 1.0 };
    run(FOUR, stage(1.0), FOUR);
    run(FOUR, stage(0.0), &[0.0, 0.0, 0.0, 1.0]);
}

/// A choice with one candidate takes as many random numbers as any other.
#[test]
fn choices_among_one_candidate_draw_too() {
    let config = SamplerConfig { order: Vec::new(), seed: Some(4242), ..SamplerConfig::default() };
    let [mut single, mut control] = [1, 2].map(|n_candidates| {
        let mut sampler = Sampler::new(&config, 256).unwrap();
        let mut logits = [f32::NEG_INFINITY; 256];
        logits[..n_candidates].fill(0.0);
        sampler.sample(&logits).unwrap();
        sampler
    });
    for _ in 0..4 {
        assert_eq!(single.sample(&[0.0; 256]), control.sample(&[0.0; 256]));
    }
}

#[test]
fn top_k() {
    let stage = |top_k| Parameters::TopK { top_k };
    run(FOUR, stage(1), &[0.0, 0.0, 0.0, 1.0]);
    run(FOUR, stage(3), &[0.0, 0.22222, 0.33333, 0.44444]);
    run(FOUR, stage(4), FOUR);
    run(FOUR, stage(0), FOUR);
}

#[test]
fn top_p() {
    let stage = |top_p| Parameters::TopP { top_p, min_keep: 1 };
    // A target of 0, which is out of our range, keeps the best token as the smallest one does.
    run(FOUR, stage(f32::MIN_POSITIVE), &[0.0, 0.0, 0.0, 1.0]);
    run(FOUR, stage(0.7), &[0.0, 0.0, 0.428_571, 0.571_429]);
    run(FOUR, stage(0.8), &[0.0, 0.22222, 0.33333, 0.44444]);
    run(FOUR, stage(1.0), FOUR);
}

#[test]
fn min_p() {
    let stage = |min_p| Parameters::MinP { min_p, min_keep: 1 };
    run(FOUR, stage(0.0), FOUR);
    run(FOUR, stage(0.24), FOUR);
    for min_p in [0.26, 0.49] {
        run(FOUR, stage(min_p), &[0.0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]);
    }
    for min_p in [0.51, 0.74] {
        run(FOUR, stage(min_p), &[0.0, 0.0, 0.3 / 0.7, 0.4 / 0.7]);
    }
    for min_p in [0.76, 1.0] {
        run(FOUR, stage(min_p), &[0.0, 0.0, 0.0, 1.0]);
    }
    // More than all keeps the best token there and is an error here.
    let order = vec![Stage::With(stage(1.05))];
    assert!(Sampler::new(&SamplerConfig { order, ..SamplerConfig::default() }, 4).is_err());
}

#[test]
fn xtc() {
    // There the chance is 0.99 and the seed lets it happen.
    let stage = |xtc_threshold| Parameters::Xtc { xtc_probability: 1.0, xtc_threshold, min_keep: 1 };
    run(FALLING, stage(0.09), &[0.0, 0.0, 0.0, 1.0]);
    run(FALLING, stage(0.19), &[0.0, 0.0, 0.2 / 0.3, 0.1 / 0.3]);
    run(FALLING, stage(0.29), &[0.0, 0.3 / 0.6, 0.2 / 0.6, 0.1 / 0.6]);
    run(FALLING, stage(0.39), FALLING);
}

#[test]
fn typical() {
    let stage = Parameters::Typical { typical_p: 0.5, min_keep: 1 };
    run(&[0.97, 0.01, 0.01, 0.01], stage, &[1.0, 0.0, 0.0, 0.0]);
    run(&[0.4, 0.2, 0.2, 0.2], stage, &[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
}

#[test]
fn penalties() {
    let repeat = Parameters::Penalties {
        repeat_penalty: 50.0,
        repeat_window: -1,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
    };
    let additive = Parameters::Penalties {
        repeat_penalty: 1.0,
        repeat_window: -1,
        frequency_penalty: 5.0,
        presence_penalty: 5.0,
    };
    let cases: [(Parameters, &[TokenId], [f32; 5]); 6] = [
        (repeat, &[0], [0.0, 0.25, 0.25, 0.25, 0.25]),
        (repeat, &[0, 1, 2], [0.0, 0.0, 0.0, 0.5, 0.5]),
        (repeat, &[0, 1, 2, 0, 0], [0.0, 0.0, 0.0, 0.5, 0.5]),
        (additive, &[0], [0.000_011, 0.249_997, 0.249_997, 0.249_997, 0.249_997]),
        (additive, &[0, 1, 2], [0.000_023, 0.000_023, 0.000_023, 0.499_966, 0.499_966]),
        (additive, &[0, 1, 2, 0, 0], [0.0, 0.000_023, 0.000_023, 0.499_977, 0.499_977]),
    ];
    for (stage, history, after) in cases {
        check(&Case { before: FIVE, stage, history, after: &after }, &[]);
    }
}

#[test]
fn dry() {
    let stage = |dry_multiplier, dry_allowed_length, dry_window| Parameters::Dry {
        dry_multiplier,
        dry_base: 1.1,
        dry_allowed_length,
        dry_window,
    };
    let case = |before, stage, history, after| Case { before, stage, history, after };
    check(&case(QUARTERS, stage(1.0, 2, 4), &[0, 1], QUARTERS), &[]);
    let after = [0.296_923, 0.296_923, 0.109_232, 0.296_923];
    check(&case(QUARTERS, stage(1.0, 2, 5), &[0, 1, 2, 0, 1], &after), &[]);
    check(&case(FIVE, stage(1.0, 2, 6), &[0, 1, 3, 4, 0, 1], FIVE), &[&[3]]);
    let after = [0.241_818, 0.241_818, 0.032_727, 0.241_818, 0.241_818];
    check(&case(FIVE, stage(2.0, 2, 5), &[0, 1, 2, 0, 1], &after), &[]);
    check(&case(FIVE, stage(1.0, 4, 7), &[0, 1, 2, 3, 4, 0, 1], FIVE), &[]);
}

#[test]
fn top_n_sigma() {
    let stage = |top_n_sigma| Parameters::TopNSigma { top_n_sigma };
    run(FOUR, stage(1.0), &[0.0, 0.0, 0.428_571, 0.571_429]);
    run(FOUR, stage(0.0), FOUR);
    run(FOUR, stage(3.0), FOUR);
}

/// Sequences of top-k, top-p and min-p over 10,000 tokens whose probabilities are as their ids; the sizes follow from sums of integers.
#[test]
fn queues() {
    const N: i64 = 10_000;
    let logits: Vec<f32> = (0..N).map(|token| (token as f32).ln()).collect();
    let cases: [(&str, u32, f32, f32); 24] = [
        ("k", 10_000, 1.0, 1.0),
        ("k", 1, 1.0, 1.0),
        ("p", 10_000, 1.0, 1.0),
        ("p", 10_000, f32::MIN_POSITIVE, 1.0),
        ("m", 10_000, 1.0, 1.0),
        ("m", 10_000, 1.0, 1e-12),
        ("k", 100, 1.0, 1.0),
        ("p", 10_000, 0.0003, 1.0),
        ("p", 10_000, 0.8, 1.0),
        ("m", 10_000, 1.0, 9997.9 / 9999.0),
        ("m", 10_000, 1.0, 0.1),
        ("kp", 100, 0.8, 0.1),
        ("km", 100, 0.8, 0.1),
        ("pk", 100, 0.8, 0.1),
        ("pm", 100, 0.8, 0.1),
        ("mk", 100, 0.8, 0.1),
        ("mp", 100, 0.8, 9997.9 / 9999.0),
        ("mp", 100, 0.8, 0.1),
        ("kpm", 100, 0.8, 0.1),
        ("kmp", 100, 0.8, 0.1),
        ("pkm", 100, 0.8, 0.1),
        ("pmk", 100, 0.8, 0.1),
        ("mkp", 100, 0.8, 0.1),
        ("mpk", 100, 0.8, 0.1),
    ];
    for (names, top_k, top_p, min_p) in cases {
        let stages = names.chars().map(|name| match name {
            'k' => Stage::TopK,
            'p' => Stage::TopP,
            _ => Stage::MinP,
        });
        let order = stages.collect();
        let config = SamplerConfig { top_k, top_p, min_p, order, seed: Some(1), ..SamplerConfig::default() };
        let reports = Sampler::new(&config, N as usize).unwrap().explain(&logits).unwrap().stages;
        // Token 0 has no probability, and for us is no candidate.
        let mut lowest = 1;
        let mut expected = Vec::new();
        for name in names.chars() {
            match name {
                'k' => lowest = lowest.max(N - i64::from(top_k)),
                'p' => {
                    let total = N * (N - 1) / 2 - lowest * (lowest - 1) / 2;
                    let target = (top_p * total as f32).ceil() as i64;
                    let mut sum = 0;
                    let prefix = (lowest..N).rev().take_while(|token| {
                        let short = sum < target;
                        sum += token;
                        short
                    });
                    lowest = prefix.last().unwrap();
                }
                _ => lowest = lowest.max((f64::from(min_p) * (N - 1) as f64).ceil() as i64),
            }
            expected.push(N - lowest);
        }
        let on = |report: &&tabagent_sampling::StageReport| !matches!(report.name, "dist");
        let got: Vec<i64> = reports.iter().filter(on).map(|report| report.kept as i64).collect();
        // Stages that are off are not reported.
        if got.len() == expected.len() {
            assert_eq!(got, expected, "{names} {top_k} {top_p} {min_p}");
        } else {
            assert!(top_p >= 1.0 && names == "p", "{names}");
        }
    }
}
