//! From what a user gives as a prompt to its tokens.

use tabagent_llama::{Prompt, TokenId, Vocab, VocabKind};

use crate::error::Error;

/// A prompt as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptInput<T> {
    /// A text, to be tokenized.
    Text(T),
    /// Its tokens.
    Tokens(Vec<TokenId>),
}

impl<T: AsRef<str>> PromptInput<T> {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_ref()),
            Self::Tokens(_) => None,
        }
    }
}

/// A text of more bytes is measured before it is tokenized: llama.cpp's tokenizers take long for texts that could not be decoded anyway.
const LONG_TEXT: usize = 1 << 18;

/// The prompt's tokens; an error if they surely are more than `n_ctx`. With `add_special` the special tokens that the model wants at its ends are there once.
pub(crate) fn tokens_of<T: AsRef<str>>(
    vocab: &Vocab,
    prompt: PromptInput<T>,
    n_ctx: Option<usize>,
    add_special: bool,
    parse_special: bool,
) -> Result<Prompt, Error> {
    let plain = |tokens| Prompt { tokens, ..Prompt::default() };
    match prompt {
        PromptInput::Text(text) => {
            let text = text.as_ref();
            if let Some(n_ctx) = n_ctx
                && text.len() > LONG_TEXT
            {
                let fewest = vocab.fewest_tokens(text);
                if fewest > n_ctx {
                    return Err(Error::PromptTooLong { fewest, n_ctx });
                }
            }
            if add_special {
                return Ok(vocab.tokenize_prompt(text, parse_special)?);
            }
            Ok(plain(vocab.tokenize(text, false, parse_special)?))
        }
        // A model without a tokenizer wants nothing at the ends.
        PromptInput::Tokens(tokens) if !add_special || vocab.kind() == VocabKind::None => Ok(plain(tokens)),
        PromptInput::Tokens(tokens) => Ok(vocab.with_special_once(tokens)?),
    }
}

/// What to tell a user whose prompt, called `name`, had special tokens that the model's texts have anyway; `or_not` says how to keep them.
pub(crate) fn remarks(
    vocab: &Vocab,
    prompt: &Prompt,
    name: &str,
    or_not: &str,
) -> Result<Vec<String>, Error> {
    let ends = [("begins", "begin", prompt.doubled_front), ("ends", "end", prompt.doubled_back)];
    let mut remarks = Vec::new();
    for (does, end, token) in ends {
        let Some(token) = token else { continue };
        let marker = vocab.token_text(token)?;
        remarks.push(format!(
            "`{name}` {does} with `{marker}` (token {token}), with which all texts of this model {end} anyway, so it was not put there \
             again; leave it out of `{name}`{or_not}"
        ));
    }
    Ok(remarks)
}
