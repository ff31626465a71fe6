//! What the decode thread needs of an engine.

use std::sync::Arc;

use crate::{AbortFlag, TokenId, Vocabulary};

/// An engine context: several sequences in one memory of cells, one cell a token.
///
/// The decode thread owns it and calls it from that thread only. A panic in any method ends the engine and all its streams with an
/// error, never the process.
pub trait Decoder: Send + 'static {
    /// The saved state of one sequence.
    type Saved: Send;

    /// Cells in the memory, shared by all sequences; also the most tokens of one sequence.
    fn n_ctx(&self) -> usize;

    /// Maximum number of tokens per [`decode`](Self::decode) call.
    fn n_batch(&self) -> usize;

    /// Maximum number of rows of logits per [`decode`](Self::decode) call; at least 1.
    fn n_outputs_max(&self) -> usize;

    /// How many sequences the memory can tell apart; they are numbered from 0.
    fn n_seq_max(&self) -> usize;

    /// The vocabulary of the tokens that it decodes.
    fn vocabulary(&self) -> Arc<dyn Vocabulary>;

    /// Appends `tokens` to sequence `seq`, whose next free position is `pos`.
    ///
    /// `tokens` has 1 to `n_batch` entries. The logits of the last `n_logits` of them, 0 to `n_outputs_max`, are there afterwards. The call
    /// returns early when `abort` is raised.
    ///
    /// # Errors
    ///
    /// [`DecoderError::Aborted`] when `abort` was raised (the sequence is then in no defined state and gets cleared),
    /// [`DecoderError::NoSpace`] when the memory had no room (the sequence must then be as before), [`DecoderError::Failed`] for all
    /// else.
    fn decode(
        &mut self,
        seq: u32,
        pos: usize,
        tokens: &[TokenId],
        n_logits: usize,
        abort: &AbortFlag,
    ) -> Result<(), DecoderError>;

    /// A row of logits of the last decode, a value for each token of the vocabulary: row 0 is that of the first token whose logits were asked
    /// for. Empty when there is no such row.
    fn logits(&self, row: usize) -> &[f32];

    /// Forgets the positions of `seq` from `from_pos` on.
    ///
    /// False when the memory cannot do that (a sliding window, a recurrent state); the caller then clears the sequence.
    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool;

    /// Forgets all of `seq` and frees its cells.
    fn clear(&mut self, seq: u32);

    /// The exact state of `seq`, to be given back by [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when the state cannot be copied; the sequence's tokens are then decoded anew when it is needed again.
    fn save(&mut self, seq: u32) -> Result<Self::Saved, DecoderError>;

    /// Puts a saved state into `seq`, which is empty and need not be the one that it was saved from.
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when the state cannot be put back; the sequence is then cleared and its tokens are decoded anew.
    fn restore(&mut self, seq: u32, state: &Self::Saved) -> Result<(), DecoderError>;
}

/// Why a [`Decoder`] could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// The abort flag was raised.
    #[error("the decode was aborted")]
    Aborted,
    /// The memory has no cells for these tokens.
    #[error("the context memory is full")]
    NoSpace,
    /// Anything else, in the engine's words.
    #[error("{0}")]
    Failed(String),
}
