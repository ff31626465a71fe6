//! What the decode thread needs of an engine.

use std::sync::Arc;

use crate::{Group, TokenId, Vocabulary};

/// A token to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// The sequence that it continues.
    pub seq: u32,
    /// Its position there, counted from 0: the next free one.
    pub pos: usize,
    /// The token.
    pub token: TokenId,
    /// Whether the logits after it are wanted.
    pub logits: bool,
}

/// A memory in which each sequence has cells of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// How many sequences there are then, numbered from 0.
    pub n_seq: usize,
    /// Cells of each of them.
    pub n_cells: usize,
    /// With fewer cells in use there is nothing to gain.
    pub n_worth: usize,
}

/// Returns true when the result of the running decode is no longer wanted. It costs a few atomic loads, and any thread may call it.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// An engine context: several sequences in one memory of cells, one cell a token.
///
/// The decode thread owns it and calls it from that thread only. A panic in any method ends the engine and all its streams with an
/// error, never the process.
pub trait Decoder: Send + 'static {
    /// The saved state of one sequence.
    type Saved: Send;

    /// The most tokens of one sequence.
    fn n_ctx(&self) -> usize;

    /// Cells in the memory for all sequences together.
    fn n_cells(&self) -> usize {
        self.n_ctx()
    }

    /// Maximum number of tokens per [`decode`](Self::decode) call.
    fn n_batch(&self) -> usize;

    /// Maximum number of rows of logits per [`decode`](Self::decode) call; at least 1.
    fn n_outputs_max(&self) -> usize;

    /// How many sequences the memory can tell apart; they are numbered from 0.
    fn n_seq_max(&self) -> usize;

    /// How the memory can be split, which makes steps of several sequences faster where attention passes over the cells of all of them. It begins unsplit, as the
    /// other methods describe it; `None` if it stays so.
    fn split(&self) -> Option<Split> {
        None
    }

    /// Splits the memory, or makes it one again, while no sequence holds anything. Saved states stay valid.
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when it stays as it is, for good.
    fn set_split(&mut self, split: bool) -> Result<(), DecoderError> {
        let _ = split;
        Err(DecoderError::Failed("the memory cannot be split".to_owned()))
    }

    /// The vocabulary of the tokens that it decodes.
    fn vocabulary(&self) -> Arc<dyn Vocabulary>;

    /// Has the decodes from now on compute with what `group` stands for. Called before each decode; all tokens of a batch are of one group, and no sequence ever
    /// has tokens of two.
    ///
    /// # Errors
    ///
    /// [`DecoderError::Failed`] when that cannot be; the requests of the batch then end with an error. An engine that knows no groups but the default one
    /// need not define this.
    fn enter(&mut self, group: &Group) -> Result<(), DecoderError> {
        if group.is_default() {
            return Ok(());
        }
        Err(DecoderError::Failed("this engine decodes with the model alone".to_owned()))
    }

    /// Appends tokens to their sequences: 1 to `n_batch`, of any number of sequences, those of one sequence in order and without gaps. Afterwards
    /// [`logits`](Self::logits) has a row for each token that wanted one, at most `n_outputs_max`. Returns early when `stop` says so.
    ///
    /// # Errors
    ///
    /// [`DecoderError::NoSpace`] when the memory had no room (all sequences must then be as before), [`DecoderError::Aborted`] when `stop` said so,
    /// [`DecoderError::Crashed`] and [`DecoderError::Broken`] when all that it held is gone, [`DecoderError::Failed`] for all else. After the first and the last of these three, any number
    /// of the batch's tokens may be in their sequences; these get truncated to where they were, or cleared.
    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError>;

    /// The logits after token `index` of the last batch, a value for each token of the vocabulary. Empty when it wanted none.
    fn logits(&self, index: usize) -> &[f32];

    /// Whether a sequence can lose the last tokens that one decode added to it. Without that, nothing is drafted.
    fn can_rewind(&self) -> bool {
        true
    }

    /// Whether [`truncate`](Self::truncate) and [`copy`](Self::copy) can cut `seq`, which is longer, to its first `n` positions.
    fn can_cut(&self, seq: u32, n: usize) -> bool;

    /// Forgets the positions of `seq` from `from_pos` on.
    ///
    /// False when the memory cannot do that (a sliding window, a recurrent state); the caller then clears the sequence.
    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool;

    /// Whether sequences can lose tokens of their middle; see [`shift`](Self::shift).
    fn can_shift(&self) -> bool {
        false
    }

    /// Forgets `n` positions of `seq` after the first `keep` ones, and moves those after them up by as many. No other sequence shares its cells.
    ///
    /// False when the memory cannot do that; the caller then clears the sequence. Until the next decode of `seq`, [`save`](Self::save) may fail.
    fn shift(&mut self, seq: u32, keep: usize, n: usize) -> bool {
        let _ = (seq, keep, n);
        false
    }

    /// Makes the empty sequence `to` hold the first `n` positions of `from`, in the same cells where sequences share them.
    ///
    /// False when the memory cannot do that; the caller then clears `to`.
    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool;

    /// Forgets all of `seq` and frees its cells.
    fn clear(&mut self, seq: u32);

    /// The exact state of `seq`, to be given back by [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when the state cannot be copied; the sequence's tokens are then decoded anew when it is needed again.
    fn save(&mut self, seq: u32) -> Result<Self::Saved, DecoderError>;

    /// The size of a saved state in bytes.
    fn saved_bytes(state: &Self::Saved) -> usize;

    /// A saved state of `n_tokens` tokens as bytes, to be kept elsewhere. `None`, as by default, if there is no form of it that [`import`](Self::import) can check.
    fn export(&self, state: &Self::Saved, n_tokens: usize) -> Option<Vec<u8>> {
        let _ = (state, n_tokens);
        None
    }

    /// The state of `n_tokens` tokens from bytes that may come from anywhere, checked so far that [`restore`](Self::restore) is safe. `None` if they are no such state of
    /// this memory.
    fn import(&self, bytes: &[u8], n_tokens: usize) -> Option<Self::Saved> {
        let _ = (bytes, n_tokens);
        None
    }

    /// Makes it usable, with empty and undivided memory, after [`DecoderError::Crashed`] and [`DecoderError::Broken`].
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when that cannot be; it is asked for again when there is something to decode. An engine that never crashes alone need not
    /// define this.
    fn revive(&mut self) -> Result<(), DecoderError> {
        Err(DecoderError::Failed("this engine cannot be started again".to_owned()))
    }

    /// Ends, from any thread, what it computes with, so that a running decode returns at once with [`DecoderError::Crashed`]. `None`, as by default, if
    /// nothing can: a decode that hangs then loses its thread.
    fn ender(&self) -> Option<Ender> {
        None
    }

    /// Puts a saved state into `seq`, which is empty and need not be the one that it was saved from.
    ///
    /// # Errors
    ///
    /// [`DecoderError`] when the state cannot be put back; the sequence is then cleared and its tokens are decoded anew.
    fn restore(&mut self, seq: u32, state: &Self::Saved) -> Result<(), DecoderError>;
}

/// Ends what a decoder computes with from outside, on any thread; see [`Decoder::ender`].
pub type Ender = Box<dyn Fn() + Send + Sync>;

/// What becomes of running requests when what a decoder computes with dies ([`DecoderError::Crashed`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// They end with [`EngineError::Crashed`](crate::EngineError::Crashed).
    #[default]
    End,
    /// All their tokens are decoded again, in steps like those of the first time, and they go on. One in whose steps it dies again and again ends.
    Replay,
}

/// Why a [`Decoder`] could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// It was told to stop.
    #[error("the decode was aborted")]
    Aborted,
    /// The memory has no cells for these tokens.
    #[error("the context memory is full")]
    NoSpace,
    /// What it computes with has died, with all sequences and saved states. [`Decoder::revive`] comes next.
    #[error("{words}")]
    Crashed {
        /// How it died, and its last words.
        words: String,
        /// It was dead before this decode began.
        before: bool,
    },
    /// What it computes with has stopped in the middle and can do nothing more; its sequences are gone, saved states may be. [`Decoder::revive`] comes next, and running requests go on.
    #[error("{0}")]
    Broken(String),
    /// Anything else, in the engine's words.
    #[error("{0}")]
    Failed(String),
}
