//! Texts that do not fit the context.

use proptest::prelude::*;

use super::fake::{FakeDecoder, Outcome, drain, group, next_token, prompt, request, run};
use crate::{
    ContextShift, Engine, FinishReason, Lookup, Overflow, Request, RequestError, SubmitError, TokenId,
};

/// What follows `prompt` where tokens leave the middle of a context of `n_ctx`.
fn shifted(prompt: &[TokenId], n: usize, shift: ContextShift, n_ctx: usize) -> (Vec<TokenId>, usize) {
    let (mut window, mut all, mut n_dropped) = (prompt.to_vec(), Vec::new(), 0);
    let mut fit = |window: &mut Vec<TokenId>| {
        let before = window.len();
        shift.shorten(window, n_ctx);
        n_dropped += before - window.len();
    };
    for index in 0..n {
        fit(&mut window);
        let token = next_token(&window);
        window.push(token);
        all.push(token);
        if index + 1 == n {
            break;
        }
    }
    (all, n_dropped)
}

fn shifting(prompt: &[TokenId], max_tokens: usize, shift: ContextShift) -> Request {
    Request { overflow: Overflow::Shift(shift), ..request(prompt, max_tokens) }
}

#[track_caller]
fn assert_shifted(outcome: &Outcome, prompt: &[TokenId], n: usize, shift: ContextShift, n_ctx: usize) {
    let (expected, n_dropped) = shifted(prompt, n, shift, n_ctx);
    assert_eq!(outcome.finish.reason, FinishReason::Length);
    assert_eq!(outcome.tokens(), expected);
    assert_eq!(outcome.finish.usage.completion_tokens, n);
    assert_eq!(outcome.finish.usage.prompt_tokens, prompt.len());
    assert_eq!(outcome.finish.usage.dropped_tokens, n_dropped);
}

#[test]
fn text_goes_on_past_the_context() {
    let shift = ContextShift { keep: 3, discard: None };
    let decoder = FakeDecoder::new(20, 8, 2);
    let n_decoded = decoder.n_decoded.clone();
    let engine = decoder.spawn();
    let prompt = prompt(7, 11);
    assert_shifted(&run(&engine, shifting(&prompt, 90, shift)), &prompt, 90, shift, 20);
    // Each token is decoded once: what stays is moved, and not decoded again.
    assert_eq!(n_decoded.load(std::sync::atomic::Ordering::SeqCst), 11 + 89);
}

#[test]
fn cells_that_others_hold_are_not_moved() {
    let shift = ContextShift { keep: 3, discard: None };
    let engine = FakeDecoder::new(60, 8, 3).spawn();
    let prompt = prompt(7, 40);
    let cached = |mut request: Request| {
        request.cache_prompt = true;
        request
    };
    let plain = run(&engine, cached(request(&prompt, 1)));
    plain.assert_continues(&prompt, 1);
    let outcome = run(&engine, cached(shifting(&prompt, 70, shift)));
    assert_shifted(&outcome, &prompt, 70, shift, 60);
    assert!(outcome.finish.usage.cached_tokens > 0);
    // What a shifted text leaves behind is not what its tokens are.
    run(&engine, cached(request(&prompt, 20))).assert_continues(&prompt, 20);
}

#[test]
fn long_prompt_loses_its_middle() {
    let shift = ContextShift { keep: 2, discard: Some(5) };
    let engine = FakeDecoder::new(20, 8, 2).spawn();
    let prompt = prompt(3, 93);
    assert_shifted(&run(&engine, shifting(&prompt, 30, shift)), &prompt, 30, shift, 20);
}

#[test]
fn without_shifting_a_long_prompt_is_an_error_or_the_end() {
    let engine = FakeDecoder::new(20, 8, 2).spawn();
    let prompt = prompt(3, 21);
    let error = engine.submit(request(&prompt, 5)).unwrap_err();
    assert_eq!(error, SubmitError::Request(RequestError::PromptTooLong { n_prompt: 21, n_ctx: 20 }));
    for cache_prompt in [false, true] {
        let stop = Request { overflow: Overflow::Stop, cache_prompt, ..request(&prompt, 5) };
        let outcome = run(&engine, stop);
        assert_eq!(outcome.finish.reason, FinishReason::Length);
        let usage = outcome.finish.usage;
        assert_eq!((usage.prompt_tokens, usage.dropped_tokens, usage.completion_tokens), (21, 1, 0));
    }
    let stop = Request { overflow: Overflow::Stop, ..request(&prompt[..15], 50) };
    let outcome = run(&engine, stop);
    assert_eq!((outcome.finish.reason, outcome.finish.usage.completion_tokens), (FinishReason::Length, 5));
}

#[test]
fn what_cannot_be_shifted_is_refused() {
    let refusal = |engine: &Engine, change: fn(&mut Request)| {
        let mut request = shifting(&prompt(3, 5), 5, ContextShift::default());
        change(&mut request);
        match engine.submit(request).unwrap_err() {
            SubmitError::Request(error) => error,
            other => panic!("{other}"),
        }
    };
    let mut fixed = FakeDecoder::new(20, 8, 2);
    fixed.can_shift = false;
    assert_eq!(refusal(&fixed.spawn(), |_| {}), RequestError::CannotShift);
    let engine = FakeDecoder::new(20, 8, 2).spawn();
    assert_eq!(refusal(&engine, |r| r.ban.push("a".to_owned())), RequestError::ShiftWith { name: "ban" });
    let keeps = refusal(&engine, |r| {
        r.overflow = Overflow::Shift(ContextShift { keep: 19, discard: None });
    });
    assert_eq!(keeps, RequestError::KeepsTooMuch { keep: 19, n_ctx: 20 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Several at once, with parking, reuse, guesses and groups: each text is the one that it is alone.
    #[test]
    fn shifted_texts_are_what_they_are_alone(
        texts in prop::collection::vec((1usize..60, 1usize..90, 0usize..9, prop::option::of(1usize..12), any::<bool>(), 0u64..2), 1..6),
        n_seq in 1usize..4,
    ) {
        let engine = FakeDecoder::new(24, 6, n_seq).spawn();
        let streams: Vec<_> = texts.iter().map(|&(n_prompt, n, keep, discard, cached, number)| {
            let shift = ContextShift { keep, discard };
            let prompt = prompt(5, n_prompt);
            let mut request = shifting(&prompt, n, shift);
            request.cache_prompt = cached;
            request.lookup = cached.then(Lookup::default);
            request.group = group(number);
            (engine.submit(request).unwrap(), prompt, n, shift, number)
        }).collect();
        for (stream, prompt, n, shift, number) in streams {
            let outcome = drain(&stream);
            if number == 0 {
                assert_shifted(&outcome, &prompt, n, shift, 24);
            } else {
                prop_assert_eq!(outcome.finish.usage.completion_tokens, n);
            }
        }
    }
}
