//! The decode thread: one thread owns an engine context and serves every request of a model.
//!
//! A [`Request`] goes in by [`Engine::submit`], a [`TokenStream`] comes back. In each step the thread decodes a batch of tokens of all requests that
//! can run, turns the new tokens into text (never cutting a character, never leaking a stop string) and pushes events into the streams' bounded
//! channels. This crate knows no engine: the engine is behind the [`Decoder`] trait, its tokens behind [`Vocabulary`], and the choice of tokens
//! behind [`TokenSampler`] (which `tabagent_sampling::Sampler` implements).
//!
//! A request may carry a [`TokenConstraint`] (such as `tabagent_sampling::constraint::Constraint`), which says which tokens may come next;
//! tokens that it forces are decoded together. It may also carry a [`LogitsHook`], which takes each row of logits to another thread and back. A
//! [`ScoreRequest`] asks for the probability of given texts instead.

mod abort;
mod channel;
mod constraint;
mod crew;
mod decoded;
mod decoder;
mod doorbell;
mod driver;
mod engine;
mod error;
mod event;
mod generation;
mod group;
mod hook;
mod inbox;
mod logprobs;
mod metrics;
mod overflow;
mod owner;
mod pace;
mod patterns;
mod poll;
mod process;
mod progress;
mod record;
mod request;
mod sampler;
mod sampling;
mod scheduler;
mod scoring;
mod shelf;
mod span;
mod speculation;
mod stops;
mod stream;
mod task;
mod thought;
mod transfer;
mod utf8;
mod vocabulary;
mod watchdog;

#[cfg(test)]
mod tests;

pub use abort::AbortFlag;
pub use channel::CHANNEL_CAPACITY;
pub use constraint::{ConstraintError, TokenConstraint};
pub use decoder::{BatchToken, Decoder, DecoderError, Ender, OnCrash, Split, Stop};
pub use engine::{Engine, EngineConfig, EngineStats};
pub use error::{EngineError, QueueFull, RequestError, SubmitError};
pub use event::{
    Finish, FinishReason, PromptProgress, StopMatch, Timings, TokenEvent, TokenLogprob, TopLogprob, Usage,
};
pub use group::Group;
pub use hook::{HookPoll, HookWorker, HookedRow, LogitsHook, logits_hook};
pub use logprobs::{LogprobsMode, token_logprob};
pub use metrics::{Ends, LATENCY_BOUNDS, Metrics, Summary};
pub use overflow::{ContextShift, Overflow};
pub use owner::Owner;
pub use poll::Poll;
pub use record::{Record, Recorded};
pub use request::{Fork, Request};
pub use sampler::{SamplerError, SamplerSnapshot, TokenSampler};
pub use scoring::ScoreRequest;
pub use shelf::Shelf;
pub use speculation::{Drafter, Lookup};
pub use stops::StopMatcher;
pub use stream::{StreamId, TokenStream};
pub use tabagent_sampling::TokenMask;
pub use thought::{Opaque, Thought, ThoughtBudget};
pub use transfer::{CellsRequest, ExportedCells};
pub use utf8::Utf8Decoder;
pub use vocabulary::{TokenId, Vocabulary};
