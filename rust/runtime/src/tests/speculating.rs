//! Drafts: they change when tokens come, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tabagent_sampling::{Sampler, SamplerConfig};

use super::constraining::Places;
use super::fake::{FakeDecoder, Outcome, drain, logits_after, prompt, request, run, text_of};
use crate::{
    DecoderError, EngineConfig, FinishReason, Lookup, Request, SamplerError, SamplerSnapshot, StopMatch,
    TokenId, TokenMask, TokenSampler,
};

/// Writes a given text, and fails where the logits are not those after what it wrote.
#[derive(Clone)]
struct Copyist {
    script: Arc<[TokenId]>,
    n_prompt: usize,
    text: Vec<TokenId>,
}

impl Copyist {
    fn new(prompt: &[TokenId], script: &[TokenId]) -> Self {
        Self { script: script.into(), n_prompt: prompt.len(), text: prompt.to_vec() }
    }
}

impl TokenSampler for Copyist {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        if logits != logits_after(&self.text) {
            return Err(format!("these are not the logits after {:?}", self.text).into());
        }
        let allowed = |token: &TokenId| mask.is_none_or(|mask| mask.allows(*token));
        let wanted = self.script.get(self.text.len() - self.n_prompt).copied().filter(allowed);
        wanted.or_else(|| (1..13).find(allowed)).ok_or_else(|| "nothing is allowed".into())
    }

    fn kept(&self, _n: usize, out: &mut Vec<(TokenId, f32)>) {
        out.push((1, 1.0));
    }

    fn accept(&mut self, token: TokenId) {
        self.text.push(token);
    }

    fn save(&self) -> Option<SamplerSnapshot> {
        Some(Arc::new(self.text.clone()))
    }

    fn restore(&mut self, snapshot: &SamplerSnapshot) {
        self.text.clone_from(snapshot.downcast_ref().unwrap());
    }
}

fn copying(prompt: &[TokenId], script: &[TokenId]) -> Request {
    let mut request = request(prompt, script.len());
    request.sampler = Box::new(Copyist::new(prompt, script));
    request
}

fn speculating(prompt: &[TokenId], script: &[TokenId]) -> Request {
    let mut request = copying(prompt, script);
    request.lookup = Some(Lookup::default());
    request
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

/// Seven tokens again and again.
fn refrain(n: usize) -> Vec<TokenId> {
    [1, 3, 2, 12, 1, 1, 6].into_iter().cycle().take(n).collect()
}

#[track_caller]
fn assert_same(outcome: &Outcome, plain: &Outcome) {
    assert_eq!(outcome.finish.reason, plain.finish.reason);
    assert_eq!(outcome.finish.stop_match, plain.finish.stop_match);
    assert_eq!(outcome.tokens(), plain.tokens());
    assert_eq!(outcome.text(), plain.text());
    let (usage, expected) = (outcome.finish.usage, plain.finish.usage);
    assert_eq!(usage.completion_tokens, expected.completion_tokens);
    assert_eq!(usage.forced_tokens, expected.forced_tokens);
    assert!(usage.accepted_tokens <= usage.drafted_tokens);
    assert_eq!((expected.drafted_tokens, expected.accepted_tokens), (0, 0));
}

#[test]
fn text_that_repeats_comes_in_fewer_steps() {
    let (prompt, script) = (refrain(21), refrain(210));
    // How much is drafted follows from measured times, which a busy machine disturbs.
    let pays = (0..20).any(|_| {
        let engine = steady(400, 32, 2).spawn();
        let outcome = run(&engine, speculating(&prompt, &script));
        assert_eq!(outcome.finish.reason, FinishReason::Length);
        assert_eq!(outcome.tokens(), script);
        assert_eq!(outcome.text(), text_of(&script));
        assert_eq!(engine.stats().cells_used, 0);
        outcome.finish.usage.accepted_tokens > 100 && engine.metrics().steps < 100
    });
    assert!(pays);
}

#[test]
fn drafts_never_pass_the_end_of_the_context_or_the_length() {
    for n in [1, 2, 3, 20] {
        let engine = steady(21 + n, 8, 1).spawn();
        let (prompt, script) = (refrain(21), refrain(n));
        assert_eq!(run(&engine, speculating(&prompt, &script)).tokens(), script);
    }
}

#[test]
fn stop_string_within_drafts_ends_the_text_there() {
    let engine = steady(400, 32, 2).spawn();
    let (prompt, script) = (refrain(21), refrain(100));
    let mut request = speculating(&prompt, &script);
    request.stop = vec![text_of(&[12, 1, 1, 6, 1]) + "nothing", text_of(&[6, 1, 3, 2])];
    let outcome = run(&engine, request);
    assert_eq!(outcome.finish.stop_match, Some(StopMatch::String(text_of(&[6, 1, 3, 2]))));
    assert_eq!(outcome.text(), text_of(&script[..6]));
}

#[test]
fn nothing_is_drafted_where_it_is_not_to_be() {
    let (prompt, script) = (refrain(21), refrain(80));
    let deterministic = EngineConfig { deterministic: true, ..EngineConfig::default() };
    for (config, rewinds, plain) in [
        (deterministic, true, false),
        (EngineConfig::default(), false, false),
        (EngineConfig::default(), true, true),
    ] {
        let mut decoder = steady(400, 32, 2);
        (decoder.config, decoder.can_rewind) = (config, rewinds);
        let n_decoded = Arc::clone(&decoder.n_decoded);
        let engine = decoder.spawn();
        let request = if plain { copying(&prompt, &script) } else { speculating(&prompt, &script) };
        let outcome = run(&engine, request);
        assert_eq!(outcome.tokens(), script);
        assert_eq!(outcome.finish.usage.drafted_tokens, 0);
        assert_eq!(n_decoded.load(Ordering::SeqCst), 21 + 79);
    }
}

#[test]
fn memory_that_cannot_be_cut_is_filled_again() {
    let mut decoder = steady(400, 32, 2);
    decoder.can_cut = false;
    let engine = decoder.spawn();
    let mut script = refrain(40);
    script[30] = 9;
    let outcome = run(&engine, speculating(&refrain(21), &script));
    assert_eq!(outcome.tokens(), script);
}

#[test]
fn failed_decode_of_drafts_is_tried_again() {
    assert!((0..20).any(|_| n_failed_decodes() > 0), "some decode has drafts of both");
}

/// Has two requests draft while some of their decodes fail; returns how many did.
fn n_failed_decodes() -> usize {
    let n_failed = Arc::new(AtomicUsize::new(0));
    let (counted, failed_before) = (Arc::clone(&n_failed), Mutex::new(false));
    let decoder = FakeDecoder::new(400, 32, 2).with_hook(move |call| {
        let mut failed_before = failed_before.lock().unwrap();
        // Each second step with drafts of two requests fails.
        let seqs = call.batch.iter().map(|row| row.seq).collect::<std::collections::HashSet<_>>();
        if call.batch.len() > 4 && seqs.len() == 2 && !std::mem::replace(&mut *failed_before, true) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(DecoderError::Failed("not today".to_owned()));
        }
        *failed_before = false;
        let started = Instant::now();
        while started.elapsed() < Duration::from_micros(60) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    let engine = decoder.spawn();
    let (prompt, script) = (refrain(21), refrain(150));
    let streams = [(); 2].map(|()| engine.submit(speculating(&prompt, &script)).unwrap());
    for stream in &streams {
        assert_eq!(drain(stream).tokens(), script);
    }
    n_failed.load(Ordering::SeqCst)
}

/// A request of the random test.
#[derive(Clone, Debug)]
struct Text {
    n_prompt: usize,
    script: Vec<TokenId>,
    stop: bool,
    ban: bool,
    constrained: bool,
    logprobs: bool,
}

fn text() -> impl Strategy<Value = Text> {
    // Refrains with other tokens in between, so that drafts come true and fail.
    let part = prop_oneof![
        3 => (2usize..25).prop_map(refrain),
        1 => prop::collection::vec(1..13i32, 1..4),
    ];
    let script = prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat());
    (1usize..30, script, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(n_prompt, script, stop, ban, constrained, logprobs)| Text {
            n_prompt,
            script,
            stop,
            ban: ban && !constrained,
            constrained,
            logprobs,
        },
    )
}

impl Text {
    fn request(&self, lookup: Option<Lookup>) -> Request {
        let prompt = refrain(self.n_prompt);
        let mut request = copying(&prompt, &self.script);
        request.lookup = lookup;
        request.logprobs = self.logprobs.then_some(0);
        if self.stop {
            request.stop = vec![text_of(&[6, 9, 1]), text_of(&[2, 2])];
        }
        if self.ban {
            request.ban = vec![text_of(&[1, 1, 6, 1]), text_of(&[12, 2])];
        }
        if self.constrained {
            let places: Vec<Vec<TokenId>> = self
                .script
                .iter()
                .enumerate()
                .map(|(at, token)| if at % 5 < 2 { vec![*token] } else { (1..13).collect() })
                .collect();
            let places: Vec<&[TokenId]> = places.iter().map(Vec::as_slice).collect();
            request.constraint = Some(Box::new(Places::new(&places)));
        }
        request
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn every_text_is_what_it_is_without_drafts(
        texts in prop::collection::vec(text(), 1..5),
        n_ctx in 160usize..400,
        n_batch in 1usize..40,
        n_seq_max in 1usize..5,
        n_outputs in 1usize..12,
        can_cut in prop::bool::weighted(0.8),
        (min_match, more, max_draft) in (1usize..4, 0usize..4, 1usize..20),
    ) {
        let decoder = |can_cut| {
            let mut decoder = steady(n_ctx, n_batch, n_seq_max);
            (decoder.n_outputs, decoder.can_cut) = (n_outputs, can_cut);
            decoder
        };
        let plain_engine = decoder(true).spawn();
        let lookup = Some(Lookup { min_match, max_match: min_match + more, max_draft, shared: true });
        let engine = decoder(can_cut).spawn();
        let streams: Vec<_> = texts.iter().map(|text| engine.submit(text.request(lookup)).unwrap()).collect();
        for (stream, text) in streams.iter().zip(&texts) {
            assert_same(&drain(stream), &run(&plain_engine, text.request(None)));
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
        request.lookup = Some(Lookup { min_match: 1, ..Lookup::default() });
        let outcome = run(&engine, request);
        n_accepted += outcome.finish.usage.accepted_tokens;
        let tokens = outcome.tokens();
        for pair in tokens.windows(2) {
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

#[test]
fn random_prompts_without_repeats_are_decoded_as_ever() {
    let engine = steady(300, 16, 3).spawn();
    for seed in 0..5 {
        let prompt = prompt(seed, 20);
        let mut request = request(&prompt, 60);
        request.lookup = Some(Lookup::default());
        run(&engine, request).assert_continues(&prompt, 60);
    }
}

#[test]
fn texts_go_on_as_others_did_where_both_agree() {
    // No two tokens come twice, so that the text itself gives no drafts.
    let steps = [1, 5, 7, 11].into_iter().flat_map(|step| [step; 12]);
    let walk = |token: &mut TokenId, step: TokenId| {
        *token = (*token - 1 + step) % 12 + 1;
        Some(*token)
    };
    let (prompt, script) = (vec![1], steps.scan(1, walk).collect::<Vec<TokenId>>());
    let lookup = |shared| Request {
        lookup: Some(Lookup { shared, ..Lookup::default() }),
        ..copying(&prompt, &script)
    };
    // How much is drafted follows from measured times, which a busy machine disturbs.
    let pays = (0..20).any(|_| {
        let engine = steady(400, 32, 2).spawn();
        let alone = run(&engine, lookup(true));
        assert_eq!(alone.tokens(), script);
        assert_eq!(alone.finish.usage.drafted_tokens, 0);
        let outcome = run(&engine, lookup(true));
        assert_eq!(outcome.tokens(), script);
        outcome.finish.usage.accepted_tokens > 20
    });
    assert!(pays);
    for shared in [[true, false], [false, true]] {
        let engine = steady(400, 32, 2).spawn();
        for shared in shared {
            assert_eq!(
                run(&engine, lookup(shared)).finish.usage.drafted_tokens,
                0,
                "one of both keeps to itself"
            );
        }
    }
}
