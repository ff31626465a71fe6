//! The kinds of tokenizer (`llama_vocab::impl::load` in `src/llama-vocab.cpp`), and the keys of their tables.

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const PRE: &str = "tokenizer.ggml.pre";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

/// The kinds of tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokenizer {
    /// SentencePiece with byte fallback.
    SentencePiece,
    /// Byte pairs.
    Bpe,
    /// Byte pairs over SentencePiece's spaces (Gemma 4).
    GemmaBpe,
    /// `WordPiece`, as in BERT.
    WordPiece,
    /// Unigram, as in T5.
    Unigram,
    /// A trie over bytes.
    Rwkv,
    /// `PLaMo` 2.
    Plamo2,
    /// llama.cpp's test tokenizer.
    Test,
}

impl Tokenizer {
    pub(super) fn of(model: &[u8]) -> Option<Self> {
        Some(match model {
            b"llama" => Self::SentencePiece,
            b"gpt2" | b"hybriddna" | b"whitespace" => Self::Bpe,
            b"gemma4" => Self::GemmaBpe,
            b"bert" => Self::WordPiece,
            b"t5" => Self::Unigram,
            b"rwkv" => Self::Rwkv,
            b"plamo2" => Self::Plamo2,
            b"test" => Self::Test,
            _ => return None,
        })
    }

    /// For beginning, end and separator of text: the default token where the file names none, and when the tokenizer adds it.
    pub(super) fn specials(self) -> [(Option<u32>, Added); 3] {
        use Added::{Always, IfAsked, Never, Unless};
        match self {
            Self::SentencePiece => [(Some(1), Unless), (Some(2), IfAsked), (None, Never)],
            Self::Bpe => [(Some(11), IfAsked), (Some(11), IfAsked), (None, Never)],
            Self::GemmaBpe => [(None, Always), (None, IfAsked), (None, Never)],
            Self::WordPiece => [(Some(101), Always), (None, Never), (Some(102), Always)],
            Self::Unigram => [(None, IfAsked), (Some(1), Unless), (None, Never)],
            Self::Rwkv | Self::Plamo2 | Self::Test => [(None, Never), (None, Never), (None, Never)],
        }
    }
}

/// When a tokenizer adds a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Always,
    Never,
    /// Unless `add_…_token` is false.
    Unless,
    /// If `add_…_token` is true.
    IfAsked,
}
