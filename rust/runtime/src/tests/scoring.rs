//! Probabilities of given texts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use super::fake::{
    FakeDecoder, Outcome, PIECES, decode_until_aborted, drain, logits_after, prompt, request, run,
};
use crate::{
    Engine, EngineError, FinishReason, RequestError, ScoreRequest, SubmitError, TokenEvent, TokenId,
    token_logprob,
};

fn score_request(prompt: &[TokenId], continuations: &[Vec<TokenId>]) -> ScoreRequest {
    ScoreRequest { prompt: prompt.to_vec(), continuations: continuations.to_vec(), ..ScoreRequest::default() }
}

/// Continuations of `lens` tokens each.
fn continuations(lens: &[usize]) -> Vec<Vec<TokenId>> {
    lens.iter()
        .enumerate()
        .map(|(i, &len)| (0..len).map(|j| ((i + j * j) % PIECES.len()) as TokenId).collect())
        .collect()
}

#[track_caller]
fn assert_scores(outcome: &Outcome, prompt: &[TokenId], continuations: &[Vec<TokenId>]) {
    assert_eq!(outcome.finish.reason, FinishReason::Stop);
    assert_eq!(outcome.events.len(), continuations.len());
    for (event, continuation) in outcome.events.iter().zip(continuations) {
        assert_event(event, prompt, continuation);
    }
    assert_eq!(outcome.finish.usage.completion_tokens, continuations.iter().map(Vec::len).sum::<usize>());
    assert_eq!(outcome.finish.usage.prompt_tokens, prompt.len());
}

#[track_caller]
fn assert_event(event: &TokenEvent, prompt: &[TokenId], continuation: &[TokenId]) {
    assert_eq!((event.token_ids.as_slice(), event.text.as_str()), (continuation, ""));
    assert_eq!(event.logprobs.len(), continuation.len());
    let mut before = prompt.to_vec();
    for (entry, &token) in event.logprobs.iter().zip(continuation) {
        let expected = token_logprob(&logits_after(&before), token, 0, |_| Vec::new());
        assert_eq!((entry.token, entry.logprob.to_bits()), (token, expected.logprob.to_bits()));
        before.push(token);
    }
}

fn score(engine: &Engine, request: ScoreRequest) -> Outcome {
    drain(&engine.score(request).unwrap())
}

#[test]
fn each_continuation_is_scored_as_if_it_were_alone() {
    for (n_batch, n_outputs) in [(8, 3), (1, 1), (50, 50), (4, 100)] {
        let mut decoder = FakeDecoder::new(120, n_batch, 2);
        decoder.n_outputs = n_outputs.min(n_batch);
        let n_decoded = Arc::clone(&decoder.n_decoded);
        let engine = decoder.spawn();
        for n_prompt in [1, 7, 30] {
            let prompt = prompt(n_prompt, n_prompt);
            let continuations = continuations(&[1, 5, 1, 1, 20, 2]);
            let before = n_decoded.load(Ordering::SeqCst);
            assert_scores(&score(&engine, score_request(&prompt, &continuations)), &prompt, &continuations);
            // The prompt once, and of each continuation all but the last token.
            assert_eq!(n_decoded.load(Ordering::SeqCst) - before, n_prompt + 4 + 19 + 1);
        }
        assert_eq!(engine.stats().cells_used, 0);
    }
}

#[test]
fn memory_that_cannot_be_cut_back_gives_the_same() {
    let mut decoder = FakeDecoder::new(120, 8, 2);
    decoder.can_cut = false;
    let engine = decoder.spawn();
    let (prompt, continuations) = (prompt(3, 21), continuations(&[4, 6, 1, 9]));
    assert_scores(&score(&engine, score_request(&prompt, &continuations)), &prompt, &continuations);
}

#[test]
fn more_continuations_than_the_channel_holds_are_all_scored_beside_other_requests() {
    let engine = FakeDecoder::new(60, 8, 2).spawn();
    let (of_score, of_text) = (prompt(4, 21), prompt(5, 20));
    let continuations = continuations(&(0..700).map(|i| 1 + i % 7).collect::<Vec<_>>());
    let stream = engine.score(score_request(&of_score, &continuations)).unwrap();
    // Nobody reads the scoring, so it is paused and parked; it continues whether or not its state was lost.
    run(&engine, request(&of_text, 40)).assert_continues(&of_text, 40);
    assert_scores(&drain(&stream), &of_score, &continuations);
}

#[test]
fn state_that_cannot_be_saved_is_computed_again() {
    let mut decoder = FakeDecoder::new(60, 8, 1);
    decoder.can_save = false;
    let engine = decoder.spawn();
    let of_score = prompt(6, 21);
    let continuations = continuations(&(0..300).map(|i| 1 + i % 7).collect::<Vec<_>>());
    let stream = engine.score(score_request(&of_score, &continuations)).unwrap();
    run(&engine, request(&[1, 2], 40)).assert_continues(&[1, 2], 40);
    assert_scores(&drain(&stream), &of_score, &continuations);
}

#[test]
fn cached_prompt_is_reused_up_to_the_token_whose_logits_are_wanted() {
    let engine = FakeDecoder::new(200, 8, 2).spawn();
    let (prompt, continuations) = (prompt(7, 30), continuations(&[3, 2]));
    for cached in [0, 29] {
        let request = ScoreRequest { cache_prompt: true, ..score_request(&prompt, &continuations) };
        let outcome = score(&engine, request);
        assert_scores(&outcome, &prompt, &continuations);
        assert_eq!(outcome.finish.usage.cached_tokens, cached);
    }
}

#[test]
fn cancel_aborts_the_running_decode() {
    let (enter, entered) = channel();
    let engine = FakeDecoder::new(100, 8, 2)
        .with_hook(move |call| {
            if call.tokens().contains(&12) {
                enter.send(()).unwrap();
                return Err(decode_until_aborted(call));
            }
            Ok(())
        })
        .spawn();
    let stream = engine.score(score_request(&[1, 2], &[vec![3, 4], vec![12, 4]])).unwrap();
    entered.recv().unwrap();
    stream.cancel();
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Cancelled);
    assert_eq!(outcome.tokens(), [3, 4]);
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn wrong_request_is_refused_and_a_closed_engine_takes_none() {
    let engine = FakeDecoder::new(30, 8, 1).spawn();
    let error = engine.score(score_request(&[1], &[])).unwrap_err();
    assert_eq!(error, SubmitError::Request(RequestError::NoContinuations));
    engine.close();
    let error = engine.score(score_request(&[1], &[vec![1]])).unwrap_err();
    assert_eq!(error, SubmitError::Engine(EngineError::Closed));
}
