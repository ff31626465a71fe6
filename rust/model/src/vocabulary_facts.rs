//! What the sampler asks of a vocabulary, looked up once per model.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tabagent_llama::{Vocab, VocabError};
use tabagent_sampling::{Breakers, TokenPieces};

/// How many sets of breakers are remembered.
const REMEMBERED: usize = 8;

/// Where repetitions end for DRY: at a text, or after a sequence of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// The text, wherever it ends in a token.
    Text(String),
    /// The tokens, in this order.
    Tokens(Vec<i32>),
}

/// Breakers as they were given, and what the vocabulary makes of them.
type Known = (Vec<Breaker>, Arc<Breakers>);

/// Facts about one model's vocabulary, each found when it is first asked for.
#[derive(Default)]
pub(crate) struct VocabularyFacts {
    pieces: OnceLock<Arc<TokenPieces>>,
    breakers: Mutex<Vec<Known>>,
}

impl VocabularyFacts {
    /// The bytes of all tokens, control tokens empty, and those that end a text.
    pub(crate) fn pieces(&self, vocab: &Vocab, ending: &[i32]) -> Result<Arc<TokenPieces>, VocabError> {
        if let Some(known) = self.pieces.get() {
            return Ok(Arc::clone(known));
        }
        let pieces = TokenPieces::new(texts(vocab, false)?, ending, vocab.token_eot().or(vocab.token_eos()));
        Ok(Arc::clone(self.pieces.get_or_init(|| Arc::new(pieces))))
    }

    /// The sequences of tokens that `given` stands for.
    pub(crate) fn breakers(&self, vocab: &Vocab, given: &[Breaker]) -> Result<Arc<Breakers>, VocabError> {
        let mut known = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, breakers)) = known.iter().find(|(texts, _)| texts == given) {
            return Ok(Arc::clone(breakers));
        }
        let sequences = given.iter().filter_map(|breaker| match breaker {
            Breaker::Tokens(tokens) => Some(tokens.as_slice()),
            Breaker::Text(_) => None,
        });
        let mut breakers = Breakers::from_sequences(sequences);
        let pieces = texts(vocab, true)?;
        for breaker in given {
            if let Breaker::Text(text) = breaker {
                let tokenize = |rest: &str| vocab.tokenize(rest, false, false);
                let mut failed = None;
                breakers.add_text(text, &pieces, |rest| {
                    tokenize(rest).unwrap_or_else(|error| {
                        failed = Some(error);
                        Vec::new()
                    })
                });
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        }
        if known.len() == REMEMBERED {
            known.remove(0);
        }
        let breakers = Arc::new(breakers);
        known.push((given.to_vec(), Arc::clone(&breakers)));
        Ok(breakers)
    }
}

/// The bytes of every token, by id.
fn texts(vocab: &Vocab, special: bool) -> Result<Vec<Vec<u8>>, VocabError> {
    (0..vocab.len() as i32).map(|token| vocab.token_bytes(token, special)).collect()
}
