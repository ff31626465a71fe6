//! What can go wrong with a grammar, at compile time and while it runs.

use crate::TokenId;

/// A source that cannot be compiled, or a sequence that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A JSON schema that is not valid, or that nothing can satisfy.
    #[error("invalid JSON schema at `{path}`: {message}")]
    Schema {
        /// The JSON pointer of the faulty part; `/` stands for the whole schema.
        path: String,
        /// What is wrong there and what to do.
        message: String,
    },
    /// A regular expression or a grammar that cannot be parsed.
    #[error("invalid syntax in line `{line}`, column `{column}`: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there and what to do.
        message: String,
    },
    /// A token that the grammar does not allow here; the sequence stays as it was.
    #[error("token `{token}` (`{text}`) is outside the grammar here; take a token that the mask allows")]
    Token {
        /// The token.
        token: TokenId,
        /// Its text, escaped, at most 40 characters.
        text: String,
    },
    /// A source or a state beyond one of the [`limits`](super::limits).
    #[error("the grammar is too large: {message}")]
    TooLarge {
        /// Which limit, and what to do.
        message: String,
    },
    /// The vocabulary has no token that could follow.
    #[error(
        "no token of the vocabulary can follow here and the grammar is not at an end; loosen the grammar"
    )]
    Dead,
    /// The grammar leaves no choice but a text that no tokens of the vocabulary make.
    #[error(
        "the text must go on with `{text}`, which no tokens of the vocabulary can write; loosen the grammar"
    )]
    Unwritable {
        /// That text, escaped, at most 40 characters.
        text: String,
    },
    /// A vocabulary or an argument that cannot be used.
    #[error("{message}")]
    Argument {
        /// What is wrong and what to do.
        message: String,
    },
    /// A fault inside the grammar engine; the sequence cannot go on, others can.
    #[error("the grammar engine failed: {message}; report this with the grammar")]
    Internal {
        /// What the engine said.
        message: String,
    },
}

impl GrammarError {
    pub(crate) fn schema(path: &str, message: impl Into<String>) -> Self {
        let path = if path.is_empty() { "/" } else { path };
        Self::Schema { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::TooLarge { message: message.into() }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::Argument { message: message.into() }
    }

    pub(crate) fn syntax(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self::Syntax { line, column, message: message.into() }
    }
}
