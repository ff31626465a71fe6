//! The random choice: its distribution, its reproducibility, mirostat's control.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use tabagent_sampling::{Sampler, SamplerConfig, Stage, TokenId};

/// Logits that are the same on every platform: quarters from a linear congruential generator.
fn row(n: usize) -> Vec<f32> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 * 0.0625
    };
    (0..n).map(|_| next()).collect()
}

fn plain(seed: u64) -> SamplerConfig {
    SamplerConfig { seed: Some(seed), order: Vec::new(), ..SamplerConfig::default() }
}

fn tokens(config: &SamplerConfig, logits: &[f32], n: usize) -> Vec<TokenId> {
    let mut sampler = Sampler::new(config, logits.len()).unwrap();
    (0..n)
        .map(|_| {
            let token = sampler.sample(logits).unwrap();
            sampler.accept(token);
            token
        })
        .collect()
}

/// Pearson's statistic of 100,000 draws against the softmax of `logits` over the tokens in `kept`.
fn chi_squared(config: &SamplerConfig, logits: &[f32], kept: &[usize]) -> f64 {
    const DRAWS: usize = 100_000;
    let mut seen = vec![0u32; logits.len()];
    for token in tokens(config, logits, DRAWS) {
        seen[token as usize] += 1;
    }
    let weights: Vec<f64> = kept.iter().map(|&token| f64::from(logits[token]).exp()).collect();
    let total: f64 = weights.iter().sum();
    assert_eq!(kept.iter().map(|&token| seen[token] as usize).sum::<usize>(), DRAWS);
    let terms = kept.iter().zip(&weights).map(|(&token, weight)| {
        let expected = weight / total * DRAWS as f64;
        (f64::from(seen[token]) - expected).powi(2) / expected
    });
    terms.sum()
}

const TEN: [f32; 10] = [0.5, -1.0, 2.0, 1.25, 0.0, -0.75, 1.75, 0.25, -2.0, 1.0];

#[test]
fn choice_over_the_whole_row_follows_the_softmax() {
    // The 99.99 % quantile with 9 degrees of freedom is 33.7.
    let kept: Vec<usize> = (0..10).collect();
    for seed in 0..3 {
        let statistic = chi_squared(&plain(seed), &TEN, &kept);
        assert!(statistic < 33.7, "{statistic} with seed {seed}");
    }
}

#[test]
fn choice_after_top_k_follows_the_renormalised_softmax() {
    let config = SamplerConfig { top_k: 4, order: vec![Stage::TopK], ..plain(11) };
    // The 99.99 % quantile with 3 degrees of freedom is 21.1.
    let statistic = chi_squared(&config, &TEN, &[2, 3, 6, 9]);
    assert!(statistic < 21.1, "{statistic}");
}

#[test]
fn choice_over_many_blocks_follows_the_softmax() {
    // One likely token in each of ten blocks, and among them tokens that never come.
    let mut logits = vec![-200.0; 1280];
    let kept: Vec<usize> = (0..10).map(|i| i * 128 + 13 * i).collect();
    kept.iter().zip(TEN).for_each(|(&token, logit)| logits[token] = logit);
    let statistic = chi_squared(&plain(5), &logits, &kept);
    assert!(statistic < 33.7, "{statistic}");
}

#[test]
fn seeds_give_the_same_tokens_everywhere() {
    let logits = row(1000);
    let all = SamplerConfig { order: vec![Stage::Temperature], temperature: 1.5, ..plain(42) };
    let nucleus =
        SamplerConfig { order: vec![Stage::Temperature, Stage::TopP], temperature: 2.0, ..plain(42) };
    let default = SamplerConfig { seed: Some(42), repeat_penalty: 1.25, ..SamplerConfig::default() };
    let mirostat = SamplerConfig { mirostat: 2, mirostat_tau: 4.0, ..default.clone() };
    let got = [all, nucleus, default, mirostat].map(|config| tokens(&config, &logits, 8));
    // From an independent implementation: textbook xoshiro256++ and double precision throughout.
    let want = [
        [801, 340, 966, 703, 796, 574, 123, 589],
        [800, 336, 966, 694, 795, 573, 116, 586],
        [800, 426, 996, 721, 799, 567, 116, 573],
        [800, 380, 956, 707, 796, 567, 116, 574],
    ];
    assert_eq!(got, want);
}

#[test]
fn reset_starts_the_same_tokens_again() {
    let logits = row(500);
    for mirostat in 0..=2 {
        let config = SamplerConfig {
            mirostat,
            repeat_penalty: 1.5,
            presence_penalty: 0.5,
            ..SamplerConfig::default()
        };
        let mut sampler = Sampler::new(&config, 500).unwrap();
        let run = |sampler: &mut Sampler| -> Vec<TokenId> {
            (0..50)
                .map(|_| {
                    let token = sampler.sample(&logits).unwrap();
                    sampler.accept(token);
                    token
                })
                .collect()
        };
        let first = run(&mut sampler);
        sampler.reset();
        assert_eq!(run(&mut sampler), first);
        let again = SamplerConfig { seed: Some(sampler.seed()), ..config };
        assert_eq!(tokens(&again, &logits, 50), first);
    }
}

#[test]
fn samplers_without_a_seed_draw_different_ones() {
    let seed = || Sampler::new(&SamplerConfig::default(), 8).unwrap().seed();
    assert_ne!(seed(), seed());
}

#[test]
fn mirostat_brings_the_mean_surprise_to_its_target() {
    // Zipf with exponent 1.1 over 20,000 tokens.
    let logits: Vec<f32> = (1..=20_000).map(|rank| (-1.1 * f64::from(rank).ln()) as f32).collect();
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    for mirostat in [1, 2] {
        let config = SamplerConfig {
            mirostat,
            mirostat_tau: 4.0,
            temperature: 1.0,
            seed: Some(3),
            ..SamplerConfig::default()
        };
        let drawn = tokens(&config, &logits, 4000);
        let highest = drawn[1000..].iter().copied().max().unwrap();
        let kept: f64 = logits[..=highest as usize].iter().map(|&x| f64::from(x).exp()).sum();
        assert!(kept < 0.95 * total, "mirostat {mirostat} did not cut");
        let surprise =
            |token: &TokenId| (kept.ln() - f64::from(logits[*token as usize])) / std::f64::consts::LN_2;
        let mean = drawn[1000..].iter().map(surprise).sum::<f64>() / 3000.0;
        assert!((mean - 4.0).abs() < 0.5, "mirostat {mirostat}: {mean}");
    }
}
