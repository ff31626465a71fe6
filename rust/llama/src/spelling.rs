//! Tokens that spell a text exactly.

use crate::batch::TokenId;
use crate::{Vocab, VocabError, VocabKind};

/// A character for private use. Hardly any vocabulary has it, and if one does, it is a token by itself, so the text behind it becomes tokens of its own.
const FOREIGN: char = '\u{E000}';

impl Vocab {
    /// The tokens of `text` as they come in the middle of a longer text: no special ones, and without the space that some vocabularies
    /// put in front of every text. `None` where the tokenizer cannot write exactly this text, since it leaves out or changes characters.
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn tokenize_within(&self, text: &str) -> Result<Option<Vec<TokenId>>, VocabError> {
        let alone = self.tokenize(text, false, false)?;
        if self.where_spelled(&alone, text) == Some(0) {
            return Ok(Some(alone));
        }
        let mut longer = self.tokenize(&format!("{FOREIGN}{text}"), false, false)?;
        Ok(self.where_spelled(&longer, text).map(|from| longer.split_off(from)))
    }

    /// The tokens of `text` where it continues a text whose last token is `last`: without the space that some vocabularies put in front of
    /// texts, unless `last` is a special token, after which they put one, too. `parse_special` as for [`Vocab::tokenize`].
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn tokenize_after(
        &self,
        last: Option<TokenId>,
        text: &str,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        let alone = self.tokenize(text, false, parse_special)?;
        let Some(last) = last else { return Ok(alone) };
        // `WordPiece` begins words with a space wherever they are.
        let is_word_piece = self.kind() == VocabKind::WordPiece;
        if is_word_piece || !self.additions()?.space_in_front || self.token_attributes(last)?.is_special() {
            return Ok(alone);
        }
        let foreign = self.tokenize(&FOREIGN.to_string(), false, false)?;
        let mut longer = self.tokenize(&format!("{FOREIGN}{text}"), false, parse_special)?;
        // Unigram merges unknown characters beside each other into one token, so an unknown character at the beginning of `text` may have no
        // token of its own left.
        let is_apart = longer.starts_with(&foreign)
            && (self.kind() != VocabKind::Unigram || longer.len() + 1 >= foreign.len() + alone.len());
        Ok(if is_apart { longer.split_off(foreign.len()) } else { alone })
    }

    /// The index from which on `tokens` spell exactly `text`.
    fn where_spelled(&self, tokens: &[TokenId], text: &str) -> Option<usize> {
        let (mut rest, mut piece) = (text.as_bytes(), Vec::new());
        for (index, token) in tokens.iter().enumerate().rev() {
            if rest.is_empty() {
                return Some(index + 1);
            }
            piece.clear();
            self.push_token_bytes(*token, false, &mut piece).ok()?;
            rest = rest.strip_suffix(piece.as_slice())?;
        }
        rest.is_empty().then_some(0)
    }
}
