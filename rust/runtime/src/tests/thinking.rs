//! Thoughts that may not take longer than their budget.

use super::constraining::Places;
use super::fake::{FakeDecoder, PIECES, drain, next_token, prompt, request, run};
use crate::{FinishReason, Lookup, Request, Thought, ThoughtBudget, TokenId};

/// A decoder whose model writes `a` for ever.
fn monotone() -> FakeDecoder {
    let mut decoder = FakeDecoder::new(200, 8, 2);
    decoder.predict = |_| (0..PIECES.len()).map(|token| if token == 1 { 5.0 } else { 0.0 }).collect();
    decoder
}

/// Thoughts between `b` and `<stop>`, which is two tokens.
fn thinking(prompt: &[TokenId], n: usize, max_tokens: usize, inside: bool) -> Request {
    let kind = Thought { start: "b".into(), end: "<stop>".into(), closing: vec![12, 8, 9] };
    let mut request = request(prompt, n);
    request.thought = Some(ThoughtBudget {
        max_tokens,
        kinds: vec![kind],
        inside: inside.then_some(0),
        ..ThoughtBudget::default()
    });
    request
}

#[test]
fn a_thought_that_takes_too_long_is_ended_and_the_text_goes_on() {
    let engine = monotone().spawn();
    for max_tokens in [0, 1, 5, 11] {
        let outcome = run(&engine, thinking(&[1, 2], 20, max_tokens, true));
        let expected = format!("{}d<stop>{}", "a".repeat(max_tokens), "a".repeat(17 - max_tokens));
        assert_eq!(outcome.text(), expected);
        assert_eq!((outcome.finish.reason, outcome.finish.usage.forced_tokens), (FinishReason::Length, 3));
        assert_eq!(outcome.finish.constraint_complete, None);
    }
    assert_eq!(run(&engine, thinking(&[1, 2], 20, 5, false)).text(), "a".repeat(20));
    assert_eq!(run(&engine, thinking(&[1, 2], 6, 5, true)).text(), "aaaaad");
}

#[test]
fn log_probabilities_and_drafts_do_not_change_that() {
    let engine = monotone().spawn();
    let expected = run(&engine, thinking(&[1, 2], 20, 5, true)).tokens();
    let mut request = thinking(&[1, 2], 20, 5, true);
    request.logprobs = Some(1);
    let outcome = run(&engine, request);
    assert_eq!(outcome.tokens(), expected);
    assert_eq!(outcome.events.iter().flat_map(|event| &event.logprobs).count(), 20);
    let mut request = thinking(&[1, 1, 1, 1, 1, 1], 20, 5, true);
    request.lookup = Some(Lookup { min_match: 1, ..Lookup::default() });
    assert_eq!(run(&engine, request).tokens(), expected);
}

#[test]
fn a_constraint_comes_first_where_it_forbids_the_end() {
    let engine = monotone().spawn();
    let any: &[TokenId] = &[1, 2, 8, 9, 12];
    let mut request = thinking(&[1, 2], 20, 1, true);
    request.constraint = Some(Box::new(Places::new(&[any, &[1, 2], &[2], any, any, any, &[3]])));
    let outcome = run(&engine, request);
    assert_eq!(outcome.text(), "aabd<stop> c");
    assert_eq!((outcome.finish.reason, outcome.finish.constraint_complete), (FinishReason::Stop, Some(true)));
}

#[test]
fn a_way_back_from_a_banned_text_takes_the_budget_back() {
    let engine = monotone().spawn();
    let mut request = thinking(&[1, 2], 20, 5, true);
    request.ban = vec!["aaaa".to_owned()];
    let outcome = run(&engine, request);
    // Where four would come, what has no text comes in place of the first, and counts as all tokens do.
    assert_eq!(outcome.text(), "aaad<stop>aaa");
    assert_eq!(outcome.tokens()[..8], [0, 0, 1, 1, 1, 12, 8, 9]);
}

#[test]
fn with_any_model_no_thought_is_longer_than_its_budget() {
    let engine = FakeDecoder::new(400, 8, 2).spawn();
    let mut n_closed = 0;
    for seed in 0..60 {
        let prompt = prompt(seed, 9);
        let max_tokens = seed % 12;
        let outcome = drain(&engine.submit(thinking(&prompt, 60, max_tokens, seed % 2 == 0)).unwrap());
        let tokens = outcome.tokens();
        assert_eq!(tokens.len(), 60);
        let (mut inside, mut n_spent, mut known) = (seed % 2 == 0, 0, prompt.clone());
        let mut at = 0;
        while at < tokens.len() {
            let closing = &tokens[at..(at + 3).min(tokens.len())];
            if inside && n_spent >= max_tokens && *closing == [12, 8, 9][..closing.len()] {
                (inside, n_closed) = (false, n_closed + 1);
                known.extend(closing);
                at += closing.len();
                continue;
            }
            assert_eq!(tokens[at], next_token(&known), "seed {seed}, token {at}");
            if inside {
                n_spent += 1;
                // What may become a character or the end takes some more.
                assert!(n_spent <= max_tokens + 9, "seed {seed}, token {at}");
            }
            known.push(tokens[at]);
            at += 1;
            let ended = known.len() >= prompt.len() + 2 && known.ends_with(&[8, 9]);
            inside = if inside { !ended } else { tokens[at - 1] == 2 };
        }
    }
    assert!(n_closed > 20);
}
