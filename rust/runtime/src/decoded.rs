//! What a decode leaves for a request.

use crate::TokenId;

/// What a decode computed for a request.
pub(crate) struct Decoded<'a> {
    /// The request's tokens, decoded or not.
    pub(crate) tokens: &'a [TokenId],
    /// The indexes of the tokens whose logits were computed.
    pub(crate) rows: std::ops::Range<usize>,
    /// The logits of one of them, counted from the first.
    pub(crate) logits: &'a dyn Fn(usize) -> &'a [f32],
    /// Nothing is left to decode.
    pub(crate) last: bool,
}
