//! How the next token is chosen.

use std::any::Any;
use std::sync::Arc;

use crate::{TokenId, TokenMask};

/// A sampler's state, as [`TokenSampler::save`] gives it.
pub type SamplerSnapshot = Arc<dyn Any + Send + Sync>;

/// What a [`TokenSampler`] may fail with; its text ends up in [`EngineError::Sampler`](crate::EngineError::Sampler).
pub type SamplerError = Box<dyn std::error::Error + Send + Sync>;

/// Chooses tokens for one request.
///
/// It is called on the decode thread, so it should not block. Tell it what it must know of the prompt (for penalties, say) before the request is
/// submitted. A panic in it ends its own stream only.
pub trait TokenSampler: Send {
    /// Chooses a token from the logits of the whole vocabulary, out of those that `mask` allows; `None` is all.
    ///
    /// # Errors
    ///
    /// When no token can be chosen, for example because no logit is above negative infinity. This ends the stream with an error.
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError>;

    /// Whether the token may be chosen at all, whatever its logit; a token that a constraint forces is taken only if it may.
    fn allows(&self, token: TokenId) -> bool {
        let _ = token;
        true
    }

    /// Makes [`kept`](Self::kept) know at least the `n` best candidates of every step. Called at most once, before the first step.
    fn remember(&mut self, n: usize) {
        let _ = n;
    }

    /// Puts the `n` most probable tokens that the last [`sample`](Self::sample) could have drawn, and the one it drew, into `out`, with
    /// their final probabilities.
    fn kept(&self, n: usize, out: &mut Vec<(TokenId, f32)>);

    /// Notes the next token: what [`sample`](Self::sample) chose, or what a constraint forced. Called once for each, also for the last one.
    fn accept(&mut self, token: TokenId);

    /// All that decides the next choices besides the logits, to come back to. `None`, as by default, if the sampler cannot come back: a request
    /// with [`ban`](crate::Request::ban) is then refused.
    fn save(&self) -> Option<SamplerSnapshot> {
        None
    }

    /// Comes back to what [`save`](Self::save) gave, as if no token had been chosen or accepted since.
    fn restore(&mut self, snapshot: &SamplerSnapshot) {
        let _ = snapshot;
    }
}
