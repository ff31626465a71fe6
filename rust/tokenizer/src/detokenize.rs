//! Tokens back to text.

use rayon::prelude::*;

use crate::byte_alphabet;
use crate::characters::{self, Characters};
use crate::error::TokenizerError;
use crate::kind::TokenizerKind;
use crate::output::TokenId;
use crate::rwkv;
use crate::spaces;
use crate::token_attributes::Attributes;
use crate::tokenizer::{Algorithm, Tokenizer};
use crate::vocabulary::written_byte;
use crate::work::{NEVER, Stop};

/// Tokens between two checks of whether to stop.
const BETWEEN_LOOKS: usize = 1 << 14;

impl Tokenizer {
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`] for the first id out of range.
    pub fn check_tokens(&self, tokens: &[TokenId]) -> Result<(), TokenizerError> {
        let vocab_size = self.len();
        let is_bad = |token: &TokenId| !usize::try_from(*token).is_ok_and(|token| token < vocab_size);
        match tokens.iter().position(is_bad) {
            Some(index) => Err(TokenizerError::TokenOutOfRange { index, token: tokens[index], vocab_size }),
            None => Ok(()),
        }
    }

    /// The bytes that one token adds to a text. Control tokens add their text only with `special`.
    ///
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`].
    pub fn token_bytes(&self, token: TokenId, special: bool) -> Result<Vec<u8>, TokenizerError> {
        self.check_tokens(&[token])?;
        let mut bytes = Vec::new();
        self.push_bytes(token, special, &mut bytes);
        Ok(bytes)
    }

    /// The token as the vocabulary writes it, such as `▁Once` or `<0x0A>`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`].
    pub fn token_text(&self, token: TokenId) -> Result<String, TokenizerError> {
        self.check_tokens(&[token])?;
        Ok(String::from_utf8_lossy(self.vocabulary.text(token)).into_owned())
    }

    /// Tokens to the bytes of their text, which need not be whole characters: the bytes of all tokens, without the spaces that the tokenizer puts in
    /// front of texts. `remove_special` leaves out the special tokens at the ends that it adds; `unparse_special` writes control tokens as text.
    ///
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`]; [`TokenizerError::Stopped`] once `stop` says so.
    pub fn detokenize_bytes(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, TokenizerError> {
        self.check_tokens(tokens)?;
        let tokens = if remove_special { self.without_added(tokens) } else { tokens };
        let (mut bytes, mut start) = (Vec::with_capacity(tokens.len() * 6), 0);
        let has_spaces = self.puts_spaces();
        for (index, token) in tokens.iter().enumerate() {
            if index % BETWEEN_LOOKS == 0 && stop() {
                return Err(TokenizerError::Stopped);
            }
            let divides = has_spaces && self.vocabulary.attributes(*token).is_special();
            if divides {
                self.remove_space(&mut bytes, start);
            }
            self.push_bytes(*token, unparse_special, &mut bytes);
            if divides {
                // `WordPiece` begins every word with a space, so one after a special token may belong to the text.
                start = if self.kind == TokenizerKind::WordPiece { usize::MAX } else { bytes.len() };
            }
        }
        if has_spaces {
            self.remove_space(&mut bytes, start);
        }
        Ok(bytes)
    }

    /// [`Tokenizer::detokenize_bytes`] as text; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`].
    pub fn detokenize(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
    ) -> Result<String, TokenizerError> {
        self.detokenize_unless(tokens, remove_special, unparse_special, NEVER)
    }

    /// [`Tokenizer::detokenize`] that ends soon once `stop` says so.
    ///
    /// # Errors
    /// [`TokenizerError::TokenOutOfRange`]; [`TokenizerError::Stopped`].
    pub fn detokenize_unless(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
        stop: Stop<'_>,
    ) -> Result<String, TokenizerError> {
        let bytes = self.detokenize_bytes(tokens, remove_special, unparse_special, stop)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// [`Tokenizer::detokenize`] for many token lists, in parallel; results in the order of the lists.
    ///
    /// # Errors
    /// The error of a list that has one; [`TokenizerError::Stopped`] once `stop` says so.
    pub fn detokenize_batch<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        remove_special: bool,
        unparse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, TokenizerError> {
        let text =
            |tokens: &T| self.detokenize_unless(tokens.as_ref(), remove_special, unparse_special, stop);
        tabagent_gguf::spread(|| lists.par_iter().map(text).collect())
    }

    fn without_added<'t>(&self, tokens: &'t [TokenId]) -> &'t [TokenId] {
        let (front, back) = self.added();
        let tokens = tokens.strip_prefix(front.as_slice()).unwrap_or(tokens);
        tokens.strip_suffix(back.as_slice()).unwrap_or(tokens)
    }

    /// Whether the tokenizer puts a space in front of a text and behind special tokens.
    fn puts_spaces(&self) -> bool {
        match &self.algorithm {
            Algorithm::WordPiece(_) => true,
            Algorithm::SentencePiece(model) => model.space_in_front,
            Algorithm::Unigram(model) => model.puts_spaces(),
            Algorithm::Bpe(_) | Algorithm::Rwkv(_) | Algorithm::Plamo2(_) => false,
        }
    }

    /// Removes the space at `start`, which may lie beyond the end.
    fn remove_space(&self, bytes: &mut Vec<u8>, start: usize) {
        let Some(piece) = bytes.get(start..) else { return };
        // Unigram puts its space in front of the first character that is not a space, others always.
        let is_there = self.kind != TokenizerKind::Unigram || piece.iter().any(|byte| *byte != b' ');
        if is_there && piece.starts_with(b" ") {
            bytes.remove(start);
        }
    }

    /// Appends the bytes of a token that exists (`llama_vocab::impl::token_to_piece` in `src/llama-vocab.cpp`).
    fn push_bytes(&self, token: TokenId, special: bool, bytes: &mut Vec<u8>) {
        let attributes = self.vocabulary.attributes(token);
        if attributes.is_marker() && !special {
            return;
        }
        let text = self.vocabulary.text(token);
        match self.kind {
            TokenizerKind::Rwkv => bytes.extend(rwkv::unescaped(text)),
            TokenizerKind::Plamo2 => match written_byte(text) {
                Some(byte) if attributes.has(Attributes::BYTE) => bytes.push(byte),
                _ => bytes.extend_from_slice(text),
            },
            _ if attributes.is_special() => bytes.extend_from_slice(text),
            _ if attributes.has(Attributes::NORMAL) => match &self.algorithm {
                Algorithm::Bpe(bpe) if !bpe.pre.escape_spaces => push_decoded(text, bytes),
                _ => spaces::unescape(text, bytes),
            },
            _ if attributes.has(Attributes::BYTE) => bytes.extend(written_byte(text)),
            _ => {}
        }
    }
}

/// Appends what a text in GPT-2's alphabet stands for; a character that is not in it is named, as `llama_decode_text` does.
fn push_decoded(text: &[u8], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    if byte_alphabet::decode(text, bytes) {
        return;
    }
    bytes.truncate(start);
    for character in Characters::lossy(text) {
        let byte = char::from_u32(character).and_then(byte_alphabet::byte);
        if let Some(byte) = byte {
            bytes.push(byte);
            continue;
        }
        let mut utf8 = Vec::new();
        characters::encode(character, &mut utf8);
        bytes.extend_from_slice(b"[UNK_BYTE_0x");
        for byte in utf8 {
            bytes.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        bytes.extend_from_slice(text);
        bytes.push(b']');
    }
}
