//! The tokens of a model.

/// What a token is (`enum llama_token_type` in `include/llama.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// One token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: Vec<u8>,
    pub(super) score: f32,
    pub(super) kind: TokenType,
}

/// The tokens of a model by id, and how text becomes tokens.
pub(super) struct Vocabulary {
    /// llama.cpp's name of the algorithm.
    pub(super) model: &'static str,
    /// llama.cpp's name of the pre-tokenizer.
    pub(super) pre: String,
    pub(super) tokens: Vec<Token>,
    /// True if scores mean something.
    pub(super) has_scores: bool,
    /// Pairs that are merged, by rank; empty for other algorithms.
    pub(super) merges: Vec<String>,
}

impl Vocabulary {
    /// Placeholder tokens for ids that have none.
    pub(super) fn padding(len: usize, score: f32) -> Vec<Token> {
        (0..len)
            .map(|id| Token { text: format!("[PAD{id}]").into_bytes(), score, kind: TokenType::Unused })
            .collect()
    }
}

/// True for tokens that some models do not mark as special although they are control tokens (`does_token_look_special` in
/// `conversion/base.py`).
pub(super) fn looks_special(text: &str) -> bool {
    let between = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">")
}
