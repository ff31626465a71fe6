//! Texts for which llama.cpp's tokenizers take quadratic time.
//!
//! Such a text would keep a core busy for minutes or hours, and nothing can stop it. Texts with many special tokens are cut into pieces that
//! give the same tokens; others are refused. Figures are of the pinned build on one core.

use crate::special_text::SpecialText;
use crate::vocab::Vocab;
use crate::vocab_error::VocabError;
use crate::vocab_kind::VocabKind;
use std::collections::HashSet;
use std::sync::OnceLock;

/// Texts up to this length are tokenized quickly, whatever they hold.
const SHORT: usize = 4 * 1024;

/// What makes the tokenizer of one model slow.
#[derive(Debug, Default)]
pub(crate) struct SlowText {
    runs: Option<Runs>,
    /// Characters that occur in the tokens of a `SentencePiece` vocabulary.
    known: OnceLock<HashSet<char>>,
    /// Finds special tokens, without and with those that are only parsed when that is asked for.
    special: [OnceLock<Option<SpecialText>>; 2],
}

/// A run of characters of one kind, which a regular expression scans again from each of them (`llm_tokenizer_bpe` in `src/llama-vocab.cpp`).
#[derive(Clone, Copy, Debug)]
struct Runs {
    what: &'static str,
    is_one: fn(char) -> bool,
    limit: usize,
}

/// Limit of unknown characters: `llm_tokenizer_spm_session::resegment` reserves room for each exactly, which copies all tokens so far: 80,000 take 14 s.
const UNKNOWN_CHARACTERS: usize = 100_000;
/// `tokenizer_st_partition` walks its list of fragments from the beginning for each special token: 40,000 take 27 s.
const SPECIAL_TOKENS: usize = 30_000;
/// Special tokens per piece of a text; a text with more is cut, where that is possible.
const SPECIAL_TOKENS_OF_A_PIECE: usize = 1_000;

impl SlowText {
    /// For the pre-tokenizer of this name.
    pub(crate) fn new(pre: Option<&str>) -> Self {
        let digits = |limit| Runs { what: "digits in a row", is_one: |c| c.is_ascii_digit(), limit };
        let spaces = |limit| Runs { what: "spaces in a row", is_one: char::is_whitespace, limit };
        let runs = match pre {
            // `(?=(\d{3})+(?!\d))` and `\s+$`: 12,000 take 5 to 7 s.
            Some("superbpe") => Some(digits(6_000)),
            Some("deepseek-llm") => Some(spaces(6_000)),
            // `\s*[\r\n]+` is tried again after every 512: 80,000 take 1 to 3 s.
            Some("jais-2") => Some(spaces(100_000)),
            _ => None,
        };
        Self { runs, ..Self::default() }
    }

    /// Cuts `text` into pieces that are each tokenized quickly enough and together give the same tokens as the whole.
    ///
    /// # Errors
    /// [`VocabError::TooSlow`] if there are no such pieces.
    pub(crate) fn pieces<'t>(
        &self,
        vocab: &Vocab,
        text: &'t str,
        parse_special: bool,
    ) -> Result<Vec<&'t str>, VocabError> {
        if text.len() <= SHORT {
            return Ok(vec![text]);
        }
        let refuse = |what, count, limit| {
            if count > limit { Err(VocabError::TooSlow { what, count, limit }) } else { Ok(()) }
        };
        if let Some(Runs { what, is_one, limit }) = self.runs {
            refuse(what, longest_run(text, is_one), limit)?;
        }
        if vocab.kind() == VocabKind::SentencePiece && text.len() > UNKNOWN_CHARACTERS {
            let known =
                self.known.get_or_init(|| texts(vocab, |_| true).collect::<String>().chars().collect());
            // Spaces become `▁`.
            let unknown = text.chars().filter(|c| *c != ' ' && !known.contains(c)).count();
            refuse("characters that are not in the vocabulary", unknown, UNKNOWN_CHARACTERS)?;
        }
        let special = self.special[usize::from(parse_special)].get_or_init(|| special(vocab, parse_special));
        let Some(special) = special else { return Ok(vec![text]) };
        let (pieces, most) = special.cut(text, SPECIAL_TOKENS_OF_A_PIECE);
        refuse("special tokens", most, SPECIAL_TOKENS)?;
        Ok(pieces)
    }
}

fn longest_run(text: &str, is_one: fn(char) -> bool) -> usize {
    text.split(|c: char| !is_one(c)).map(|run| run.chars().count()).max().unwrap_or(0)
}

/// The texts of the tokens that `is_wanted` by their attributes.
fn texts(vocab: &Vocab, is_wanted: fn(u32) -> bool) -> impl Iterator<Item = String> {
    let ids = 0..i32::try_from(vocab.len()).unwrap_or(i32::MAX);
    ids.filter(move |id| vocab.token_attributes(*id).is_ok_and(|bits| is_wanted(bits.0)))
        .filter_map(|id| vocab.token_text(id).ok())
        .filter(|text| !text.is_empty())
}

/// Finds the tokens that are cut out of a text before all else (`cache_special_tokens` in `src/llama-vocab.cpp`).
fn special(vocab: &Vocab, parse_special: bool) -> Option<SpecialText> {
    const UNKNOWN: u32 = 1;
    const CONTROL: u32 = 1 << 3;
    const USER_DEFINED: u32 = 1 << 4;
    const STRIPS_LEFT: u32 = 1 << 7;
    const STRIPS_RIGHT: u32 = 1 << 8;
    let is_special: fn(u32) -> bool = if parse_special {
        |bits: u32| bits & (UNKNOWN | CONTROL | USER_DEFINED) != 0
    } else {
        |bits: u32| bits & USER_DEFINED != 0 && bits & (UNKNOWN | CONTROL) == 0
    };
    let strips = texts(vocab, |bits| bits & (STRIPS_LEFT | STRIPS_RIGHT) != 0).next().is_some();
    SpecialText::new(texts(vocab, is_special), !strips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_counts_characters() {
        assert_eq!(longest_run("12a345b", |c| c.is_ascii_digit()), 3);
        assert_eq!(longest_run("a\u{3000}\u{3000}\u{85} b", char::is_whitespace), 4);
        assert_eq!(longest_run("", char::is_whitespace), 0);
    }
}
