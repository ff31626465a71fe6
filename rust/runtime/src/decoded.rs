//! What a decode leaves for a request.

use crate::TokenId;

/// What a decode computed for a request.
pub(crate) struct Decoded<'a> {
    /// The request's tokens, decoded or not.
    pub(crate) tokens: &'a [TokenId],
    /// The index of the first token whose logits were computed; the others follow it.
    pub(crate) first: usize,
    /// The logits after each of them.
    pub(crate) rows: &'a [&'a [f32]],
    /// Nothing is left to decode.
    pub(crate) last: bool,
}
