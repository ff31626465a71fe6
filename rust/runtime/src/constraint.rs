//! What a generated text must look like, token by token.

use crate::TokenId;

/// What a [`TokenConstraint`] may fail with; its text ends up in [`EngineError::Constraint`](crate::EngineError::Constraint).
pub type ConstraintError = Box<dyn std::error::Error + Send + Sync>;

/// Says which tokens may come next, for one request.
///
/// It is called on the decode thread. An error or a panic in it ends its own stream only.
pub trait TokenConstraint: Send {
    /// The tokens that may come next, a bit for each token of the vocabulary: token `t` is bit `t % 32` of word `t / 32`. `None`: all.
    ///
    /// An end-of-generation token is among them only where the text may end.
    ///
    /// # Errors
    ///
    /// When no token may come next, or the constraint cannot go on. This ends the stream with an error.
    fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError>;

    /// Advances the constraint by the token that comes next.
    ///
    /// # Errors
    ///
    /// When the token is not allowed.
    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError>;

    /// The tokens that must come next, as the model's tokenizer would write their text; none where there is a choice.
    ///
    /// This does not accept them: [`accept`](Self::accept) is called for each one that is used.
    fn forced(&mut self) -> Vec<TokenId>;

    /// Whether the text may end here.
    fn can_end(&mut self) -> bool;

    /// Whether the text must end here, since nothing may follow.
    fn is_finished(&mut self) -> bool;

    /// Takes the last `n` accepted tokens back. By default it cannot, which ends a request in which a banned text came.
    ///
    /// # Errors
    ///
    /// When it cannot.
    fn rollback(&mut self, n: usize) -> Result<(), ConstraintError> {
        Err(format!("it cannot take its last {n} tokens back, which `ban` needs").into())
    }
}
