//! What a request does after a decode.

use crate::{EngineError, FinishReason, StopMatch, TokenId};

/// Why a generation is over.
pub(crate) struct End {
    pub(crate) reason: FinishReason,
    pub(crate) stop_match: Option<StopMatch>,
}

impl End {
    pub(crate) fn new(reason: FinishReason) -> Self {
        Self { reason, stop_match: None }
    }

    pub(crate) fn error(error: EngineError) -> Self {
        Self::new(FinishReason::Error(error))
    }

    pub(crate) fn stop(stop_match: StopMatch) -> Self {
        Self { reason: FinishReason::Stop, stop_match: Some(stop_match) }
    }
}

/// What the logits of a decode led to.
pub(crate) enum Progress {
    /// Go on with [`Task::next_tokens`](crate::task::Task::next_tokens).
    Tokens,
    /// The logits are with the request's hook.
    Waiting,
    /// Forget all tokens from index `keep` on, and go on with `tail` instead.
    Rewind { keep: usize, tail: Vec<TokenId> },
    /// It is over.
    Ended(End),
}
