//! Tokens that spell a text exactly.

use crate::batch::TokenId;
use crate::{Vocab, VocabError};

/// A character for private use: hardly a vocabulary has it, and if one does, then alone. What follows it in a text becomes tokens of its
/// own.
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

    /// From which token on `tokens` are exactly `text`.
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
