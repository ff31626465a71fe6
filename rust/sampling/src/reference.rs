//! The definition, stage by stage, in double precision and with full sorts: what the sampler is compared with.

#![allow(clippy::float_cmp, reason = "exact ties are told from near ones")]

use proptest::prelude::*;

use crate::{Parameters, Sampler, SamplerConfig, Stage, TokenId};

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
    temperature: f64,
}

impl Naive {
    fn new(config: &SamplerConfig, logits: &[f32]) -> Self {
        let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        for &(token, bias) in &config.logit_bias {
            logits[token as usize] += f64::from(bias);
        }
        let tokens = logits.into_iter().enumerate().map(|(id, logit)| Token { id, logit });
        Self {
            tokens: tokens.filter(|token| token.logit.is_finite()).collect(),
            borderline: false,
            temperature: 1.0,
        }
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

    fn top_n_sigma(&mut self, n: f64) {
        let count = self.tokens.len() as f64;
        let top = self.tokens.iter().map(|token| token.logit).fold(f64::NEG_INFINITY, f64::max);
        let mean = self.tokens.iter().map(|token| token.logit).sum::<f64>() / count;
        let variance = self.tokens.iter().map(|token| (token.logit - mean).powi(2)).sum::<f64>() / count;
        let least = top - n * variance.sqrt();
        for at in 0..self.tokens.len() {
            self.near(self.tokens[at].logit - top, least - top);
        }
        self.tokens.retain(|token| token.logit >= least);
    }

    fn temper(&mut self, temperature: f64, range: f64, exponent: f64) {
        let mut temperature = temperature;
        if range > 0.0 {
            if self.tokens.len() < 2 {
                return;
            }
            let probabilities = self.probabilities();
            let entropy: f64 = probabilities.iter().filter(|&&x| x > 0.0).map(|x| -x * x.ln()).sum();
            let relative = (entropy / (self.tokens.len() as f64).ln()).clamp(0.0, 1.0);
            let low = (temperature - range).max(0.0);
            temperature = low + (temperature + range - low) * relative.powf(exponent);
            // What the temperature is tiny for depends on the last bits of the entropy.
            self.borderline |= temperature < 0.02;
        }
        if temperature > 0.0 {
            self.tokens.iter_mut().for_each(|token| token.logit /= temperature);
            self.temperature *= temperature;
        } else {
            self.sort();
            self.tokens.truncate(1);
        }
    }

    /// The coin is not tossed: a probability of 1 or 0.
    fn xtc(&mut self, threshold: f64, min_keep: usize) {
        self.sort();
        let probabilities = self.probabilities();
        for &x in &probabilities {
            self.near(x, threshold);
        }
        let heavy = probabilities.iter().filter(|&&x| x >= threshold).count();
        if heavy >= 2 && self.tokens.len() - (heavy - 1) >= min_keep {
            self.tokens.drain(..heavy - 1);
        }
    }

    fn adaptive_p(&mut self, target: f64) {
        for (token, p) in self.probabilities().into_iter().enumerate() {
            let distance = ((p - target) / 0.3).abs();
            self.tokens[token].logit = 5.0 - 10.0 * distance * distance / (1.0 + distance);
        }
    }

    fn run(&mut self, config: &SamplerConfig, history: &[TokenId]) {
        for &stage in &config.order {
            let Some(parameters) = config.parameters(stage) else { continue };
            match parameters {
                Parameters::Penalties {
                    repeat_penalty,
                    repeat_window,
                    frequency_penalty,
                    presence_penalty,
                } => {
                    let penalties = [repeat_penalty, frequency_penalty, presence_penalty].map(f64::from);
                    self.penalties(penalties, repeat_window, history);
                }
                Parameters::Dry { dry_multiplier, dry_base, dry_allowed_length, dry_window } => {
                    if dry_multiplier > 0.0 && dry_base >= 1.0 {
                        let penalty = (f64::from(dry_multiplier), f64::from(dry_base));
                        self.dry(penalty, dry_allowed_length as usize, dry_window, history);
                    }
                }
                Parameters::Temperature { temperature, dynatemp_range, dynatemp_exponent } => {
                    self.temper(
                        f64::from(temperature),
                        f64::from(dynatemp_range),
                        f64::from(dynatemp_exponent),
                    );
                }
                _ if config.mirostat != 0 || parameters.is_off() => {}
                Parameters::TopNSigma { top_n_sigma } => self.top_n_sigma(f64::from(top_n_sigma)),
                Parameters::TopK { top_k } => self.top_k(top_k as usize),
                Parameters::TopP { top_p, min_keep } => self.top_p(f64::from(top_p), min_keep),
                Parameters::MinP { min_p, min_keep } => self.min_p(f64::from(min_p), min_keep),
                Parameters::Typical { typical_p, min_keep } => self.typical(f64::from(typical_p), min_keep),
                Parameters::Xtc { xtc_threshold, min_keep, .. } => {
                    self.xtc(f64::from(xtc_threshold), min_keep);
                }
                Parameters::Infill => {}
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
        } else if config.adaptive_target >= 0.0 && config.order.contains(&Stage::AdaptiveP) {
            self.adaptive_p(f64::from(config.adaptive_target));
        }
    }

    fn penalties(&mut self, penalties: [f64; 3], window: i32, history: &[TokenId]) {
        let [repeat, frequency, presence] = penalties;
        let recent = recent(history, window);
        for token in &mut self.tokens {
            let count = recent.iter().filter(|&&id| id as usize == token.id).count();
            if count > 0 {
                token.logit = if token.logit <= 0.0 { token.logit * repeat } else { token.logit / repeat };
                token.logit -= count as f64 * frequency + presence;
            }
        }
    }

    fn dry(&mut self, penalty: (f64, f64), allowed: usize, window: i32, history: &[TokenId]) {
        let recent = recent(history, window);
        if recent.len() <= allowed {
            return;
        }
        for token in &mut self.tokens {
            // The longest end of the text that came before this token earlier; before the oldest one nothing did.
            let places = (1..recent.len()).filter(|&at| recent[at] as usize == token.id);
            let longest = places.map(|at| {
                let before = recent[..at].iter().rev();
                before.zip(recent.iter().rev()).take_while(|(a, b)| a == b).count()
            });
            if let Some(length) = longest.max().filter(|&length| length >= allowed) {
                token.logit -= penalty.0 * penalty.1.powi((length - allowed) as i32);
            }
        }
    }
}

fn recent(history: &[TokenId], window: i32) -> &[TokenId] {
    let window = usize::try_from(window).unwrap_or(usize::MAX);
    &history[history.len().saturating_sub(window)..]
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

fn share() -> impl Strategy<Value = f32> {
    prop_oneof![Just(1f32), 0.05..0.999f32]
}

/// A stage with parameters of its own.
fn own() -> impl Strategy<Value = Stage> {
    let keep = || prop_oneof![Just(1usize), 1..20usize];
    let penalties = (0.5..2f32, prop_oneof![Just(-1), 1..40], -1.0..1f32, -1.0..1f32);
    prop_oneof![
        penalties.prop_map(|p| Parameters::Penalties {
            repeat_penalty: p.0,
            repeat_window: p.1,
            frequency_penalty: p.2,
            presence_penalty: p.3,
        }),
        (0.0..2f32, 1.0..2f32, 0..3u32, prop_oneof![Just(-1), 1..60]).prop_map(|p| Parameters::Dry {
            dry_multiplier: p.0,
            dry_base: p.1,
            dry_allowed_length: p.2,
            dry_window: p.3,
        }),
        (0.5..2f32, prop_oneof![Just(0f32), 0.0..0.5f32], 0.5..2f32).prop_map(|p| {
            Parameters::Temperature { temperature: p.0, dynatemp_range: p.1, dynatemp_exponent: p.2 }
        }),
        (0.5..3f32).prop_map(|top_n_sigma| Parameters::TopNSigma { top_n_sigma }),
        (1..60u32).prop_map(|top_k| Parameters::TopK { top_k }),
        (share(), keep()).prop_map(|(top_p, min_keep)| Parameters::TopP { top_p, min_keep }),
        (0.001..1f32, keep()).prop_map(|(min_p, min_keep)| Parameters::MinP { min_p, min_keep }),
        (share(), keep()).prop_map(|(typical_p, min_keep)| Parameters::Typical { typical_p, min_keep }),
        (0.0..0.4f32, keep()).prop_map(|(xtc_threshold, min_keep)| Parameters::Xtc {
            xtc_probability: 1.0,
            xtc_threshold,
            min_keep,
        }),
    ]
    .prop_map(Stage::With)
}

fn config() -> impl Strategy<Value = SamplerConfig> {
    let truncation = (
        prop_oneof![Just(0u32), 1..60u32, 60..700u32],
        share(),
        prop_oneof![Just(0f32), 0.001..1f32],
        share(),
        prop_oneof![Just(1usize), 1..20usize],
        prop_oneof![Just(-1f32), 0.5..3f32],
        prop_oneof![Just(0.6f32), 0.01..0.4f32],
    );
    let penalties = (
        prop_oneof![Just(1f32), 0.5..2f32],
        prop_oneof![Just(-1), Just(0), 1..40],
        prop_oneof![Just(0f32), -1.0..1f32],
        prop_oneof![Just(0f32), -1.0..1f32],
    );
    let dry = (prop_oneof![Just(0f32), 0.1..2f32], 1.0..2f32, 0..3u32, prop_oneof![Just(-1), Just(0), 1..60]);
    let temperature = (0.3..2.5f32, prop_oneof![Just(0f32), 0.1..1f32], 0.5..2f32);
    let bias =
        prop::collection::vec((0..TokenId::MAX, prop_oneof![-3.0..3f32, Just(f32::NEG_INFINITY)]), 0..4);
    let selector =
        (prop_oneof![3 => Just(0u8), 1 => Just(2u8)], 0.5..8f32, prop_oneof![Just(-1f32), 0.0..1f32]);
    let named: Vec<Stage> = SamplerConfig::default_order();
    let order = (Just(named).prop_shuffle(), 0..=11usize, prop::collection::vec((own(), 0..12usize), 0..3));
    (truncation, penalties, dry, temperature, bias, selector, order).prop_map(
        |(t, p, d, h, logit_bias, m, o)| {
            let mut order = o.0[..o.1].to_vec();
            o.2.into_iter().for_each(|(stage, at)| order.insert(at.min(order.len()), stage));
            SamplerConfig {
                temperature: h.0,
                dynatemp_range: h.1,
                dynatemp_exponent: h.2,
                top_k: t.0,
                top_p: t.1,
                min_p: t.2,
                typical_p: t.3,
                min_keep: t.4,
                top_n_sigma: t.5,
                xtc_probability: 1.0,
                xtc_threshold: t.6,
                repeat_penalty: p.0,
                repeat_window: p.1,
                frequency_penalty: p.2,
                presence_penalty: p.3,
                dry_multiplier: d.0,
                dry_base: d.1,
                dry_allowed_length: d.2,
                dry_window: d.3,
                mirostat: m.0,
                mirostat_tau: m.1,
                adaptive_target: m.2,
                logit_bias,
                seed: Some(1),
                order,
                ..SamplerConfig::default()
            }
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
        prop_assert!(sampler.probabilities(logits).is_err());
        return Ok(());
    }
    naive.run(config, &history);
    let got = sampler.probabilities(logits).unwrap();
    prop_assert!(got.iter().any(|&p| p > 0.0));
    prop_assume!(!naive.borderline);
    let mut want = vec![0f64; n];
    for (token, p) in naive.tokens.iter().zip(naive.probabilities()) {
        want[token.id] = p;
    }
    for (id, (&p, &want)) in got.iter().zip(&want).enumerate() {
        let (p, low) = (f64::from(p), want < 1e-30);
        prop_assert_eq!(p < 1e-30, low, "token {}: {} instead of {}", id, p, want);
        prop_assert!((p - want).abs() <= 1e-6 + 2e-4 * want, "token {}: {} instead of {}", id, p, want);
    }
    let token = sampler.sample(logits).unwrap();
    prop_assert!(got[token as usize] > 0.0);
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
        config.order = vec![Stage::Penalties, Stage::Dry];
        config.logit_bias.iter_mut().for_each(|(token, _)| *token %= n);
        let history: Vec<TokenId> = history.iter().map(|token| token % n).collect();
        let mut sampler = Sampler::new(&config, logits.len()).unwrap();
        for &token in &history {
        sampler.accept(token);
    }
        let mut naive = Naive::new(&config, &logits);
        prop_assume!(!naive.tokens.is_empty());
        naive.run(&SamplerConfig { temperature: 1.0, mirostat: 0, adaptive_target: -1.0, ..config.clone() }, &history);
        naive.sort();
        let near = naive.tokens.get(1).is_some_and(|second| {
            let gap = naive.tokens[0].logit - second.logit;
            gap != 0.0 && gap < 1e-5
        });
        prop_assume!(!near);
        prop_assert_eq!(sampler.sample(&logits).unwrap() as usize, naive.tokens[0].id);
    }
}
