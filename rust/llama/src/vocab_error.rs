//! Errors of vocabularies.

use crate::batch::TokenId;
use crate::elsewhere::ElsewhereError;

/// Text or tokens that a vocabulary cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabError {
    /// The model has no tokenizer.
    #[error("this model has no tokenizer; pass token ids instead of text")]
    NoTokenizer,
    /// More text than llama.cpp counts.
    #[error("text has {bytes} bytes, but at most {limit} can be tokenized at once; split it")]
    TextTooLong {
        /// Its bytes.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A text that would keep the tokenizer busy for very long.
    #[error(
        "text has {count} {what}, for which this model's tokenizer takes time that grows with the square of their number; at most {limit} are taken; split the text"
    )]
    TooSlow {
        /// What the text has too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
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
    /// llama.cpp failed.
    #[error("llama.cpp cannot {task} this input (code {code})")]
    Failed {
        /// `tokenize` or `detokenize`.
        task: &'static str,
        /// What it returned.
        code: i32,
    },
    /// llama.cpp threw.
    #[error("llama.cpp cannot {task} this input: {words}")]
    Threw {
        /// `tokenize` or `detokenize`.
        task: &'static str,
        /// The words of the exception.
        words: String,
    },
    /// The process that has the model refused it.
    #[error(transparent)]
    Elsewhere(#[from] ElsewhereError),
    /// The caller raised the flag.
    #[error("stopped before all was done")]
    Stopped,
    /// No memory for the stack of a very long text.
    #[error("no memory for the stack that tokenizing {bytes} bytes may need; split the text")]
    NoStack {
        /// Bytes of the text.
        bytes: usize,
    },
}
