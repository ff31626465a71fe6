//! The tokens of a file: their texts, types and scores.

use tabagent_gguf::{Value, ValueType};

use crate::error::{TokenizerError, shown};
use crate::keys::Keys;
use crate::output::TokenId;
use crate::text_table::TextTable;
use crate::token_attributes::Attributes;

pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
/// The most tokens that a vocabulary may have; the largest known ones have about 262,000.
const MAX_TOKENS: usize = 1 << 24;
/// The most bytes that all tokens may have together; the largest known vocabularies have about 2 MB.
const MAX_BYTES: usize = 1 << 26;

/// Tokens by id, and found by their text.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) texts: TextTable,
    pub(crate) scores: Vec<f32>,
    pub(crate) attributes: Vec<Attributes>,
    /// The texts of all tokens as they are written, where those by which they are found are others.
    pub(crate) shown: Option<TextTable>,
}

impl Vocabulary {
    /// Reads the tokens of a file.
    pub(crate) fn read(keys: Keys<'_>) -> Result<Self, TokenizerError> {
        let (n, list) = keys.texts(TOKENS)?.ok_or(TokenizerError::Missing { key: TOKENS })?;
        if n == 0 || n > MAX_TOKENS {
            let problem = format!("has {n} tokens, but a vocabulary has 1 to {MAX_TOKENS}");
            return Err(TokenizerError::invalid(TOKENS, problem));
        }
        let mut texts = TextTable::with_room(n);
        for (id, text) in list.enumerate() {
            // llama.cpp gives tokens without a text this name.
            let name = if text.is_empty() { format!("[EMPTY_{id}]") } else { String::new() };
            let text = if text.is_empty() { name.as_bytes() } else { text };
            if texts.n_bytes() + text.len() > MAX_BYTES {
                let problem = format!("holds more than {MAX_BYTES} bytes; the file is damaged");
                return Err(TokenizerError::invalid(TOKENS, problem));
            }
            if let Err(other) = texts.insert(text) {
                let text = shown(text);
                let problem =
                    format!("has `{text}` as tokens `{other}` and `{id}`, but tokens must be unique");
                return Err(TokenizerError::invalid(TOKENS, problem));
            }
        }
        if texts.len() != n {
            return Err(TokenizerError::invalid(TOKENS, "ends before its last token"));
        }
        Ok(Self { texts, scores: scores(keys, n)?, attributes: attributes(keys, n)?, shown: None })
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.attributes.len()
    }

    /// The text of a token that exists.
    pub(crate) fn text(&self, token: TokenId) -> &[u8] {
        self.shown.as_ref().unwrap_or(&self.texts).get(token as u32)
    }

    /// The token with this text.
    pub(crate) fn find(&self, text: &[u8]) -> Option<TokenId> {
        self.texts.find(text).map(|token| token as TokenId)
    }

    /// The attributes of a token that exists.
    pub(crate) fn attributes(&self, token: TokenId) -> Attributes {
        self.attributes[token as usize]
    }

    /// All tokens.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TokenId> + use<> {
        0..self.len() as TokenId
    }

    /// The token that is written `<0x41>` for the byte `0x41`.
    pub(crate) fn byte_token(&self, byte: u8) -> Option<TokenId> {
        self.find(format!("<0x{byte:02X}>").as_bytes())
    }
}

/// The byte of a token that is written `<0x41>`.
pub(crate) fn written_byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

fn check_len(key: &'static str, len: usize, n: usize) -> Result<(), TokenizerError> {
    if len < n {
        let problem = format!("has {len} items, but there are {n} tokens");
        return Err(TokenizerError::invalid(key, problem));
    }
    Ok(())
}

fn scores(keys: Keys<'_>, n: usize) -> Result<Vec<f32>, TokenizerError> {
    let wanted = "an array of f32 or i32";
    let Some(array) = keys.array(SCORES, &[ValueType::F32, ValueType::I32], wanted)? else {
        return Ok(vec![0.0; n]);
    };
    check_len(SCORES, array.len(), n)?;
    let scores: Vec<f32> = array
        .iter()
        .take(n)
        .map(|score| match score {
            Value::F32(score) => score,
            Value::I32(score) => score as f32,
            _ => f32::NAN,
        })
        .collect();
    match scores.iter().position(|score| score.is_nan()) {
        Some(id) => Err(TokenizerError::invalid(SCORES, format!("has no number for token `{id}`"))),
        None => Ok(scores),
    }
}

fn attributes(keys: Keys<'_>, n: usize) -> Result<Vec<Attributes>, TokenizerError> {
    let Some(array) = keys.array(TYPES, &[ValueType::I32], "an array of i32")? else {
        return Ok(vec![Attributes::NORMAL; n]);
    };
    check_len(TYPES, array.len(), n)?;
    let of_type = |value| match value {
        Value::I32(number) => Attributes::of_type(number),
        _ => Attributes(0),
    };
    Ok(array.iter().take(n).map(of_type).collect())
}
