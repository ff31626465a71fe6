//! The stages beyond the plain ones: their chances, their state, what they leave, and what is told of a step.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use std::sync::Arc;

use tabagent_sampling::{Parameters, SampleError, Sampler, SamplerConfig, Stage, TokenId, TokenPieces};

fn with(order: Vec<Stage>) -> SamplerConfig {
    SamplerConfig { order, seed: Some(9), ..SamplerConfig::default() }
}

fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// How often each token comes in `n` draws.
fn draws(config: &SamplerConfig, logits: &[f32], n: usize) -> Vec<f64> {
    let mut sampler = Sampler::new(config, logits.len()).unwrap();
    let mut seen = vec![0f64; logits.len()];
    (0..n).for_each(|_| seen[sampler.sample(logits).unwrap() as usize] += 1.0);
    seen
}

fn chi_squared(seen: &[f64], expected: &[f64]) -> f64 {
    let total: f64 = seen.iter().sum();
    let terms = seen.iter().zip(expected).map(|(seen, p)| (seen - p * total).powi(2) / (p * total));
    terms.sum()
}

#[test]
fn xtc_falls_as_often_as_its_chance() {
    let chance = 0.3;
    let stage = Parameters::Xtc { xtc_probability: chance, xtc_threshold: 0.19, min_keep: 1 };
    let seen = draws(&with(vec![Stage::With(stage)]), &logits(&[0.4, 0.3, 0.2, 0.1]), 100_000);
    // Without it all four; with it the last two.
    let (chance, rest) = (f64::from(chance), 1.0 - f64::from(chance));
    let expected = [0.4 * rest, 0.3 * rest, 0.2 * rest + chance * 2.0 / 3.0, 0.1 * rest + chance / 3.0];
    // The 99.99 % quantile with 3 degrees of freedom is 21.1.
    let statistic = chi_squared(&seen, &expected);
    assert!(statistic < 21.1, "{statistic}");
}

#[test]
fn adaptive_p_draws_from_the_transformed_distribution() {
    // A decay of 0 and a target of 0.5 make each step's target twice 0.5 less the last token's probability.
    let config = SamplerConfig { adaptive_target: 0.5, adaptive_decay: 0.0, ..with(vec![Stage::AdaptiveP]) };
    let before = [0.5f64, 0.3, 0.2];
    let transformed = |target: f64| {
        let weights = before.map(|p| {
            let distance = ((p - target) / 0.3).abs();
            (5.0 - 10.0 * distance * distance / (1.0 + distance)).exp()
        });
        weights.map(|weight| weight / weights.iter().sum::<f64>())
    };
    let row = logits(&[0.5, 0.3, 0.2]);
    let mut sampler = Sampler::new(&config, 3).unwrap();
    let mut seen = [[0f64; 3]; 3];
    let mut last = 0;
    for _ in 0..100_000 {
        let want = transformed(1.0 - before[last]);
        let token = sampler.sample(&row).unwrap() as usize;
        seen[last][token] += 1.0;
        last = token;
        assert!((want.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    for (last, seen) in seen.iter().enumerate() {
        let expected = transformed(1.0 - before[last]);
        let common: Vec<usize> = (0..3).filter(|&token| expected[token] > 1e-4).collect();
        let (seen, expected): (Vec<f64>, Vec<f64>) =
            common.iter().map(|&token| (seen[token], expected[token])).unzip();
        // The 99.99 % quantile with 2 degrees of freedom is 18.4.
        let statistic = chi_squared(&seen, &expected);
        assert!(statistic < 18.5, "{statistic} after token {last}");
    }
}

#[test]
fn adaptive_p_draws_from_whole_rows_what_it_tells() {
    // Several blocks, the target among many tokens of the same probability.
    let row: Vec<f32> = (0..1000).map(|i| if i % 9 == 0 { 4.0 } else { (i % 7) as f32 / 3.0 }).collect();
    let config = SamplerConfig { adaptive_target: 0.02, adaptive_decay: 0.0, ..with(vec![Stage::AdaptiveP]) };
    let mut seen = [0f64; 20];
    let mut expected = [0f64; 20];
    for seed in 0..20_000 {
        let mut sampler =
            Sampler::new(&SamplerConfig { seed: Some(seed), ..config.clone() }, row.len()).unwrap();
        if seed == 0 {
            let shares = sampler.probabilities(&row).unwrap();
            shares.iter().enumerate().for_each(|(token, &share)| expected[token / 50] += f64::from(share));
            sampler.remember(5);
            let token = sampler.sample(&row).unwrap();
            let mut kept = Vec::new();
            sampler.kept(5, &mut kept);
            let mut alone =
                Sampler::new(&SamplerConfig { seed: Some(0), ..config.clone() }, row.len()).unwrap();
            assert_eq!(alone.sample(&row).unwrap(), token);
            for (token, share) in kept {
                assert!((share - shares[token as usize]).abs() < 1e-6);
            }
        }
        seen[sampler.sample(&row).unwrap() as usize / 50] += 1.0;
    }
    // The 99.99 % quantile with 19 degrees of freedom is 50.8.
    let statistic = chi_squared(&seen, &expected);
    assert!(statistic < 50.8, "{statistic}");
}

#[test]
fn mirostat_keeps_whole_rows_of_surprises_below_its_limit() {
    // One token takes nearly all, so that the limit rises with every step, in the end above the surprise of every token.
    let mut row = vec![0f32; 5000];
    row[777] = 12.0;
    for mirostat in [1, 2] {
        let config = SamplerConfig { mirostat, ..with(Vec::new()) };
        let mut sampler = Sampler::new(&config, row.len()).unwrap();
        for _ in 0..300 {
            sampler.sample(&row).unwrap();
        }
        let shares = sampler.probabilities(&row).unwrap();
        assert!(shares.iter().all(|&share| share > 0.0));
        let others =
            draws(&config, &row, 20_000).iter().enumerate().filter(|(at, n)| *at != 777 && **n > 0.0).count();
        // They have 3 % of the probability.
        assert!(others > 200, "{others}");
    }
}

#[test]
fn cuts_of_whole_rows_can_follow_one_another() {
    let mut state = 5u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    let row: Vec<f32> = (0..60_000).map(|_| 3.0 * (next() + next() + next())).collect();
    let temperature =
        Parameters::Temperature { temperature: 0.7, dynatemp_range: 0.0, dynatemp_exponent: 1.0 };
    let stages = [
        Parameters::TopP { top_p: 0.9, min_keep: 1 },
        Parameters::Typical { typical_p: 0.8, min_keep: 1 },
        Parameters::MinP { min_p: 0.1, min_keep: 1 },
        Parameters::TopK { top_k: 9_000 },
        Parameters::TopK { top_k: 30 },
        Parameters::TopNSigma { top_n_sigma: 2.0 },
        temperature,
    ];
    for first in stages {
        for second in stages {
            for third in [temperature, Parameters::MinP { min_p: 0.2, min_keep: 1 }] {
                let order: Vec<Stage> = [first, second, third].map(Stage::With).to_vec();
                let config =
                    SamplerConfig { order: order.clone(), seed: Some(1), ..SamplerConfig::default() };
                let mut sampler = Sampler::new(&config, row.len()).unwrap();
                // Explaining a step lists the candidates after each stage; sampling does without where it can.
                let shares = sampler.probabilities(&row).unwrap();
                sampler.remember(10);
                let mut kept = Vec::new();
                for _ in 0..15 {
                    let token = sampler.sample(&row).unwrap();
                    assert!(shares[token as usize] > 0.0, "{order:?}");
                    sampler.kept(10, &mut kept);
                    let (last, best) = kept.split_last().unwrap();
                    assert!((last.1 / shares[last.0 as usize] - 1.0).abs() < 1e-3, "{order:?}");
                    assert!(kept.iter().any(|kept| kept.0 == token));
                    let n_better = |p: f32| shares.iter().filter(|&&share| share > p * 1.001).count();
                    for (at, &(token, p)) in best.iter().enumerate() {
                        assert!(
                            (p / shares[token as usize] - 1.0).abs() < 1e-3 && n_better(p) <= at,
                            "{order:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn mirostat_2_draws_from_the_renormalised_rest() {
    // Without learning the limit stays at 2 tau bits: tokens of at least 1/8.
    let config = SamplerConfig { mirostat: 2, mirostat_tau: 1.5, mirostat_eta: 0.0, ..with(Vec::new()) };
    let seen = draws(&config, &logits(&[0.1, 0.3, 0.15, 0.4, 0.05]), 100_000);
    assert_eq!([seen[0], seen[4]].map(|n| n as u32), [0, 0]);
    let statistic = chi_squared(&[seen[1], seen[2], seen[3]], &[0.3 / 0.85, 0.15 / 0.85, 0.4 / 0.85]);
    assert!(statistic < 18.5, "{statistic}");
}

#[test]
fn seeded_tokens_of_all_stages_stay_as_they_are() {
    let row: Vec<f32> = (0..500).map(|i| ((i * 7919) % 503) as f32 / 40.0).collect();
    let all = SamplerConfig {
        dynatemp_range: 0.5,
        top_n_sigma: 2.0,
        top_k: 100,
        typical_p: 0.9,
        xtc_probability: 0.5,
        xtc_threshold: 0.02,
        dry_multiplier: 0.8,
        repeat_penalty: 1.1,
        ..SamplerConfig::default()
    };
    let adaptive = SamplerConfig { adaptive_target: 0.2, ..all.clone() };
    let llama = SamplerConfig { order: SamplerConfig::llama_cpp_order(), ..all.clone() };
    let run = |config: &SamplerConfig| {
        let config = SamplerConfig { seed: Some(42), ..config.clone() };
        let mut sampler = Sampler::new(&config, row.len()).unwrap();
        let mut neighbour = Sampler::new(&config, row.len()).unwrap();
        let tokens: Vec<TokenId> = (0..10)
            .map(|_| {
                let token = sampler.sample(&row).unwrap();
                sampler.accept(token);
                // Another sampler at work in between changes nothing.
                neighbour.sample(&row).unwrap();
                token
            })
            .collect();
        tokens
    };
    let got = [all, adaptive, llama].map(|config| run(&config));
    assert_eq!(got, GOLDEN);
}

/// From an independent implementation of the generator and the choice.
const GOLDEN: [[TokenId; 10]; 3] = [
    [133, 324, 273, 316, 472, 398, 20, 277, 12, 199],
    [156, 351, 281, 320, 472, 402, 20, 277, 16, 199],
    [133, 324, 277, 320, 472, 402, 20, 277, 12, 199],
];

#[test]
fn one_token_steps_draw_as_often_as_others() {
    // After a step with a single candidate the generator is where it is after any other.
    let mut single = Sampler::new(&with(Vec::new()), 256).unwrap();
    let mut control = single.clone();
    let mut one = vec![f32::NEG_INFINITY; 256];
    one[7] = 0.0;
    assert_eq!(single.sample(&one), Ok(7));
    control.sample(&[0.0; 256]).unwrap();
    for _ in 0..4 {
        assert_eq!(single.sample(&[0.0; 256]), control.sample(&[0.0; 256]));
    }
}

#[test]
fn explanations_leave_no_trace() {
    let row = logits(&[0.4, 0.3, 0.2, 0.1]);
    let config = SamplerConfig {
        xtc_probability: 0.5,
        adaptive_target: 0.4,
        presence_penalty: 0.5,
        ..SamplerConfig { seed: Some(9), ..SamplerConfig::default() }
    };
    let mut watched = Sampler::new(&config, 4).unwrap();
    let mut plain = watched.clone();
    for _ in 0..50 {
        let step = watched.explain(&row).unwrap();
        assert_eq!(watched.probabilities(&row).unwrap(), step.probabilities);
        let token = plain.sample(&row).unwrap();
        assert_eq!(watched.sample(&row), Ok(token));
        assert!(step.probabilities[token as usize] > 0.0);
        watched.accept(token);
        plain.accept(token);
    }
}

#[test]
fn kept_candidates_are_those_of_the_step() {
    let row = logits(&[0.1, 0.4, 0.2, 0.3]);
    let mut out = vec![(9, 9.0)];
    let mut sampler = Sampler::new(&with(vec![Stage::With(Parameters::TopK { top_k: 3 })]), 4).unwrap();
    sampler.kept(5, &mut out);
    assert!(out.is_empty());
    let token = sampler.sample(&row).unwrap();
    sampler.kept(5, &mut out);
    assert_eq!(out.iter().map(|kept| kept.0).collect::<Vec<_>>(), [1, 3, 2]);
    assert!((out[0].1 - 0.4 / 0.9).abs() < 1e-6);
    sampler.kept(0, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].0, token);

    // Without a stage that cuts, only what is asked for is remembered.
    let mut whole = Sampler::new(&with(Vec::new()), 4).unwrap();
    whole.sample(&row).unwrap();
    whole.kept(2, &mut out);
    assert!(out.is_empty());
    whole.remember(2);
    let token = whole.sample(&row).unwrap();
    whole.kept(2, &mut out);
    assert_eq!(out[..2].iter().map(|kept| kept.0).collect::<Vec<_>>(), [1, 3]);
    let chosen = out.iter().find(|kept| kept.0 == token).unwrap();
    assert!((f64::from(chosen.1) - f64::from(row[token as usize]).exp()).abs() < 1e-6);

    let mut greedy = Sampler::new(&SamplerConfig::greedy(), 4).unwrap();
    greedy.sample(&row).unwrap();
    greedy.kept(3, &mut out);
    assert_eq!(out, [(1, 1.0)]);
}

#[test]
fn banned_and_allowed_tokens_hold_together_with_masks() {
    let row = logits(&[0.4, 0.3, 0.2, 0.1]);
    let config =
        SamplerConfig { banned_tokens: vec![0], allowed_tokens: Some(vec![0, 1, 3]), ..with(Vec::new()) };
    let mut sampler = Sampler::new(&config, 4).unwrap();
    let got = sampler.probabilities(&row).unwrap();
    assert!((got[1] - 0.75).abs() < 1e-6 && (got[3] - 0.25).abs() < 1e-6 && got[0] + got[2] == 0.0);
    let mut mask = tabagent_sampling::TokenMask::new(4);
    mask.allow(3);
    mask.allow(2);
    assert_eq!(sampler.sample_masked(&row, Some(&mask)), Ok(3));
    mask.disallow(3);
    assert_eq!(sampler.sample_masked(&row, Some(&mask)), Err(SampleError::EmptyMask { n_vocab: 4 }));
}

/// Infill over the pieces "a", "ab", "b", "c" and two tokens that end a text, the last one the turn's.
fn infill(probabilities: &[f32; 6]) -> Vec<f32> {
    let pieces = TokenPieces::new(["a", "ab", "b", "c", "", ""], &[4, 5], Some(5));
    let config = SamplerConfig { pieces: Some(Arc::new(pieces)), ..with(vec![Stage::Infill]) };
    Sampler::new(&config, 6).unwrap().probabilities(&logits(probabilities)).unwrap()
}

#[test]
fn infill_ends_where_the_end_is_probable_enough() {
    // 3 * 0.06 * 6 > 0.94.
    let got = infill(&[0.5, 0.2, 0.12, 0.12, 0.02, 0.04]);
    assert!((got[4] - 1.0 / 3.0).abs() < 1e-6 && (got[5] - 2.0 / 3.0).abs() < 1e-6);
}

#[test]
fn infill_takes_tokens_together_that_begin_alike() {
    // "ab" goes into "a", which makes it the only text over 0.2 that stays.
    let got = infill(&[0.5, 0.25, 0.1, 0.14, 0.005, 0.005]);
    assert!((got[0] - 0.5 / 0.51).abs() < 1e-5 && (got[4] - 0.005 / 0.51).abs() < 1e-5);
    assert_eq!([got[1], got[2], got[3]].map(f32::to_bits), [0; 3]);
}

#[test]
fn infill_ends_where_no_text_is_probable_enough() {
    let n = 40;
    let names: Vec<String> = (0..n).map(|i| format!("{i:02}")).collect();
    let ended = TokenPieces::new(&names, &[n as TokenId - 1], Some(n as TokenId - 1));
    let mut row = vec![0.0; n];
    row[n - 1] = -20.0;
    let config = |pieces| SamplerConfig { pieces: Some(Arc::new(pieces)), ..with(vec![Stage::Infill]) };
    assert_eq!(Sampler::new(&config(ended.clone()), n).unwrap().sample(&row), Ok(n as TokenId - 1));
    // Where the end is masked out, the best text stays.
    row[n - 1] = f32::NEG_INFINITY;
    assert_eq!(Sampler::new(&config(ended), n).unwrap().sample(&row), Ok(0));
}

#[test]
fn stages_never_leave_an_empty_set() {
    let rows: [&[f32]; 4] =
        [&[0.0], &[0.0, 0.0], &[-3e38, 3e38, 0.0], &[f32::NEG_INFINITY, f32::NAN, -1e-30, 1e-30, 0.0]];
    let harsh = [
        Stage::With(Parameters::TopNSigma { top_n_sigma: f32::MIN_POSITIVE }),
        Stage::With(Parameters::Xtc { xtc_probability: 1.0, xtc_threshold: 0.0, min_keep: 1 }),
        Stage::With(Parameters::TopP { top_p: f32::MIN_POSITIVE, min_keep: 1 }),
        Stage::With(Parameters::MinP { min_p: 1.0, min_keep: 1 }),
        Stage::With(Parameters::Typical { typical_p: f32::MIN_POSITIVE, min_keep: 1 }),
        Stage::With(Parameters::TopK { top_k: 1 }),
        Stage::With(Parameters::Temperature {
            temperature: 1e-45,
            dynatemp_range: 3e38,
            dynatemp_exponent: 3e38,
        }),
    ];
    for row in rows {
        for first in harsh {
            for second in harsh {
                let mut sampler = Sampler::new(&with(vec![first, second, first]), row.len()).unwrap();
                let token = sampler.sample(row).unwrap();
                assert!(row[token as usize].is_finite(), "{first:?} {second:?}");
            }
        }
    }
}
