//! The families of tokenizers.

use serde::{Deserialize, Serialize};

/// The family of a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VocabKind {
    /// No tokenizer.
    None,
    /// `SentencePiece` BPE with byte fallback.
    SentencePiece,
    /// Byte-level BPE.
    Bpe,
    /// `WordPiece`: lossy.
    WordPiece,
    /// Unigram.
    Unigram,
    /// RWKV's greedy one.
    Rwkv,
    /// `PLaMo-2`'s.
    Plamo2,
    /// One this version does not know, by its number.
    Other(i32),
}
