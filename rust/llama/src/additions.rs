//! What a tokenizer adds to a text by itself.

use crate::batch::TokenId;
use crate::{Vocab, VocabError, VocabKind};

/// What a tokenizer adds to every text, found by tokenizing one letter: llama.cpp reports only part of it (`add_bos`, not `add_space_prefix`),
/// and not in the same way for all kinds (`WordPiece` ends a text with SEP, whatever `add_eos` says).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Special tokens in front of a text.
    pub front: Vec<TokenId>,
    /// Special tokens behind a text.
    pub back: Vec<TokenId>,
    /// Whether it puts a space in front of a text, and in front of each piece of text after a special token.
    pub space_in_front: bool,
    /// Whether it puts a space behind a text, and behind each piece of text before a special token.
    pub space_behind: bool,
}

impl Vocab {
    /// What the tokenizer adds to every text.
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn additions(&self) -> Result<&Additions, VocabError> {
        if let Some(known) = self.additions.get() {
            return Ok(known);
        }
        let found = self.find_additions()?;
        Ok(self.additions.get_or_init(|| found))
    }

    fn find_additions(&self) -> Result<Additions, VocabError> {
        const LETTER: &str = "a";
        let inner = self.tokenize(LETTER, false, false)?;
        let whole = self.tokenize(LETTER, true, false)?;
        // A vocabulary without the letter, and without an unknown token, has no tokens for it.
        let from = if inner.is_empty() {
            usize::from(self.adds_bos() && whole.first().copied() == self.token_bos())
        } else {
            whole.windows(inner.len()).position(|window| window == inner).unwrap_or(0)
        };
        let (front, rest) = whole.split_at(from);
        let back = rest.get(inner.len()..).unwrap_or_default();
        let mut text = Vec::new();
        for token in &inner {
            self.push_token_bytes(*token, true, &mut text)?;
        }
        let is_more = text.len() > 1;
        // Every word gets a space (`llm_tokenizer_wpm_session::tokenize`), even if the vocabulary does not have the letter.
        let is_word_piece = self.kind() == VocabKind::WordPiece;
        Ok(Additions {
            front: front.to_vec(),
            back: back.to_vec(),
            space_in_front: is_word_piece || is_more && text.starts_with(b" "),
            space_behind: is_more && text.ends_with(b" "),
        })
    }
}
