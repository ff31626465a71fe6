//! Cached prefixes.

use super::fake::{FakeDecoder, continuation, drain, next, prompt, request, run};
use crate::{Request, TokenId};

fn cached(prompt: &[TokenId], max_tokens: usize) -> Request {
    let mut request = request(prompt, max_tokens);
    request.cache_prompt = true;
    request
}

#[test]
fn conversation_goes_on_where_it_was() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let first = prompt(40, 20);
    let outcome = run(&engine, cached(&first, 30));
    outcome.assert_continues(&first, 30);
    assert_eq!(outcome.finish.usage.cached_tokens, 0);

    let second = [first.clone(), continuation(&first, 30), vec![1, 2, 3]].concat();
    let outcome = run(&engine, cached(&second, 30));
    outcome.assert_continues(&second, 30);
    // The last token of the first answer was never decoded.
    assert_eq!(outcome.finish.usage.cached_tokens, 49);
}

#[test]
fn same_prompt_decodes_only_its_last_token_again() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let prompt = prompt(41, 20);
    for expected in [0, 19, 19] {
        let outcome = run(&engine, cached(&prompt, 30));
        outcome.assert_continues(&prompt, 30);
        assert_eq!(outcome.finish.usage.cached_tokens, expected);
    }
}

#[test]
fn prompt_can_be_decoded_ahead_without_generating() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let first = prompt(42, 20);
    assert!(run(&engine, cached(&first, 0)).events.is_empty());
    let second = [first, vec![1, 2]].concat();
    let outcome = run(&engine, cached(&second, 30));
    outcome.assert_continues(&second, 30);
    assert_eq!(outcome.finish.usage.cached_tokens, 20);
}

#[test]
fn nothing_is_reused_unless_both_requests_allow_it() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let prompt = prompt(43, 20);
    for cache in [false, true, false] {
        let mut request = request(&prompt, 10);
        request.cache_prompt = cache;
        let outcome = run(&engine, request);
        outcome.assert_continues(&prompt, 10);
        assert_eq!(outcome.finish.usage.cached_tokens, 0);
    }
}

#[test]
fn beginnings_that_save_too_little_are_decoded_again() {
    let engine = FakeDecoder::new(300, 8, 2).spawn();
    let first = prompt(44, 20);
    run(&engine, cached(&first, 10));
    for (least, expected) in [(20, 0), (19, 19), (1, 19)] {
        let outcome = run(&engine, Request { least_reuse: least, ..cached(&first, 10) });
        outcome.assert_continues(&first, 10);
        assert_eq!(outcome.finish.usage.cached_tokens, expected);
    }
    // What its owner keeps is its own, however little.
    let owner = engine.owner();
    let own =
        |prompt: &[TokenId]| Request { least_reuse: 100, owner: Some(owner.clone()), ..cached(prompt, 5) };
    let second = prompt(45, 20);
    run(&engine, own(&second)).assert_continues(&second, 5);
    let third = [second.clone(), continuation(&second, 5)].concat();
    assert_eq!(run(&engine, own(&third)).finish.usage.cached_tokens, 24);
}

#[test]
fn memory_that_cannot_truncate_starts_anew() {
    let mut decoder = FakeDecoder::new(300, 8, 1);
    decoder.can_cut = false;
    let engine = decoder.spawn();
    let first = prompt(44, 20);
    run(&engine, cached(&first, 10)).assert_continues(&first, 10);
    let outcome = run(&engine, cached(&first, 10));
    outcome.assert_continues(&first, 10);
    assert_eq!(outcome.finish.usage.cached_tokens, 0);
    // The whole cached prefix is a prefix of this prompt, so there is nothing to cut off.
    let second = [first.clone(), continuation(&first, 10), vec![3]].concat();
    let outcome = run(&engine, cached(&second, 10));
    outcome.assert_continues(&second, 10);
    assert_eq!(outcome.finish.usage.cached_tokens, 29);
}

#[test]
fn cached_prefixes_make_way_for_requests() {
    let engine = FakeDecoder::new(60, 8, 4).spawn();
    for i in 0..20 {
        let prompt = prompt(50 + i, 30 + i);
        run(&engine, cached(&prompt, 10)).assert_continues(&prompt, 10);
    }
    let whole = prompt(45, 10);
    run(&engine, request(&whole, 50)).assert_continues(&whole, 50);
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn cancelled_request_leaves_what_it_decoded() {
    let engine = FakeDecoder::new(1000, 8, 2).spawn();
    let first = prompt(46, 20);
    let stream = engine.submit(cached(&first, 900)).unwrap();
    assert!(next(&stream).is_some());
    stream.cancel();
    drain(&stream);
    let outcome = run(&engine, cached(&first, 30));
    outcome.assert_continues(&first, 30);
    assert_eq!(outcome.finish.usage.cached_tokens, 19);
}
