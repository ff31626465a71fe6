//! The definition, stage by stage, in double precision and with full sorts: what the sampler is compared with.

#![allow(clippy::float_cmp, reason = "exact ties are told from near ones")]

use proptest::prelude::*;

use crate::{Sampler, SamplerConfig, Stage, TokenId};

/// Decisions nearer than this to their threshold may go either way.
const NEAR: f64 = 2e-5;

#[derive(Clone, Copy, Debug)]
struct Token {
    id: usize,
    logit: f64,
}

struct Naive {
    tokens: Vec<Token>,
    /// A decision was too near to its threshold to compare with single precision.
    borderline: bool,
}

impl Naive {
    fn new(config: &SamplerConfig, logits: &[f32]) -> Self {
        let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        for &(token, bias) in &config.logit_bias {
            logits[token as usize] += f64::from(bias);
        }
        let tokens = logits.into_iter().enumerate().map(|(id, logit)| Token { id, logit });
        Self { tokens: tokens.filter(|token| token.logit.is_finite()).collect(), borderline: false }
    }

    fn sort(&mut self) {
        self.tokens.sort_by(|a, b| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id)));
    }

    fn probabilities(&self) -> Vec<f64> {
        let top = self.tokens.iter().map(|token| token.logit).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = self.tokens.iter().map(|token| (token.logit - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }

    fn near(&mut self, a: f64, b: f64) {
        self.borderline |= (a - b).abs() <= NEAR * a.abs().max(b.abs()).max(1e-3);
    }

    fn top_k(&mut self, k: usize) {
        self.sort();
        if k > 0 && k < self.tokens.len() {
            let (last, next) = (self.tokens[k - 1].logit, self.tokens[k].logit);
            // Exact ties are decided by the id; near ones by the rounding of a penalty.
            self.borderline |= last != next && (last - next).abs() < 1e-5;
            self.tokens.truncate(k);
        }
    }

    fn prefix(&mut self, p: f64, min_keep: usize, order: Vec<(usize, f64)>) {
        let (mut mass, mut kept) = (0.0, Vec::new());
        for (at, probability) in order {
            mass += probability;
            kept.push(self.tokens[at]);
            self.near(mass, p);
            if mass >= p && kept.len() >= min_keep {
                break;
            }
        }
        self.tokens = kept;
    }

    fn top_p(&mut self, p: f64, min_keep: usize) {
        self.sort();
        let order = self.probabilities().into_iter().enumerate().collect();
        self.prefix(p, min_keep, order);
    }

    fn min_p(&mut self, p: f64, min_keep: usize) {
        self.sort();
        let probabilities = self.probabilities();
        for &x in &probabilities {
            self.near(x / probabilities[0], p);
        }
        let n = probabilities.iter().filter(|&&x| x >= p * probabilities[0]).count();
        self.tokens.truncate(n.max(min_keep));
    }

    fn typical(&mut self, p: f64, min_keep: usize) {
        let probabilities = self.probabilities();
        let entropy: f64 = probabilities.iter().filter(|&&x| x > 0.0).map(|x| -x * x.ln()).sum();
        let mut order: Vec<(usize, f64, f64)> = Vec::new();
        for (at, &x) in probabilities.iter().enumerate() {
            order.push((at, x, (-x.ln() - entropy).abs()));
        }
        let ids: Vec<usize> = self.tokens.iter().map(|token| token.id).collect();
        order.sort_by(|a, b| a.2.total_cmp(&b.2).then(ids[a.0].cmp(&ids[b.0])));
        for pair in order.windows(2) {
            let same = self.tokens[pair[0].0].logit == self.tokens[pair[1].0].logit;
            self.borderline |= !same && (pair[0].2 - pair[1].2).abs() < 1e-5;
        }
        self.prefix(p, min_keep, order.into_iter().map(|(at, x, _)| (at, x)).collect());
    }

    fn run(&mut self, config: &SamplerConfig, history: &[TokenId]) {
        for stage in &config.order {
            match stage {
                Stage::Penalties => self.penalties(config, history),
                Stage::Temperature => {
                    let temperature = f64::from(config.temperature);
                    self.tokens.iter_mut().for_each(|token| token.logit /= temperature);
                }
                _ if config.mirostat != 0 => {}
                Stage::TopK => self.top_k(config.top_k as usize),
                Stage::TopP if config.top_p < 1.0 => self.top_p(f64::from(config.top_p), config.min_keep),
                Stage::MinP if config.min_p > 0.0 => self.min_p(f64::from(config.min_p), config.min_keep),
                Stage::Typical if config.typical_p < 1.0 => {
                    self.typical(f64::from(config.typical_p), config.min_keep);
                }
                _ => {}
            }
        }
        if config.mirostat == 2 {
            let mu = 2.0 * f64::from(config.mirostat_tau);
            self.sort();
            let probabilities = self.probabilities();
            for &x in &probabilities {
                self.near(-x.log2(), mu);
            }
            let n = probabilities.iter().take_while(|&&x| -x.log2() <= mu).count();
            self.tokens.truncate(n.max(1));
        }
    }

    fn penalties(&mut self, config: &SamplerConfig, history: &[TokenId]) {
        let window = usize::try_from(config.repeat_window).unwrap_or(usize::MAX);
        let recent = &history[history.len().saturating_sub(window)..];
        for token in &mut self.tokens {
            let count = recent.iter().filter(|&&id| id as usize == token.id).count();
            if count > 0 {
                let repeat = f64::from(config.repeat_penalty);
                token.logit = if token.logit <= 0.0 { token.logit * repeat } else { token.logit / repeat };
                token.logit -= count as f64 * f64::from(config.frequency_penalty);
                token.logit -= f64::from(config.presence_penalty);
            }
        }
    }
}

/// Quarters make exact ties and exact products; tenths make neither.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        5 => (-40..40i32).prop_map(|x| x as f32 * 0.25),
        5 => -12.0..12f32,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
    ]
}

fn config() -> impl Strategy<Value = SamplerConfig> {
    let truncation = (
        prop_oneof![Just(0u32), 1..60u32, 60..700u32],
        prop_oneof![Just(1f32), 0.05..0.999f32],
        prop_oneof![Just(0f32), 0.001..1f32],
        prop_oneof![Just(1f32), 0.05..0.999f32],
        prop_oneof![Just(1usize), 1..20usize],
    );
    let penalties = (
        prop_oneof![Just(1f32), 0.5..2f32],
        prop_oneof![Just(-1), Just(0), 1..40],
        prop_oneof![Just(0f32), -1.0..1f32],
        prop_oneof![Just(0f32), -1.0..1f32],
    );
    let bias =
        prop::collection::vec((0..TokenId::MAX, prop_oneof![-3.0..3f32, Just(f32::NEG_INFINITY)]), 0..4);
    let mirostat = (prop_oneof![3 => Just(0u8), 1 => Just(2u8)], 0.5..8f32);
    let order = (Just(Stage::ALL.to_vec()).prop_shuffle(), 0..=7usize);
    (truncation, penalties, bias, mirostat, order, 0.3..2.5f32).prop_map(
        |(t, p, logit_bias, m, o, temperature)| SamplerConfig {
            temperature,
            top_k: t.0,
            top_p: t.1,
            min_p: t.2,
            typical_p: t.3,
            min_keep: t.4,
            repeat_penalty: p.0,
            repeat_window: p.1,
            frequency_penalty: p.2,
            presence_penalty: p.3,
            mirostat: m.0,
            mirostat_tau: m.1,
            mirostat_eta: 0.1,
            logit_bias,
            seed: Some(1),
            order: o.0[..o.1].to_vec(),
        },
    )
}

/// Fits the configuration to the row and compares the two distributions.
fn compare(config: &mut SamplerConfig, logits: &[f32], history: &[TokenId]) -> Result<(), TestCaseError> {
    let n = logits.len();
    config.logit_bias.iter_mut().for_each(|(token, _)| *token %= n as TokenId);
    let history: Vec<TokenId> = history.iter().map(|token| token % n as TokenId).collect();
    let mut sampler = Sampler::new(config, n).unwrap();
    for &token in &history {
        sampler.accept(token);
    }
    let mut naive = Naive::new(config, logits);
    if naive.tokens.is_empty() {
        prop_assert!(sampler.distribution(logits).is_err());
        return Ok(());
    }
    naive.run(config, &history);
    let got = sampler.distribution(logits).unwrap();
    prop_assert!(!got.is_empty());
    prop_assume!(!naive.borderline);
    naive.tokens.sort_by_key(|token| token.id);
    let ids: Vec<usize> = naive.tokens.iter().map(|token| token.id).collect();
    prop_assert_eq!(got.iter().map(|x| x.0).collect::<Vec<_>>(), ids);
    for (&(id, p), want) in got.iter().zip(naive.probabilities()) {
        prop_assert!((p - want).abs() <= 1e-6 + 1e-4 * want, "token {}: {} instead of {}", id, p, want);
    }
    let token = sampler.sample(logits).unwrap();
    prop_assert!(got.iter().any(|&(id, p)| id == token as usize && p > 0.0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn short_rows_agree_with_the_definition(
        mut config in config(),
        logits in prop::collection::vec(logit(), 1..24),
        history in prop::collection::vec(0..24i32, 0..60),
    ) {
        compare(&mut config, &logits, &history)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn long_rows_agree_with_the_definition(
        mut config in config(),
        logits in prop::collection::vec(logit(), 100..1500),
        history in prop::collection::vec(0..1500i32, 0..60),
    ) {
        // Whole rows of near-ties make typical undecidable, so it is left to the short rows.
        config.typical_p = 1.0;
        compare(&mut config, &logits, &history)?;
    }

    #[test]
    fn rows_of_exact_ties_agree_with_the_definition(
        mut config in config(),
        logits in prop::collection::vec((-8..8i32).prop_map(|x| x as f32), 1..1500),
    ) {
        config.temperature = 0.5;
        compare(&mut config, &logits, &[])?;
    }

    #[test]
    fn greedy_is_the_first_highest_logit_after_bias_and_penalties(
        mut config in config(),
        logits in prop::collection::vec(logit(), 1..600),
        history in prop::collection::vec(0..600i32, 0..60),
    ) {
        let n = logits.len() as TokenId;
        config.temperature = 0.0;
        config.order = vec![Stage::Penalties];
        config.logit_bias.iter_mut().for_each(|(token, _)| *token %= n);
        let history: Vec<TokenId> = history.iter().map(|token| token % n).collect();
        let mut sampler = Sampler::new(&config, logits.len()).unwrap();
        for &token in &history {
        sampler.accept(token);
    }
        let mut naive = Naive::new(&config, &logits);
        prop_assume!(!naive.tokens.is_empty());
        naive.penalties(&config, &history);
        naive.sort();
        let near = naive.tokens.get(1).is_some_and(|second| {
            let gap = naive.tokens[0].logit - second.logit;
            gap != 0.0 && gap < 1e-5
        });
        prop_assume!(!near);
        prop_assert_eq!(sampler.sample(&logits).unwrap() as usize, naive.tokens[0].id);
    }
}
