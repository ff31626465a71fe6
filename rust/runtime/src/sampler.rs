//! How the next token is chosen.

use crate::TokenId;

/// What a [`TokenSampler`] may fail with; its text ends up in [`EngineError::Sampler`](crate::EngineError::Sampler).
pub type SamplerError = Box<dyn std::error::Error + Send + Sync>;

/// Chooses tokens for one request.
///
/// It is called on the decode thread, so it should not block. What it must know of the prompt (for penalties, say) it is told before
/// the request is submitted. A panic in it ends its own stream only.
pub trait TokenSampler: Send {
    /// Chooses a token from the raw logits of the whole vocabulary.
    ///
    /// # Errors
    ///
    /// When no token can be chosen, for example because no logit is finite. This ends the stream with an error.
    fn sample(&mut self, logits: &[f32]) -> Result<TokenId, SamplerError>;

    /// Takes note of the token that [`sample`](Self::sample) chose; called once for each, also for the last one.
    fn accept(&mut self, token: TokenId);
}
