//! `SentencePiece`'s byte-pair encoding (`llm_tokenizer_spm_session` in `src/llama-vocab.cpp`).

use std::ops::Range;

use crate::error::TokenizerError;
use crate::output::TokenId;
use crate::spaces::{self, Seams};
use crate::text_table::TextTable;
use crate::vocabulary::{TOKENS, Vocabulary};
use crate::word_merger::{Rule, WordMerger};
use crate::work::Work;

/// A tokenizer that merges the characters of a text wherever the result is a token, that of the highest score first.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    merger: WordMerger,
    seams: Seams,
    /// Puts a space in front of a text, and in front of what follows a special token.
    pub(crate) space_in_front: bool,
}

impl SentencePiece {
    /// For a vocabulary.
    pub(crate) fn new(vocabulary: &Vocabulary, space_in_front: bool) -> Result<Self, TokenizerError> {
        let mut seams = Seams::default();
        let mut symbols = TextTable::with_room(vocabulary.len());
        for id in vocabulary.ids() {
            let text = vocabulary.text(id);
            seams.note(text);
            // They are unique, so a symbol's number is its token's id.
            symbols.insert(text).ok();
        }
        let bytes = (0..=u8::MAX)
            .map(|byte| {
                let token = vocabulary.byte_token(byte).or_else(|| vocabulary.find(&[byte]));
                // A character's bytes are those of its UTF-8, which never has these.
                let is_needed = !matches!(byte, 0xc0 | 0xc1 | 0xf5..);
                match token {
                    None if is_needed => Err(TokenizerError::invalid(
                        TOKENS,
                        format!("has no token `<0x{byte:02X}>`, which a SentencePiece vocabulary needs"),
                    )),
                    token => Ok(token.into_iter().collect()),
                }
            })
            .collect::<Result<_, _>>()?;
        let tokens: Vec<TokenId> = vocabulary.ids().collect();
        let merger = WordMerger {
            whole: WordMerger::whole(&tokens, false),
            symbols,
            tokens,
            rule: Rule::Texts(vocabulary.scores.iter().map(|score| rank(*score)).collect()),
            bytes,
            singles: None,
        };
        Ok(Self { merger, seams, space_in_front })
    }

    /// Adds the tokens of `span` of `text`, with a space in front of it if `is_first`.
    pub(crate) fn tokenize(&self, text: &[u8], span: Range<usize>, is_first: bool, work: &mut Work<'_>) {
        let mut escaped = Vec::new();
        if is_first && self.space_in_front {
            escaped.extend_from_slice(spaces::SPACE);
        }
        let added = escaped.len();
        spaces::escape(&text[span.clone()], &mut escaped);
        work.cache.begin(escaped.len());
        let first = work.out.tokens.len();
        self.seams.split(&escaped, 0..escaped.len(), &mut |start, end| {
            self.merger.tokenize(&escaped, start..end, work);
            work.goes_on()
        });
        spaces::place(&mut work.out, first, text, &span, added);
    }
}

/// A number that is lower for a higher score, and equal for equal ones.
fn rank(score: f32) -> u32 {
    // Both zeros are equal.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !rising
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_go_first() {
        let scores = [f32::INFINITY, 2.5, 1e-40, 0.0, -1e-40, -1.0, -1000.5, f32::NEG_INFINITY];
        let ranks = scores.map(rank);
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(rank(-0.0), rank(0.0));
        assert!(ranks[7] < u32::MAX);
    }
}
