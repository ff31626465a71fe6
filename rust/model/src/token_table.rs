//! A vocabulary as constraints see it.

use std::sync::Arc;

use tabagent_llama::{Vocab, VocabKind};
use tabagent_runtime::TokenId;
use tabagent_sampling::constraint::{GrammarError, TokenTable, Tokenizer};

/// The table of a vocabulary's tokens: each with the bytes that a stream shows of it. Tokens of which it shows nothing (control tokens and
/// the unknown token) are special, as are those of `ends`, which end a text.
///
/// `tokenizer` writes forced texts; [`Vocab::tokenize_within`] does it as the model knows them.
///
/// # Errors
///
/// [`GrammarError::Argument`] if the vocabulary has no texts or too many tokens.
pub fn token_table(
    vocab: &Vocab,
    ends: &[TokenId],
    tokenizer: Tokenizer,
) -> Result<Arc<TokenTable>, GrammarError> {
    if vocab.kind() == VocabKind::None {
        let message = "this model has no tokenizer, so there are no texts that a grammar could allow";
        return Err(GrammarError::Argument { message: message.to_owned() });
    }
    let tokens = (0..vocab.len() as TokenId).map(|token| {
        let mut bytes = Vec::new();
        // The only error is a token that does not exist; a token without text is never allowed.
        let _ = vocab.push_token_bytes(token, false, &mut bytes);
        let hidden = bytes.is_empty();
        if hidden {
            let _ = vocab.push_token_bytes(token, true, &mut bytes);
        }
        (bytes, hidden)
    });
    TokenTable::with_tokenizer(tokens, ends, tokenizer)
}
