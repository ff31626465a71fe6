//! `WordPiece` (`llm_tokenizer_wpm_session` in `src/llama-vocab.cpp`).

use std::ops::Range;

use crate::characters::{CONTROL, Characters, MARK, PUNCTUATION, SPACE, SYMBOL, decode, encode};
use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::output::TokenId;
use crate::spaces;
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;
use crate::work::Work;

/// A tokenizer that takes the longest token that a word begins with, then the longest that the rest begins with, and so on.
#[derive(Debug)]
pub(crate) struct WordPiece {
    trie: Trie,
    lowercase: bool,
    strip_accents: bool,
    unknown: Option<TokenId>,
}

/// A word, with `▁` in front, and where its bytes come from.
#[derive(Debug, Default)]
struct Word {
    bytes: Vec<u8>,
    /// For each byte where its character begins and ends in the text, if that is wanted.
    places: Option<Vec<Range<usize>>>,
}

impl WordPiece {
    /// Reads how a file's texts are normalized.
    pub(crate) fn read(
        keys: Keys<'_>,
        vocabulary: &Vocabulary,
        unknown: Option<TokenId>,
    ) -> Result<Self, TokenizerError> {
        let lowercase = keys.flag("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
        let strip_accents = keys.flag("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
        let trie = Trie::new(vocabulary.ids().map(|id| (vocabulary.text(id), id)));
        Ok(Self { trie, lowercase, strip_accents, unknown })
    }

    /// Adds the tokens of `span` of `text`.
    pub(crate) fn tokenize(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) {
        let table = Characters::get();
        let mut word = Word { places: work.out.spans.is_some().then(Vec::new), ..Word::default() };
        word.clear(span.start);
        let mut at = span.start;
        while at < span.end {
            let (original, next) = decode(text, at);
            let place = at..next;
            at = next;
            let character = if self.strip_accents { table.decomposed(original) } else { original };
            let class = table.class(character);
            if class == SPACE {
                if !self.end(&mut word, at, work) {
                    return;
                }
                continue;
            }
            let is_dropped = character == 0 || character == 0xfffd || class == CONTROL;
            if is_dropped || self.strip_accents && class == MARK {
                continue;
            }
            let written = if self.lowercase { table.lowercase(character) } else { character };
            let is_alone =
                class == PUNCTUATION || class == SYMBOL && character < 0x7f || is_chinese(character);
            if is_alone {
                if !self.end(&mut word, place.start, work) {
                    return;
                }
                word.push(written, place);
                if !self.end(&mut word, at, work) {
                    return;
                }
            } else {
                word.push(written, place);
            }
        }
        self.end(&mut word, span.end, work);
    }

    /// Adds the tokens of a word, and begins the next one.
    fn end(&self, word: &mut Word, next: usize, work: &mut Work<'_>) -> bool {
        if word.bytes.len() > spaces::SPACE.len() {
            let (first, mut at) = (work.out.tokens.len(), 0);
            while at < word.bytes.len() {
                let Some((length, id)) = self.trie.longest(&word.bytes[at..]) else {
                    work.out.truncate(first);
                    break;
                };
                let span = word.place(at, at + length);
                work.out.push(id, span.start, span.end);
                at += length;
            }
            if first == work.out.tokens.len()
                && let Some(unknown) = self.unknown
            {
                let span = word.place(0, word.bytes.len());
                work.out.push(unknown, span.start, span.end);
            }
        }
        word.clear(next);
        work.goes_on()
    }
}

impl Word {
    fn clear(&mut self, next: usize) {
        self.bytes.clear();
        self.bytes.extend_from_slice(spaces::SPACE);
        if let Some(places) = &mut self.places {
            places.clear();
            places.resize(spaces::SPACE.len(), next..next);
        }
    }

    fn push(&mut self, character: u32, place: Range<usize>) {
        encode(character, &mut self.bytes);
        if let Some(places) = &mut self.places {
            if self.bytes.len() > spaces::SPACE.len() && places.len() == spaces::SPACE.len() {
                places.fill(place.start..place.start);
            }
            places.resize(self.bytes.len(), place);
        }
    }

    fn place(&self, start: usize, end: usize) -> Range<usize> {
        match &self.places {
            Some(places) => places[start].start..places[end - 1].end,
            None => 0..0,
        }
    }
}

/// Characters that are words by themselves (`is_chinese_char`).
fn is_chinese(character: u32) -> bool {
    matches!(
        character,
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf
            | 0xf900..=0xfaff
            | 0x2_f800..=0x2_fa1f
    )
}
