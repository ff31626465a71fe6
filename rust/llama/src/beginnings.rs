//! Beginnings of texts whose tokens are known.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::TokenId;

/// Shorter beginnings are tokenized again.
const WORTH_KEEPING: usize = 512;
/// How many are kept at most.
const MOST: usize = 32;
/// Bytes of all texts and tokens that are kept, at most.
const MOST_BYTES: usize = 16 << 20;

/// The beginnings of texts that were tokenized last, so that the next prompt of a conversation is not tokenized from its first word on.
#[derive(Debug, Default)]
pub(crate) struct Beginnings(Mutex<VecDeque<Beginning>>);

#[derive(Debug)]
struct Beginning {
    text: Box<str>,
    /// Where it was cut.
    cuts: Box<[usize]>,
    tokens: Box<[TokenId]>,
}

impl Beginning {
    fn n_bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.cuts) + size_of_val(&*self.tokens)
    }

    /// Whether a text that is cut at `cuts`, which are in order, begins with it.
    fn begins(&self, text: &str, cuts: &[usize]) -> bool {
        text.starts_with(&*self.text) && cuts_before(cuts, self.text.len()) == &*self.cuts
    }
}

impl Beginnings {
    /// The length and the tokens of the longest one that is known of a text, which is cut at `cuts`.
    pub(crate) fn longest(&self, text: &str, cuts: &[usize]) -> Option<(usize, Vec<TokenId>)> {
        let mut known = self.lock();
        let begins = known.iter().enumerate().filter(|(_, beginning)| beginning.begins(text, cuts));
        let (at, _) = begins.max_by_key(|(_, beginning)| beginning.text.len())?;
        let found = known.remove(at)?;
        let answer = (found.text.len(), found.tokens.to_vec());
        known.push_front(found);
        Some(answer)
    }

    /// Keeps the tokens of a text, which is cut at `cuts`. Shorter beginnings of it go.
    pub(crate) fn keep(&self, text: &str, cuts: &[usize], tokens: &[TokenId]) {
        if text.len() < WORTH_KEEPING {
            return;
        }
        let mut known = self.lock();
        known.retain(|beginning| !beginning.begins(text, cuts));
        let cuts = cuts_before(cuts, text.len()).into();
        known.push_front(Beginning { text: text.into(), cuts, tokens: tokens.into() });
        let mut n_bytes: usize = known.iter().map(Beginning::n_bytes).sum();
        while (known.len() > MOST || n_bytes > MOST_BYTES)
            && let Some(oldest) = known.pop_back()
        {
            n_bytes -= oldest.n_bytes();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Beginning>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cuts_before(cuts: &[usize], end: usize) -> &[usize] {
    &cuts[..cuts.partition_point(|cut| *cut < end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_with_the_same_cuts_is_found() {
        let known = Beginnings::default();
        let text = "word ".repeat(300);
        assert_eq!(known.longest(&text, &[]), None);
        known.keep(&text[..600], &[5], &[1, 2]);
        known.keep(&text[..700], &[5, 650], &[1, 2, 3]);
        known.keep(&text[..800], &[6], &[9]);
        known.keep(&text[..100], &[], &[7]);
        assert_eq!(known.longest(&text, &[5]), None, "the shorter one went, the longer one is cut elsewhere");
        assert_eq!(known.longest(&text, &[5, 650]), Some((700, vec![1, 2, 3])));
        assert_eq!(known.longest(&text, &[5, 650, 900]), Some((700, vec![1, 2, 3])));
        assert_eq!(known.longest(&text, &[6, 950]), Some((800, vec![9])));
        assert_eq!(known.longest(&text[..700], &[6]), None);
        assert_eq!(known.longest(&text, &[]), None, "the short one is not worth it");
    }

    #[test]
    fn those_used_longest_ago_go() {
        let known = Beginnings::default();
        let text = |number: usize| format!("{number:03}").repeat(300);
        for number in 0..MOST + 5 {
            known.keep(&text(number), &[], &[number as TokenId]);
            assert!(known.longest(&text(0), &[]).is_some(), "used all the time");
        }
        assert_eq!(known.lock().len(), MOST);
        assert_eq!(known.longest(&text(1), &[]), None);
        known.keep(&"x".repeat(MOST_BYTES), &[], &[1]);
        assert!(known.lock().iter().map(Beginning::n_bytes).sum::<usize>() <= MOST_BYTES);
    }
}
