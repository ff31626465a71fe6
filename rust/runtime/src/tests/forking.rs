//! Requests that go on where running ones have come to.

use std::sync::atomic::Ordering;

use super::fake::{FakeDecoder, continuation, drain, next, prompt, request, run, text_of};
use crate::{FinishReason, Fork, Request, RequestError, StopMatch, SubmitError, TokenId, TokenStream};

/// A fork of `of`, the text of `prompt`, after `n` tokens.
fn forked(prompt: &[TokenId], of: &TokenStream, n: usize, max_tokens: usize) -> Request {
    let mut request = request(prompt, max_tokens);
    request.fork = Some(Fork { of: of.id(), tokens: continuation(prompt, n) });
    request
}

#[test]
fn forks_go_on_with_the_text_whatever_character_they_cut() {
    let engine = FakeDecoder::new(3000, 16, 4).spawn();
    for seed in 0..4 {
        let text = prompt(60 + seed, 30);
        let whole = continuation(&text, 40);
        let stream = engine.submit(request(&text, 1000)).unwrap();
        for n in 0..30 {
            let outcome = run(&engine, forked(&text, &stream, n, 40));
            assert_eq!(outcome.finish.reason, FinishReason::Length);
            assert_eq!(outcome.tokens(), whole[n..]);
            assert_eq!(outcome.finish.usage.prompt_tokens, 30);
            assert_eq!(outcome.finish.usage.completion_tokens, 40);
            // Half a character at the fork is not shown before, and not lost.
            let all = text_of(&whole);
            let shown = all.strip_suffix(&outcome.text()).unwrap();
            let before = text_of(&whole[..n]);
            assert!(before == shown || before == format!("{shown}\u{FFFD}"), "{before:?} {shown:?}");
        }
        stream.cancel();
    }
}

#[test]
fn forks_share_the_cells_of_a_running_request_that_shares_nothing_else() {
    let mut decoder = FakeDecoder::new(3000, 16, 4);
    decoder.can_rewind = true;
    let n_decoded = decoder.n_decoded.clone();
    let engine = decoder.spawn();
    let text = prompt(70, 400);
    let stream = engine.submit(request(&text, 2000)).unwrap();
    let mut tokens = Vec::new();
    while tokens.len() < 20 {
        tokens.extend(next(&stream).unwrap().token_ids);
    }
    let mut fork = request(&text, tokens.len() + 5);
    fork.fork = Some(Fork { of: stream.id(), tokens: tokens.clone() });
    let outcome = run(&engine, fork);
    assert_eq!(outcome.tokens(), continuation(&text, tokens.len() + 5)[tokens.len()..]);
    assert_eq!(outcome.finish.usage.cached_tokens, 400 + tokens.len() - 1);
    // Others do not.
    let mut other = request(&text, 5);
    other.cache_prompt = true;
    assert_eq!(run(&engine, other).finish.usage.cached_tokens, 0);
    assert!(n_decoded.load(Ordering::SeqCst) > 800);
    stream.cancel();
}

#[test]
fn forks_of_what_is_gone_are_decoded() {
    let engine = FakeDecoder::new(3000, 16, 4).spawn();
    let text = prompt(71, 30);
    let stream = engine.submit(request(&text, 10)).unwrap();
    drain(&stream).assert_continues(&text, 10);
    let outcome = run(&engine, forked(&text, &stream, 6, 12));
    assert_eq!(outcome.tokens(), continuation(&text, 12)[6..]);
    assert_eq!(outcome.finish.usage.cached_tokens, 0);

    let mut decoder = FakeDecoder::new(3000, 16, 4);
    decoder.can_cut = false;
    let engine = decoder.spawn();
    let stream = engine.submit(request(&text, 2000)).unwrap();
    assert!(next(&stream).is_some());
    let outcome = run(&engine, forked(&text, &stream, 1, 12));
    assert_eq!(outcome.tokens(), continuation(&text, 12)[1..]);
    stream.cancel();
}

#[test]
fn forks_after_the_end_end_as_the_text_did() {
    let engine = FakeDecoder::new(3000, 16, 4).spawn();
    let text = prompt(72, 30);
    let stream = engine.submit(request(&text, 10)).unwrap();
    drain(&stream).assert_continues(&text, 10);
    let outcome = run(&engine, forked(&text, &stream, 10, 10));
    assert_eq!((outcome.finish.reason, outcome.events.len()), (FinishReason::Length, 0));

    // A stop string that is complete with the last token.
    let tokens = [8, 9];
    let mut stopped = request(&text, 10);
    stopped.stop = vec!["<stop>".to_owned()];
    stopped.fork = Some(Fork { of: stream.id(), tokens: tokens.to_vec() });
    let outcome = run(&engine, stopped);
    assert_eq!(outcome.finish.stop_match, Some(StopMatch::String("<stop>".to_owned())));
    assert_eq!(outcome.text(), "");

    // One that begins before the fork.
    let mut request = request(&text, 10);
    request.stop = vec!["<st".to_owned() + &text_of(&[next_after(&text, 8)])];
    request.fork = Some(Fork { of: stream.id(), tokens: vec![8] });
    let outcome = run(&engine, request);
    assert_eq!(outcome.text(), "");
    assert!(matches!(outcome.finish.stop_match, Some(StopMatch::String(_))));
}

/// The token after `prompt` and `token`.
fn next_after(prompt: &[TokenId], token: TokenId) -> TokenId {
    continuation(&[prompt, &[token]].concat(), 1)[0]
}

#[test]
fn wrong_forks_are_refused() {
    let engine = FakeDecoder::new(300, 16, 4).spawn();
    let text = prompt(73, 30);
    let stream = engine.submit(request(&text, 10)).unwrap();
    let error_of = |request: Request| match engine.submit(request) {
        Err(SubmitError::Request(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut banned = forked(&text, &stream, 2, 10);
    banned.ban = vec!["x".to_owned()];
    assert_eq!(error_of(banned), RequestError::ForkWithBan);
    let mut unknown = forked(&text, &stream, 2, 10);
    unknown.fork = Some(Fork { of: stream.id(), tokens: vec![1, 99] });
    assert_eq!(error_of(unknown).to_string(), "`fork[1]` is token 99 but the vocabulary has tokens 0 to 12");
    let mut long = forked(&text, &stream, 2, 10);
    long.fork = Some(Fork { of: stream.id(), tokens: vec![1; 271] });
    assert!(matches!(error_of(long), RequestError::PromptTooLong { n_prompt: 301, n_ctx: 300 }));
}
