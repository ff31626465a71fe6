//! What a stream yields: token events, then how it ended.

use std::time::Duration;

use crate::{EngineError, TokenId};

/// The log-probability of a chosen token, and of the most probable ones.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The chosen token.
    pub token: TokenId,
    /// Natural logarithm of its probability in the distribution that the request's [`LogprobsMode`](crate::LogprobsMode) names.
    pub logprob: f32,
    /// The bytes of its text, that of a control token included; need not be whole characters.
    pub bytes: Vec<u8>,
    /// The most probable tokens, best first, as many as the request asked for.
    pub top: Vec<TopLogprob>,
}

/// One of the most probable tokens at some place.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLogprob {
    /// The token.
    pub token: TokenId,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The bytes of its text, that of a control token included.
    pub bytes: Vec<u8>,
}

/// How far a prompt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromptProgress {
    /// Tokens that are in memory: decoded, or there before.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// Those that were there before.
    pub cached: usize,
}

/// A piece of the generated text with the tokens that became text in it, or word of the prompt.
///
/// Text is whole characters. It is empty only in the last event of a stream, where tokens without text may be left over, and where `prompt` is there. A token whose
/// whole text is held back (half a character, the possible start of a stop string) comes with the event that brings the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenEvent {
    /// The text.
    pub text: String,
    /// The tokens, in order.
    pub token_ids: Vec<TokenId>,
    /// One entry for each of `token_ids` when the request asked for them, else empty.
    pub logprobs: Vec<TokenLogprob>,
    /// How far the prompt has come, in events of their own before the first token, if the [request](crate::Request::progress) asked for them.
    pub prompt: Option<PromptProgress>,
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop string, a stop token, an end-of-generation token or the end of what a constraint allows; see [`Finish::stop_match`].
    Stop,
    /// `max_tokens` was reached or the context is full.
    Length,
    /// The stream was cancelled.
    Cancelled,
    /// The request's time was up; what came so far is there.
    Timeout,
    /// Something failed.
    Error(EngineError),
}

/// What ended a stream with [`FinishReason::Stop`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopMatch {
    /// This stop string; it is not part of the text.
    String(String),
    /// This token out of `stop_tokens`; it is in no event.
    Token(TokenId),
    /// This end-of-generation token of the model; it is in no event.
    Eog(TokenId),
    /// The request's constraint: the text is complete and nothing may follow.
    Constraint,
}

/// Tokens counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were in memory already and were not decoded.
    pub cached_tokens: usize,
    /// Tokens in the stream's events. A stop token or end-of-generation token is not among them.
    pub completion_tokens: usize,
    /// Tokens of the completion that were not sampled, because a constraint left no choice.
    pub forced_tokens: usize,
    /// Tokens that were drafted and decoded before it was known whether they come.
    pub drafted_tokens: usize,
    /// Those of them that came.
    pub accepted_tokens: usize,
    /// Tokens that left a context that was too small, of the prompt or of what was generated.
    pub dropped_tokens: usize,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From submission to the first micro-batch, or to the end if there was none.
    pub queued: Duration,
    /// Spent in steps with tokens of the prompt, which other requests may have shared.
    pub prompt: Duration,
    /// Spent in steps with generated tokens, which other requests may have shared; sampling and text included.
    pub decode: Duration,
    /// From submission to the first chosen token.
    pub first_token: Option<Duration>,
    /// The times between its tokens that a half, nine tenths and ninety-nine hundredths of them do not exceed; `None` with fewer than two tokens.
    pub token_gaps: Option<[Duration; 3]>,
    /// How many requests shared a step of this one, on average; 0 without a step.
    pub step_requests: f32,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// What was matched, when the reason is [`FinishReason::Stop`].
    pub stop_match: Option<StopMatch>,
    /// Tokens counted.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Whether the request's constraint accepts the text as complete; `None` without a constraint. Also false where a stop string cut the text,
    /// whatever came before it.
    pub constraint_complete: Option<bool>,
}

impl Finish {
    /// An end by `error` of which nothing else is known.
    pub(crate) fn from_error(error: EngineError) -> Self {
        Self {
            reason: FinishReason::Error(error),
            stop_match: None,
            usage: Usage::default(),
            timings: Timings::default(),
            constraint_complete: None,
        }
    }
}
