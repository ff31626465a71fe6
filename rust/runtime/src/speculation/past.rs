//! What requests have generated.

use std::sync::{Mutex, PoisonError};

use super::ngrams::Ngrams;
use crate::TokenId;

/// How many last tokens of a text are looked for: more than in the text itself, as others have less to do with it.
const LEAST_MATCH: usize = 3;
const MOST_MATCH: usize = 6;
/// Tokens of half of what is kept. When both halves are full, the older one goes.
const HALF: usize = 1 << 15;
/// Stands between texts; no token is negative.
const BETWEEN: TokenId = -1;

/// The last texts that requests of an engine generated with [`Lookup::shared`](crate::Lookup::shared): what others of them look drafts up in.
#[derive(Debug)]
pub(crate) struct PastTexts(Mutex<Halves>);

#[derive(Debug)]
struct Halves {
    young: Ngrams,
    old: Ngrams,
}

impl Default for PastTexts {
    fn default() -> Self {
        Self(Mutex::new(Halves { young: empty(), old: empty() }))
    }
}

fn empty() -> Ngrams {
    Ngrams::new(LEAST_MATCH..MOST_MATCH + 1)
}

impl PastTexts {
    /// Keeps what was generated, the tokens of `text` from index `start` on, with a few before it.
    pub(super) fn add(&self, text: &[TokenId], start: usize) {
        let text = &text[start.saturating_sub(MOST_MATCH)..];
        let text = &text[text.len().saturating_sub(HALF)..];
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.young.len() + text.len() >= HALF {
            halves.old = std::mem::replace(&mut halves.young, empty());
        }
        halves.young.extend(text.iter().copied());
        halves.young.end_with(BETWEEN);
    }

    /// Appends at most `n` tokens that followed the last ones of `text` in one of the texts: after the longest match, of several the latest.
    pub(super) fn follow(&self, text: &[TokenId], n: usize, out: &mut impl Extend<TokenId>) {
        let tail = &text[text.len().saturating_sub(MOST_MATCH)..];
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for half in [&halves.young, &halves.old] {
            let Some(place) = half.find(tail) else { continue };
            let following = half.tokens()[place..].iter().copied().take_while(|token| *token != BETWEEN);
            return out.extend(following.take(n));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn following(past: &PastTexts, text: &[TokenId], n: usize) -> Vec<TokenId> {
        let mut out = Vec::new();
        past.follow(text, n, &mut out);
        out
    }

    #[test]
    fn texts_go_on_as_others_did_and_end_where_they_ended() {
        let past = PastTexts::default();
        assert_eq!(following(&past, &[1, 2, 3], 4), [0; 0]);
        past.add(&[90, 91, 1, 2, 3, 4, 5], 2);
        past.add(&[7, 8, 9, 10], 0);
        assert_eq!(following(&past, &[90, 91, 1], 2), [2, 3], "a few tokens of the prompt are kept");
        assert_eq!(following(&past, &[50, 2, 3, 4], 9), [5]);
        assert_eq!(following(&past, &[3, 4, 5], 9), [0; 0], "nothing follows from one text to the next");
        assert_eq!(following(&past, &[4, 5, 7], 9), [0; 0]);
        assert_eq!(following(&past, &[8, 9], 9), [0; 0], "too few are alike");
        past.add(&[7, 8, 9, 11], 0);
        assert_eq!(following(&past, &[7, 8, 9], 9), [11], "the latest counts");
    }

    #[test]
    fn old_texts_go() {
        let past = PastTexts::default();
        past.add(&[1, 2, 3, 4], 0);
        let filler: Vec<TokenId> = (1000..1000 + HALF as TokenId / 2).collect();
        past.add(&filler, 0);
        past.add(&filler, 0);
        assert_eq!(following(&past, &[1, 2, 3], 1), [4]);
        for _ in 0..4 {
            past.add(&filler, 0);
        }
        assert_eq!(following(&past, &[1, 2, 3], 1), [0; 0]);
        assert!(past.0.lock().unwrap().young.len() <= HALF);
        // A text that is longer than all that is kept.
        past.add(&vec![5; 3 * HALF], 0);
        assert_eq!(following(&past, &[5, 5, 5], 2), [5], "the latest place, near the end");
    }
}
