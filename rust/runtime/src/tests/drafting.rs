//! Drafts of a drafter: they change when tokens come, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tabagent_sampling::{Sampler, SamplerConfig};

use super::fake::{FakeDecoder, continuation, drain, next_token, prompt, request, run};
use crate::{Drafter, EngineConfig, Request, TokenId};

/// Knows what comes, but for every `wrong`th token; reads a text in parts of `slice` tokens first.
struct Knowing {
    wrong: usize,
    slice: usize,
    n_read: usize,
    n_asked: Arc<AtomicUsize>,
}

impl Drafter for Knowing {
    fn draft(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) {
        self.n_asked.fetch_add(1, Ordering::SeqCst);
        self.n_read = tokens.len().min(self.n_read + self.slice);
        if self.n_read < tokens.len() {
            return;
        }
        let mut text = tokens.to_vec();
        for _ in 0..n {
            let token = next_token(&text);
            let is_wrong = text.len().is_multiple_of(self.wrong);
            let guess = if is_wrong { (token + 1) % 13 } else { token };
            out.push(guess);
            text.push(guess);
        }
    }
}

fn drafting(prompt: &[TokenId], n: usize, wrong: usize) -> (Request, Arc<AtomicUsize>) {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let mut request = request(prompt, n);
    let drafter = Knowing { wrong, slice: 50, n_read: 0, n_asked: Arc::clone(&n_asked) };
    request.drafter = Some((Box::new(drafter), 0..=8));
    (request, n_asked)
}

/// A decoder whose decodes take as long whatever their size, so that drafts cost next to nothing.
fn steady(n_ctx: usize, n_batch: usize, n_seq_max: usize) -> FakeDecoder {
    FakeDecoder::new(n_ctx, n_batch, n_seq_max).with_hook(|_| {
        let started = Instant::now();
        while started.elapsed() < Duration::from_micros(60) {
            std::hint::spin_loop();
        }
        Ok(())
    })
}

#[test]
fn good_guesses_make_few_steps() {
    let text = prompt(80, 120);
    // How much is drafted follows from measured times, which a busy machine disturbs.
    let pays = (0..20).any(|_| {
        let engine = steady(600, 64, 1).spawn();
        let outcome = run(&engine, drafting(&text, 300, 1000).0);
        outcome.assert_continues(&text, 300);
        let usage = outcome.finish.usage;
        assert!(usage.accepted_tokens <= usage.drafted_tokens);
        usage.accepted_tokens > 150 && engine.metrics().steps < 150
    });
    assert!(pays);
}

#[test]
fn bad_guesses_are_seldom_asked_for() {
    let text = prompt(81, 30);
    let engine = steady(1200, 64, 1).spawn();
    let (request, n_asked) = drafting(&text, 1000, 1);
    let outcome = run(&engine, request);
    outcome.assert_continues(&text, 1000);
    assert_eq!(outcome.finish.usage.accepted_tokens, 0);
    assert!(n_asked.load(Ordering::SeqCst) < 40, "{n_asked:?}");
}

#[test]
fn nothing_is_asked_where_drafts_do_not_count() {
    let text = prompt(82, 30);
    let deterministic = EngineConfig { deterministic: true, ..EngineConfig::default() };
    for (config, can_rewind) in [(deterministic, true), (EngineConfig::default(), false)] {
        let mut decoder = steady(400, 32, 2);
        (decoder.config, decoder.can_rewind) = (config, can_rewind);
        let (request, n_asked) = drafting(&text, 60, 1000);
        run(&decoder.spawn(), request).assert_continues(&text, 60);
        assert_eq!(n_asked.load(Ordering::SeqCst), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_text_is_what_it_is_without_drafts(
        texts in prop::collection::vec((0usize..1000, 1usize..60, 1usize..60, 1usize..9), 1..5),
        n_ctx in 160usize..400,
        n_batch in 1usize..40,
        n_seq_max in 1usize..5,
        n_outputs in 1usize..12,
        can_cut in prop::bool::weighted(0.8),
    ) {
        let mut decoder = steady(n_ctx, n_batch, n_seq_max);
        (decoder.n_outputs, decoder.can_cut) = (n_outputs, can_cut);
        let engine = decoder.spawn();
        let begin = |(seed, n_prompt, n, wrong): &(usize, usize, usize, usize)| {
            let text = prompt(*seed, *n_prompt);
            (engine.submit(drafting(&text, *n, *wrong).0).unwrap(), text, *n)
        };
        let streams: Vec<_> = texts.iter().map(begin).collect();
        for (stream, text, n) in &streams {
            let outcome = drain(stream);
            prop_assert_eq!(outcome.tokens(), continuation(text, *n));
        }
        prop_assert_eq!(engine.stats().cells_used, 0);
    }
}

/// Likes the token after the last one, and the others all the same.
fn counting(tokens: &[TokenId]) -> Vec<f32> {
    let mut logits = vec![0.0; 13];
    logits[tokens.last().map_or(0, |token| (*token as usize + 1) % 13)] = 4.0;
    logits
}

/// Guesses the token after the last one.
struct Counter;

impl Drafter for Counter {
    fn draft(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) {
        out.extend((1..=n as TokenId).map(|step| (tokens[tokens.len() - 1] + step) % 13));
    }
}

#[test]
fn drawn_tokens_keep_their_distribution() {
    let mut decoder = steady(1000, 64, 4);
    decoder.predict = counting;
    let engine = decoder.spawn();
    let (mut counts, mut n_accepted) = ([0_u32; 13], 0);
    for seed in 0..12 {
        let mut request = request(&[1, 2], 800);
        let config = SamplerConfig {
            temperature: 1.0,
            top_p: 1.0,
            min_p: 0.0,
            seed: Some(seed),
            ..SamplerConfig::default()
        };
        request.sampler = Box::new(Sampler::new(&config, 13).unwrap());
        request.drafter = Some((Box::new(Counter), 0..=8));
        let outcome = run(&engine, request);
        n_accepted += outcome.finish.usage.accepted_tokens;
        for pair in outcome.tokens().windows(2) {
            counts[(pair[1] - pair[0]).rem_euclid(13) as usize] += 1;
        }
    }
    assert!(n_accepted > 300, "{n_accepted}");
    let total = f64::from(counts.iter().sum::<u32>());
    let sum = 4_f64.exp() + 12.0;
    let statistic: f64 = counts
        .iter()
        .enumerate()
        .map(|(step, count)| {
            let expected = total * if step == 1 { 4_f64.exp() / sum } else { 1.0 / sum };
            (f64::from(*count) - expected).powi(2) / expected
        })
        .sum();
    // The 0.999 quantile of chi-squared with 12 degrees of freedom.
    assert!(statistic < 32.9, "{statistic}: {counts:?}");
}
