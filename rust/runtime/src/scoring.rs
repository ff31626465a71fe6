//! Scores how probable given texts are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::decoded::Decoded;
use crate::logprobs::LogSoftmax;
use crate::progress::{End, Progress};
use crate::request::check_tokens;
use crate::vocabulary::bytes_of;
use crate::{
    Finish, FinishReason, Group, RequestError, Timings, TokenEvent, TokenId, TokenLogprob, Usage, Vocabulary,
};

/// Texts whose probability is wanted: each of `continuations` after the same prompt.
///
/// [`Engine::score`](crate::Engine::score) gives a stream with one event for each continuation, in order: its tokens, each with the log-probability
/// that the model gives it after the prompt and the tokens before it. Such an event has no text. The prompt is decoded once, except on a
/// model whose memory cannot be cut back (a recurrent state, a sliding window that a long continuation has moved on).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoreRequest {
    /// The tokens before each continuation; at least one.
    pub prompt: Vec<TokenId>,
    /// What to score; at least one, none of them empty.
    pub continuations: Vec<Vec<TokenId>>,
    /// As [`Request::cache_prompt`](crate::Request::cache_prompt).
    pub cache_prompt: bool,
    /// As [`Request::group`](crate::Request::group).
    pub group: Group,
    /// As [`Request::priority`](crate::Request::priority).
    pub priority: i32,
    /// As [`Request::timeout`](crate::Request::timeout).
    pub timeout: Option<Duration>,
}

impl ScoreRequest {
    /// Checks everything that can be checked before the request runs. [`Engine::score`](crate::Engine::score) does so itself.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`], the first one found.
    pub fn check(&self, n_ctx: usize, n_vocab: usize) -> Result<(), RequestError> {
        let n_prompt = self.prompt.len();
        if n_prompt == 0 {
            return Err(RequestError::EmptyPrompt);
        }
        if self.continuations.is_empty() {
            return Err(RequestError::NoContinuations);
        }
        if n_prompt > n_ctx {
            return Err(RequestError::PromptTooLong { n_prompt, n_ctx });
        }
        check_tokens("prompt", &self.prompt, n_vocab)?;
        for (index, continuation) in self.continuations.iter().enumerate() {
            if continuation.is_empty() {
                return Err(RequestError::EmptyContinuation { index });
            }
            let n_tokens = n_prompt + continuation.len();
            if n_tokens > n_ctx {
                return Err(RequestError::ContinuationTooLong { index, n_tokens, n_ctx });
            }
            check_tokens("continuation", continuation, n_vocab)?;
        }
        Ok(())
    }
}

/// A scoring request at work.
pub(crate) struct Scoring {
    vocabulary: Arc<dyn Vocabulary>,
    n_prompt: usize,
    continuations: Vec<Vec<TokenId>>,
    /// The log-probability of the first token of each, once the prompt is decoded.
    firsts: Vec<f32>,
    /// The continuation being decoded.
    current: usize,
    /// Log-probabilities of its tokens so far.
    logprobs: Vec<f32>,
    events: VecDeque<TokenEvent>,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

impl Scoring {
    /// Takes over a request that was checked. Also returns the tokens to decode first: all that the first continuation needs.
    pub(crate) fn new(request: ScoreRequest, vocabulary: Arc<dyn Vocabulary>) -> (Self, Vec<TokenId>) {
        let ScoreRequest { mut prompt, continuations, .. } = request;
        let n_prompt = prompt.len();
        if let Some(first) = continuations.first() {
            prompt.extend_from_slice(decoded_part(first));
        }
        let scoring = Self {
            vocabulary,
            n_prompt,
            continuations,
            firsts: Vec::new(),
            current: 0,
            logprobs: Vec::new(),
            events: VecDeque::new(),
            usage: Usage { prompt_tokens: n_prompt, ..Usage::default() },
            timings: Timings::default(),
        };
        (scoring, prompt)
    }

    /// Maximum number of tokens that are in memory at a time.
    pub(crate) fn n_max(&self) -> usize {
        let longest = self.continuations.iter().map(|tokens| decoded_part(tokens).len()).max();
        self.n_prompt + longest.unwrap_or(0)
    }

    /// The index of the first token whose logits are wanted.
    pub(crate) fn logits_from(&self) -> usize {
        self.n_prompt - 1
    }

    /// Takes the rows of a decode.
    pub(crate) fn advance(&mut self, decoded: &Decoded<'_>, submitted: Instant) -> Option<Progress> {
        for (place, row) in (decoded.first..).zip(decoded.rows) {
            self.take_row(place, row);
            self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
        }
        decoded.last.then(|| self.next())
    }

    /// Takes the row of logits after the token at `place`. Ignores a row that was taken before (the memory was lost in between).
    fn take_row(&mut self, place: usize, row: &[f32]) {
        if place == self.logits_from() && self.firsts.is_empty() {
            let softmax = LogSoftmax::of(row);
            self.firsts = self.continuations.iter().map(|tokens| softmax.of_token(row, tokens[0])).collect();
        }
        let index = place + 1 - self.n_prompt;
        let token = self.continuations.get(self.current).and_then(|tokens| tokens.get(index));
        if let Some(&token) = token
            && index == self.logprobs.len() + 1
        {
            self.logprobs.push(LogSoftmax::of(row).of_token(row, token));
        }
    }

    /// Makes an event of the current continuation, and says what to decode next.
    fn next(&mut self) -> Progress {
        loop {
            self.put_down();
            self.current += 1;
            let Some(tokens) = self.continuations.get(self.current) else {
                return Progress::Ended(End::new(FinishReason::Stop));
            };
            let tail = decoded_part(tokens);
            if !tail.is_empty() {
                return Progress::Rewind { keep: self.n_prompt, tail: tail.to_vec() };
            }
        }
    }

    /// Makes an event of the current continuation.
    fn put_down(&mut self) {
        let token_ids = std::mem::take(&mut self.continuations[self.current]);
        let first = self.firsts.get(self.current).copied().unwrap_or(f32::NEG_INFINITY);
        let values = std::iter::once(first).chain(self.logprobs.drain(..));
        let logprobs = token_ids.iter().zip(values).map(|(&token, logprob)| {
            let bytes = bytes_of(&*self.vocabulary, token);
            TokenLogprob { token, logprob, bytes, top: Vec::new() }
        });
        let logprobs = logprobs.collect();
        self.usage.completion_tokens += token_ids.len();
        self.events.push_back(TokenEvent { token_ids, logprobs, ..TokenEvent::default() });
    }

    pub(crate) fn take_event(&mut self) -> Option<TokenEvent> {
        self.events.pop_front()
    }

    pub(crate) fn end(self, end: End) -> (Vec<TokenEvent>, Finish) {
        let finish = Finish {
            reason: end.reason,
            stop_match: None,
            usage: self.usage,
            timings: self.timings,
            constraint_complete: None,
        };
        (self.events.into(), finish)
    }
}

/// All tokens but the last: only the probability of that one is wanted, so it need not be decoded.
fn decoded_part(tokens: &[TokenId]) -> &[TokenId] {
    &tokens[..tokens.len().saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_field_is_named() {
        let good = ScoreRequest {
            prompt: vec![1, 2],
            continuations: vec![vec![3], vec![3, 0]],
            ..ScoreRequest::default()
        };
        assert_eq!(good.check(4, 4), Ok(()));
        let error_of = |change: fn(&mut ScoreRequest)| {
            let mut request = good.clone();
            change(&mut request);
            request.check(4, 4).unwrap_err().to_string()
        };
        assert!(error_of(|r| r.prompt.clear()).starts_with("prompt has no tokens"));
        assert!(error_of(|r| r.continuations.clear()).starts_with("there are no continuations"));
        assert!(error_of(|r| r.continuations[1].clear()).starts_with("continuation 1 has no tokens"));
        assert!(
            error_of(|r| r.continuations[1].push(1))
                .starts_with("the prompt and continuation 1 have 5 tokens")
        );
        assert!(error_of(|r| r.prompt = vec![0; 5]).starts_with("prompt has 5 tokens"));
        assert!(error_of(|r| r.continuations[0][0] = 4).starts_with("`continuation[0]` is token 4"));
    }
}
