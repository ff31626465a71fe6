//! Prompts with the special tokens that the model wants at their ends, each once.

use crate::batch::TokenId;
use crate::{Vocab, VocabError};

/// A prompt's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens.
    pub tokens: Vec<TokenId>,
    /// The special token at the front that the prompt already had; it is there once.
    pub doubled_front: Option<TokenId>,
    /// The special token at the end that the prompt already had; it is there once.
    pub doubled_back: Option<TokenId>,
}

impl Vocab {
    /// Tokenizes a prompt and adds the special tokens that the model wants around it (BOS, EOS), each once: where the text already begins or
    /// ends with the markers of those tokens, the result says so. Without `parse_special` a marker is plain text.
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn tokenize_prompt(&self, text: &str, parse_special: bool) -> Result<Prompt, VocabError> {
        let inner = self.tokenize(text, false, parse_special)?;
        let added = self.additions()?;
        let mut tokens = Vec::with_capacity(added.front.len() + inner.len() + added.back.len());
        tokens.extend(&added.front);
        tokens.extend(inner);
        tokens.extend(&added.back);
        if parse_special {
            self.with_special_once(tokens)
        } else {
            Ok(Prompt { tokens, ..Prompt::default() })
        }
    }

    /// Makes a prompt of tokens; removes repetitions of the special tokens that the model wants at its ends.
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn with_special_once(&self, mut tokens: Vec<TokenId>) -> Result<Prompt, VocabError> {
        let added = self.additions()?;
        let mut prompt = Prompt::default();
        // The same token may serve at both ends; a prompt of only that token then keeps two of it.
        let both = usize::from(added.front == added.back) * added.back.len();
        let mut doubled = 0;
        while repeats(&tokens[doubled..], &added.front, both) {
            doubled += added.front.len();
            prompt.doubled_front = added.front.first().copied();
        }
        tokens.drain(..doubled);
        while tokens.len() > added.front.len() && ends_twice(&tokens[added.front.len()..], &added.back) {
            tokens.truncate(tokens.len() - added.back.len());
            prompt.doubled_back = added.back.first().copied();
        }
        prompt.tokens = tokens;
        Ok(prompt)
    }
}

/// Whether `tokens` begin with `front` twice, and have `more` tokens besides.
fn repeats(tokens: &[TokenId], front: &[TokenId], more: usize) -> bool {
    let rest = tokens.strip_prefix(front).filter(|_| !front.is_empty());
    rest.and_then(|rest| rest.strip_prefix(front)).is_some_and(|rest| rest.len() >= more)
}

/// Whether `tokens` end with `back` twice.
fn ends_twice(tokens: &[TokenId], back: &[TokenId]) -> bool {
    let rest = tokens.strip_suffix(back).filter(|_| !back.is_empty());
    rest.is_some_and(|rest| rest.ends_with(back))
}
