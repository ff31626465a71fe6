//! Where the last few tokens of a text came before, and what followed them.

use std::collections::HashMap;
use std::ops::Range;

use crate::TokenId;

/// A text, with an index of where each few tokens came last.
#[derive(Debug)]
pub(super) struct Ngrams {
    lengths: Range<usize>,
    tokens: Vec<TokenId>,
    /// For each length, by the hash of so many tokens, the place after the last of them. A hash may be shared, and the text may have been cut, so
    /// what is found is compared.
    places: Vec<HashMap<u64, usize>>,
}

impl Ngrams {
    /// Finds matches of `lengths` tokens, of which the least is at least 1.
    pub(super) fn new(lengths: Range<usize>) -> Self {
        let places = lengths.clone().map(|_| HashMap::new()).collect();
        Self { lengths, tokens: Vec::new(), places }
    }

    pub(super) fn push(&mut self, token: TokenId) {
        let place = self.tokens.len();
        for (length, places) in self.lengths.clone().zip(&mut self.places) {
            if length <= place {
                places.insert(hash(&self.tokens[place - length..]), place);
            }
        }
        self.tokens.push(token);
    }

    /// Adds a token that nothing goes on with.
    pub(super) fn end_with(&mut self, token: TokenId) {
        self.tokens.push(token);
    }

    /// Forgets all tokens but the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        self.tokens.truncate(n);
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Appends `n` tokens that followed the last ones when they came before, the longest match first, of several the latest; none without a match.
    /// Where what followed reaches the end of the text, it goes on with itself.
    pub(super) fn follow(&self, n: usize, out: &mut impl Extend<TokenId>) {
        if let Some(place) = self.find(&self.tokens) {
            let period = self.tokens.len() - place;
            out.extend((0..n).map(|at| self.tokens[place + at % period]));
        }
    }

    /// The place after where the last tokens of `text` came: the longest match, of several the latest. There is a token.
    pub(super) fn find(&self, text: &[TokenId]) -> Option<usize> {
        let by_length = self.lengths.clone().zip(&self.places).rev();
        by_length.into_iter().find_map(|(length, places)| {
            let last = &text[text.len().checked_sub(length)?..];
            let place = places.get(&hash(last)).copied()?;
            let is_there = place < self.tokens.len() && self.tokens[place - length..place] == *last;
            is_there.then_some(place)
        })
    }

    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }
}

impl Extend<TokenId> for Ngrams {
    fn extend<T: IntoIterator<Item = TokenId>>(&mut self, tokens: T) {
        for token in tokens {
            self.push(token);
        }
    }
}

/// FNV-1a over whole tokens, with a turn between them.
fn hash(tokens: &[TokenId]) -> u64 {
    tokens.iter().fold(0xCBF2_9CE4_8422_2325, |hash, token| {
        (hash ^ u64::from(token.cast_unsigned())).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn following(tokens: &[TokenId], lengths: Range<usize>, n: usize) -> Vec<TokenId> {
        let mut ngrams = Ngrams::new(lengths);
        ngrams.extend(tokens.iter().copied());
        let mut out = Vec::new();
        ngrams.follow(n, &mut out);
        out
    }

    #[test]
    fn longest_and_latest_match_goes_on() {
        assert_eq!(following(&[1, 2, 3, 9, 3, 8, 2, 3], 1..4, 2), [9, 3]);
        assert_eq!(following(&[1, 2, 3, 9, 3, 8, 7, 3], 1..4, 2), [8, 7]);
        assert_eq!(following(&[1, 2, 3], 1..4, 2), [0; 0]);
        assert_eq!(following(&[], 1..4, 2), [0; 0]);
    }

    #[test]
    fn repetition_goes_on_and_on() {
        assert_eq!(following(&[1, 2, 3, 1, 2], 2..4, 5), [3, 1, 2, 3, 1]);
    }

    proptest! {
        /// Also when the text was cut in between.
        #[test]
        fn what_follows_is_what_a_plain_search_finds(
            changes in prop::collection::vec((0usize..40, prop::collection::vec(0..4i32, 1..20)), 1..8),
        ) {
            let mut ngrams = Ngrams::new(2..5);
            let mut tokens: Vec<TokenId> = Vec::new();
            let mut was_cut = false;
            for (keep, more) in changes {
                was_cut |= keep < tokens.len();
                tokens.truncate(keep);
                ngrams.truncate(keep);
                tokens.extend(&more);
                ngrams.extend(more);
                prop_assert_eq!(ngrams.len(), tokens.len());
                let mut out = Vec::new();
                ngrams.follow(1, &mut out);
                let n = tokens.len();
                let found: Vec<usize> = (2..=4.min(n)).rev().flat_map(|length| {
                    let last = &tokens[n - length..];
                    (length..n).rev().filter(|end| tokens[end - length..*end] == *last).collect::<Vec<_>>()
                }).collect();
                if was_cut {
                    // Some of the index may be lost, but what is found was there.
                    prop_assert!(out.iter().all(|token| found.iter().any(|place| tokens[*place] == *token)));
                } else {
                    prop_assert_eq!(out.first(), found.first().map(|place| &tokens[*place]));
                }
            }
        }
    }
}
