//! What can be wrong with a tokenizer's file, a text or tokens.

use tabagent_gguf::{ConvertError, GgufError};

use crate::output::TokenId;

/// Files, texts or tokens that a tokenizer cannot take.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A GGUF file cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A `tokenizer.json` cannot be read.
    #[error(transparent)]
    Json(#[from] ConvertError),
    /// The model has no tokenizer.
    #[error("this model has no tokenizer; pass token ids instead of text")]
    NoTokenizer,
    /// A kind of tokenizer that is not known.
    #[error("key `{key}` is `{name}`, but this version knows only {known}")]
    Unknown {
        /// The key.
        key: &'static str,
        /// Its value.
        name: String,
        /// The values that it may have.
        known: &'static str,
    },
    /// A key is missing.
    #[error("key `{key}` is missing; convert the model again, or take another file of it")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// What a key holds cannot be used.
    #[error("key `{key}` {problem}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// More text than is counted in 31 bits.
    #[error("text has {bytes} bytes, but at most {limit} can be tokenized at once; split it")]
    TextTooLong {
        /// Its bytes.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A token id out of range.
    #[error("token {index} is `{token}`, but ids go from 0 to {}", vocab_size.saturating_sub(1))]
    TokenOutOfRange {
        /// Its index.
        index: usize,
        /// The id.
        token: TokenId,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// The caller wanted no more.
    #[error("stopped before all was done")]
    Stopped,
}

impl TokenizerError {
    pub(crate) fn invalid(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { key, problem: problem.into() }
    }
}

/// Bytes of a file as they fit into an error: at most 40 characters, control characters escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]);
    let mut text: String = lossy.chars().take(40).flat_map(char::escape_debug).collect();
    if bytes.len() > 160 || lossy.chars().nth(40).is_some() {
        text.push('…');
    }
    text
}
