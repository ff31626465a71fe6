//! The tokens of a vocabulary in another process.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::batch::TokenId;
use crate::vocab::Vocab;
use crate::{TokenAttributes, VocabError};

/// What a vocabulary says of each of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VocabTable {
    /// The bytes that tokens add to a text, markers included, one token after another.
    bytes: Texts,
    /// The tokens as the vocabulary writes them.
    texts: Texts,
    scores: Vec<f32>,
    attributes: Vec<u32>,
    #[serde(with = "serde_bytes")]
    flags: Vec<u8>,
    /// Tokens whose bytes without markers are neither those with them nor none.
    others: Vec<(TokenId, Vec<u8>)>,
}

/// Texts of all tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Texts {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    /// Where each begins; made of the lengths.
    #[serde(skip)]
    starts: Vec<usize>,
}

/// Tokens are asked for in parts of so many.
const PART: usize = 4096;

/// It has no text without markers.
const HIDDEN: u8 = 1;
/// It ends a generation.
const ENDS: u8 = 1 << 1;
/// It is a control token.
const CONTROL: u8 = 1 << 2;
/// llama.cpp gives no bytes for it.
const FAILS: u8 = 1 << 3;

impl VocabTable {
    pub(crate) fn of(vocab: &Vocab) -> Self {
        let n_tokens = vocab.len();
        let parts: Vec<Self> = tabagent_gguf::spread(|| {
            let starts = (0..n_tokens.div_ceil(PART)).into_par_iter();
            starts.map(|part| Self::of_part(vocab, part * PART..n_tokens.min((part + 1) * PART))).collect()
        });
        parts.into_iter().reduce(Self::joined).unwrap_or_default()
    }

    fn of_part(vocab: &Vocab, tokens: Range<usize>) -> Self {
        let (mut table, mut shown, mut plain) = (Self::default(), Vec::new(), Vec::new());
        for token in tokens.start as TokenId..tokens.end as TokenId {
            shown.clear();
            plain.clear();
            let all = vocab.push_token_bytes(token, true, &mut shown);
            let fails = all.and_then(|()| vocab.push_token_bytes(token, false, &mut plain)).err();
            let mut flags = 0;
            let mut set = |bit: u8, holds: bool| flags |= if holds { bit } else { 0 };
            set(ENDS, vocab.is_eog(token));
            set(CONTROL, vocab.is_control(token));
            // A vocabulary without texts has none to fail with.
            set(FAILS, fails.as_ref().is_some_and(|error| *error != VocabError::NoTokenizer));
            if fails.is_some() {
                shown.clear();
                plain.clear();
            }
            set(HIDDEN, plain.is_empty());
            if plain != shown && !plain.is_empty() {
                table.others.push((token, plain.clone()));
            }
            table.bytes.push(&shown);
            table.texts.push(vocab.token_text(token).unwrap_or_default().as_bytes());
            table.scores.push(vocab.token_score(token).unwrap_or_default());
            table.attributes.push(vocab.token_attributes(token).map_or(0, |attributes| attributes.0));
            table.flags.push(flags);
        }
        table
    }

    /// The tokens of `self`, then those of `other`.
    fn joined(mut self, other: Self) -> Self {
        self.bytes.append(other.bytes);
        self.texts.append(other.texts);
        self.scores.extend(other.scores);
        self.attributes.extend(other.attributes);
        self.flags.extend(other.flags);
        self.others.extend(other.others);
        self
    }

    /// Makes it ready for questions, and tells whether it is one: it came from another process.
    pub(crate) fn prepare(&mut self) -> bool {
        let n = self.flags.len();
        let is_whole = self.bytes.prepare() && self.texts.prepare();
        let columns =
            [self.bytes.starts.len(), self.texts.starts.len(), self.scores.len(), self.attributes.len()];
        is_whole && columns.iter().all(|len| *len == n)
    }

    pub(crate) fn len(&self) -> usize {
        self.flags.len()
    }

    /// The bytes of a token that exists; `None` where llama.cpp gives none.
    pub(crate) fn bytes(&self, token: TokenId, special: bool) -> Option<&[u8]> {
        let flags = self.flags(token);
        if flags & FAILS != 0 {
            return None;
        }
        if special {
            return Some(self.bytes.get(token));
        }
        if let Ok(at) = self.others.binary_search_by_key(&token, |(other, _)| *other) {
            return Some(&self.others[at].1);
        }
        Some(if flags & HIDDEN == 0 { self.bytes.get(token) } else { &[] })
    }

    pub(crate) fn text(&self, token: TokenId) -> String {
        String::from_utf8_lossy(self.texts.get(token)).into_owned()
    }

    pub(crate) fn score(&self, token: TokenId) -> f32 {
        self.scores.get(token as usize).copied().unwrap_or_default()
    }

    pub(crate) fn attributes(&self, token: TokenId) -> TokenAttributes {
        TokenAttributes(self.attributes.get(token as usize).copied().unwrap_or_default())
    }

    pub(crate) fn ends(&self, token: TokenId) -> bool {
        self.flags(token) & ENDS != 0
    }

    pub(crate) fn is_control(&self, token: TokenId) -> bool {
        self.flags(token) & CONTROL != 0
    }

    fn flags(&self, token: TokenId) -> u8 {
        self.flags.get(token as usize).copied().unwrap_or_default()
    }
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.lengths.push(text.len() as u32);
    }

    fn append(&mut self, other: Self) {
        self.bytes.extend(other.bytes);
        self.lengths.extend(other.lengths);
    }

    /// Finds where each text begins; false if the texts do not make up the bytes.
    fn prepare(&mut self) -> bool {
        self.starts.clear();
        let mut end = 0_usize;
        for length in &self.lengths {
            self.starts.push(end);
            end = end.saturating_add(*length as usize);
        }
        end == self.bytes.len()
    }

    fn get(&self, token: TokenId) -> &[u8] {
        let index = token as usize;
        let start = self.starts.get(index).copied().unwrap_or_default();
        let length = self.lengths.get(index).copied().unwrap_or_default() as usize;
        self.bytes.get(start..start + length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unprepared() -> VocabTable {
        let mut table = VocabTable::default();
        for (text, flags) in [("a", 0), ("", 0), ("<end>", HIDDEN | ENDS | CONTROL), ("é", 0), ("", FAILS)] {
            table.bytes.push(text.as_bytes());
            table.texts.push(text.as_bytes());
            table.scores.push(-1.5);
            table.attributes.push(4);
            table.flags.push(flags);
        }
        table.others.push((3, b"e".to_vec()));
        table
    }

    fn table() -> VocabTable {
        let mut table = unprepared();
        assert!(table.prepare());
        table
    }

    #[test]
    fn parts_make_up_the_whole() {
        let mut twice = unprepared().joined(unprepared());
        assert!(twice.prepare());
        assert_eq!((twice.len(), twice.bytes(8, true)), (10, Some("é".as_bytes())));
    }

    #[test]
    fn a_table_says_what_was_put_in() {
        let table = table();
        assert_eq!(table.bytes(0, false), Some(&b"a"[..]));
        assert_eq!(table.bytes(1, true), Some(&b""[..]));
        assert_eq!((table.bytes(2, true), table.bytes(2, false)), (Some(&b"<end>"[..]), Some(&b""[..])));
        assert_eq!((table.bytes(3, true), table.bytes(3, false)), (Some("é".as_bytes()), Some(&b"e"[..])));
        assert_eq!(table.bytes(4, true), None);
        assert!(table.ends(2) && table.is_control(2) && !table.ends(0));
        assert_eq!((table.text(3), table.score(3), table.attributes(3).0), ("é".to_owned(), -1.5, 4));
    }

    #[test]
    fn a_table_whose_columns_do_not_fit_is_none() {
        let mut short = unprepared();
        short.scores.pop();
        assert!(!short.prepare());
        let mut long = unprepared();
        long.bytes.lengths[0] = u32::MAX;
        assert!(!long.prepare());
    }
}
