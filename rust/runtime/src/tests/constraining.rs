//! Texts that must look like something.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fake::{FakeDecoder, Greedy, PIECES, drain, next, prompt, request, run, text_of};
use crate::{
    ConstraintError, EngineError, FinishReason, Request, SamplerError, StopMatch, TokenConstraint, TokenId,
    TokenMask, TokenSampler,
};

/// Allows a few tokens at each place, and the end from some place on.
pub(super) struct Places {
    allowed: Vec<Vec<TokenId>>,
    /// The text may end from this place on.
    can_end_from: usize,
    at: usize,
    /// Tokens forced where only one is allowed; else none.
    jumps: bool,
    mask: Vec<u32>,
}

impl Places {
    pub(super) fn new(allowed: &[&[TokenId]]) -> Self {
        let allowed: Vec<Vec<TokenId>> = allowed.iter().map(|tokens| tokens.to_vec()).collect();
        Self { can_end_from: allowed.len(), allowed, at: 0, jumps: true, mask: Vec::new() }
    }

    fn without_jumps(mut self) -> Self {
        self.jumps = false;
        self
    }
}

impl TokenConstraint for Places {
    fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        let mut bits =
            self.allowed.get(self.at).ok_or("nothing may follow")?.iter().fold(0u32, |bits, t| bits | 1 << t);
        if self.at >= self.can_end_from {
            bits |= 1;
        }
        self.mask = vec![bits];
        Ok(Some(&self.mask))
    }

    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError> {
        if self.allowed.get(self.at).is_none_or(|tokens| !tokens.contains(&token)) {
            return Err(format!("token {token} may not come at place {}", self.at).into());
        }
        self.at += 1;
        Ok(())
    }

    fn forced(&mut self) -> Vec<TokenId> {
        let forced = self.allowed[self.at..].iter().zip(self.at..);
        let forced =
            forced.take_while(|(tokens, at)| self.jumps && tokens.len() == 1 && *at < self.can_end_from);
        forced.map(|(tokens, _)| tokens[0]).collect()
    }

    fn can_end(&mut self) -> bool {
        self.at >= self.can_end_from
    }

    fn is_finished(&mut self) -> bool {
        self.at == self.allowed.len()
    }
}

fn constrained(prompt: &[TokenId], max_tokens: usize, constraint: impl TokenConstraint + 'static) -> Request {
    let mut request = request(prompt, max_tokens);
    request.constraint = Some(Box::new(constraint));
    request
}

const SKELETON: [&[TokenId]; 9] =
    [&[8], &[1, 2, 3, 12], &[9], &[9], &[1, 2, 3], &[1, 2], &[10], &[11], &[12]];

#[test]
fn text_keeps_to_the_constraint_and_ends_with_it() {
    let engine = FakeDecoder::new(200, 8, 2).spawn();
    for seed in 0..20 {
        let prompt = prompt(70 + seed, 9);
        let jumped = run(&engine, constrained(&prompt, 100, Places::new(&SKELETON)));
        assert_eq!(jumped.finish.reason, FinishReason::Stop);
        assert_eq!(jumped.finish.stop_match, Some(StopMatch::Constraint));
        assert_eq!(jumped.finish.constraint_complete, Some(true));
        let tokens = jumped.tokens();
        assert!(tokens.iter().zip(SKELETON).all(|(token, allowed)| allowed.contains(token)));
        assert_eq!((tokens.len(), jumped.text()), (9, text_of(&tokens)));
        assert_eq!(jumped.finish.usage.completion_tokens, 9);
        assert_eq!(jumped.finish.usage.forced_tokens, 6);
        // Every token, forced or chosen, follows from all before it: the same text as token by token.
        let stepped = run(&engine, constrained(&prompt, 100, Places::new(&SKELETON).without_jumps()));
        assert_eq!((stepped.tokens(), stepped.text()), (tokens, jumped.text()));
        assert_eq!(stepped.finish.usage.forced_tokens, 0);
    }
    assert_eq!(engine.stats().cells_used, 0);
}

#[test]
fn forced_tokens_are_decoded_together() {
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let engine = FakeDecoder::new(200, 8, 1)
        .with_hook(move |call| {
            seen.lock().unwrap().push(call.tokens().len());
            Ok(())
        })
        .spawn();
    run(&engine, constrained(&[1, 2, 3], 100, Places::new(&SKELETON)));
    // The prompt, the first token, then each chosen one with the forced ones after it; the last ones need no decode.
    assert_eq!(*calls.lock().unwrap(), [3, 1, 3, 1]);
}

/// Like [`Greedy`], except that it must not choose some tokens.
struct Without(&'static [TokenId]);

impl TokenSampler for Without {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        let logits: Vec<f32> =
            logits.iter().zip(0..).map(|(&x, token)| if self.allows(token) { x } else { f32::NAN }).collect();
        Greedy.sample(&logits, mask)
    }

    fn allows(&self, token: TokenId) -> bool {
        !self.0.contains(&token)
    }

    fn kept(&self, _n: usize, _out: &mut Vec<(TokenId, f32)>) {}

    fn accept(&mut self, token: TokenId) {
        assert!(self.allows(token), "token {token} was not to be chosen");
    }
}

#[test]
fn forced_tokens_that_the_sampler_must_not_choose_are_left_to_it() {
    let engine = FakeDecoder::new(200, 8, 1).spawn();
    // The banned token is the first forced one, or comes after other forced ones.
    for (banned, n_before) in [(&[8][..], 0), (&[9], 2)] {
        let mut request = constrained(&[1, 2], 100, Places::new(&SKELETON));
        request.sampler = Box::new(Without(banned));
        let outcome = run(&engine, request);
        assert_eq!(outcome.tokens().len(), n_before);
        assert!(
            matches!(&outcome.finish.reason, FinishReason::Error(EngineError::Sampler { message }) if message == "no logit is finite")
        );
    }
    let mut request = constrained(&[1, 2], 100, Places::new(&SKELETON));
    request.sampler = Box::new(Without(&[2, 3, 12]));
    assert_eq!(run(&engine, request).tokens(), [8, 1, 9, 9, 1, 1, 10, 11]);
}

#[test]
fn max_tokens_inside_says_that_the_text_is_not_complete() {
    let engine = FakeDecoder::new(200, 8, 1).spawn();
    for max_tokens in [1, 2, 3, 5, 8] {
        let outcome = run(&engine, constrained(&[1, 2], max_tokens, Places::new(&SKELETON)));
        assert_eq!((outcome.tokens().len(), outcome.finish.reason), (max_tokens, FinishReason::Length));
        assert_eq!(outcome.finish.constraint_complete, Some(false));
    }
    let outcome = run(&engine, constrained(&[1, 2], 9, Places::new(&SKELETON)));
    assert_eq!((outcome.finish.reason, outcome.finish.constraint_complete), (FinishReason::Stop, Some(true)));
    assert_eq!(run(&engine, request(&[1, 2], 9)).finish.constraint_complete, None);
}

#[test]
fn text_may_end_before_its_longest_form() {
    let engine = FakeDecoder::new(200, 8, 1).spawn();
    let all: &[TokenId] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let mut ends = 0;
    for seed in 0..40 {
        let mut places = Places::new(&[all; 30]);
        places.can_end_from = 3;
        let outcome = run(&engine, constrained(&prompt(seed, 9), 25, places));
        let n_tokens = outcome.tokens().len();
        match outcome.finish.stop_match {
            Some(StopMatch::Eog(0)) => ends += 1,
            _ => assert_eq!((n_tokens, outcome.finish.reason), (25, FinishReason::Length)),
        }
        assert!(n_tokens >= 3);
        assert_eq!(outcome.finish.constraint_complete, Some(true));
    }
    assert!(ends > 0, "the fake ends some of the texts");
}

#[test]
fn stop_string_and_stop_token_still_end_the_text() {
    let engine = FakeDecoder::new(200, 8, 1).spawn();
    let mut request = constrained(&[1, 2], 50, Places::new(&[&[8], &[9], &[1], &[12]]));
    request.stop = vec!["op>a".to_owned()];
    let outcome = run(&engine, request);
    assert_eq!(outcome.text(), "<st");
    assert_eq!(outcome.finish.stop_match, Some(StopMatch::String("op>a".to_owned())));
    assert_eq!(outcome.finish.constraint_complete, Some(false));
    let mut request = constrained(&[1, 2], 50, Places::new(&[&[8], &[9], &[1], &[12]]));
    request.stop_tokens = vec![1];
    let outcome = run(&engine, request);
    assert_eq!((outcome.text(), outcome.finish.stop_match), ("<stop>".to_owned(), Some(StopMatch::Token(1))));
}

#[test]
fn logprobs_come_for_every_token_one_by_one() {
    let engine = FakeDecoder::new(200, 8, 1).spawn();
    let prompt = prompt(71, 9);
    let expected = run(&engine, constrained(&prompt, 100, Places::new(&SKELETON))).tokens();
    let mut request = constrained(&prompt, 100, Places::new(&SKELETON));
    request.logprobs = Some(1);
    let outcome = run(&engine, request);
    assert_eq!(outcome.tokens(), expected);
    let logprobs: Vec<_> = outcome.events.iter().flat_map(|event| &event.logprobs).collect();
    assert_eq!(logprobs.iter().map(|entry| entry.token).collect::<Vec<_>>(), expected);
    assert_eq!(outcome.finish.usage.forced_tokens, 0);
}

/// Fails in one of its methods after a few tokens.
struct Failing(usize, &'static str);

impl Failing {
    fn fail(&self, method: &str) -> Result<(), ConstraintError> {
        assert!(self.0 > 0 || self.1 != format!("panic in {method}"), "constraint fell over");
        if self.0 == 0 && self.1 == method { Err("constraint is stuck".into()) } else { Ok(()) }
    }
}

impl TokenConstraint for Failing {
    fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        self.fail("mask").map(|()| None)
    }
    fn accept(&mut self, _token: TokenId) -> Result<(), ConstraintError> {
        self.fail("accept")?;
        self.0 = self.0.saturating_sub(1);
        Ok(())
    }
    fn forced(&mut self) -> Vec<TokenId> {
        let _ = self.fail("forced");
        if self.0 == 0 && self.1 == "range" { vec![PIECES.len() as TokenId] } else { Vec::new() }
    }
    fn can_end(&mut self) -> bool {
        let _ = self.fail("can_end");
        true
    }
    fn is_finished(&mut self) -> bool {
        let _ = self.fail("is_finished");
        false
    }
}

#[test]
fn constraint_that_fails_ends_its_own_stream_only() {
    let engine = FakeDecoder::new(100, 8, 2).spawn();
    let prompt = prompt(72, 9);
    let failures = [
        ("mask", "constraint is stuck"),
        ("accept", "constraint is stuck"),
        ("panic in mask", "constraint fell over"),
        ("panic in accept", "constraint fell over"),
        ("panic in forced", "constraint fell over"),
        ("panic in is_finished", "constraint fell over"),
        ("range", "it forced token 13 but the vocabulary has 13 tokens"),
    ];
    for (failure, message) in failures {
        let failing = engine.submit(constrained(&prompt, 50, Failing(4, failure))).unwrap();
        let other = engine.submit(request(&prompt, 50)).unwrap();
        let outcome = drain(&failing);
        let error = EngineError::Constraint { message: message.to_owned() };
        assert_eq!(outcome.finish.reason, FinishReason::Error(error), "{failure}");
        assert_eq!(outcome.finish.constraint_complete, Some(false));
        drain(&other).assert_continues(&prompt, 50);
    }
    assert_eq!(engine.stats().cells_used, 0);
    let outcome = run(&engine, constrained(&prompt, 4, Failing(4, "panic in can_end")));
    assert_eq!(outcome.finish.constraint_complete, Some(false));
}

#[test]
fn cancel_inside_and_dropped_streams_free_their_cells() {
    let decoder = FakeDecoder::new(2000, 8, 1);
    let n_decoded = Arc::clone(&decoder.n_decoded);
    let engine = decoder.spawn();
    let long: Vec<&[TokenId]> = std::iter::repeat_n([[1, 2].as_slice(), &[12]], 900).flatten().collect();
    let stream = engine.submit(constrained(&[1, 2], 1900, Places::new(&long))).unwrap();
    assert!(next(&stream).is_some());
    stream.cancel();
    let outcome = drain(&stream);
    assert_eq!(outcome.finish.reason, FinishReason::Cancelled);
    assert_eq!(outcome.finish.constraint_complete, Some(false));
    assert!(n_decoded.load(Ordering::SeqCst) < 1800);
    assert_eq!(engine.stats().cells_used, 0);
}
