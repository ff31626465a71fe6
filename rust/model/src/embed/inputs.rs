//! From what a user gives to the tokens that are computed.

use tabagent_llama::{TokenId, Vocab};
use tabagent_runtime::AbortFlag;

use super::options::EmbedOptions;
use crate::error::Error;
use crate::prompt::PromptInput;

/// The tokens of each text, none without and none with more than `longest`. Errors call a text by its `name`.
pub(crate) fn tokens_of<T: AsRef<str> + Sync>(
    vocab: &Vocab,
    texts: &[PromptInput<T>],
    longest: usize,
    options: &EmbedOptions,
    name: &dyn Fn(usize) -> String,
    stop: &AbortFlag,
) -> Result<Vec<Vec<TokenId>>, Error> {
    let plain: Vec<&str> = texts.iter().filter_map(PromptInput::text).collect();
    let tokenized = vocab
        .tokenize_batch_unless(&plain, options.add_special, options.parse_special, &|| stop.is_raised())
        .map_err(|error| if stop.is_raised() { Error::Stopped } else { error.into() })?;
    let mut tokenized = tokenized.into_iter();
    let mut all = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let mut tokens = match text {
            PromptInput::Text(_) => {
                let tokens = tokenized.next().unwrap_or_default();
                // A marker in the text may have named a token that was added anyway.
                if options.add_special && options.parse_special {
                    vocab.with_special_once(tokens)?.tokens
                } else {
                    tokens
                }
            }
            PromptInput::Tokens(tokens) => {
                vocab.check_tokens(tokens)?;
                tokens.clone()
            }
        };
        if tokens.is_empty() {
            return Err(Error::NoTokens { name: name(index) });
        }
        if tokens.len() > longest {
            if !options.truncate {
                return Err(Error::TextTooLong { name: name(index), tokens: tokens.len(), longest });
            }
            cut(vocab, &mut tokens, longest)?;
        }
        // Tokenizers make room for a token per byte.
        tokens.shrink_to_fit();
        all.push(tokens);
    }
    Ok(all)
}

/// Cuts tokens to `longest`. The special tokens at their end stay there, if the model wants them and there is room.
fn cut(vocab: &Vocab, tokens: &mut Vec<TokenId>, longest: usize) -> Result<(), Error> {
    let back = match vocab.additions() {
        Ok(added) if tokens.ends_with(&added.back) && added.back.len() < longest => added.back.clone(),
        // Tokens that were given need no tokenizer.
        Ok(_) | Err(tabagent_llama::VocabError::NoTokenizer) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    tokens.truncate(longest - back.len());
    tokens.extend(back);
    Ok(())
}
