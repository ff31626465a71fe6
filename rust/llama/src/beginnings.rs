//! Beginnings of texts whose tokens are known.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::TokenId;

/// Shorter texts are tokenized again.
const WORTH_KEEPING: usize = 512;
/// How many texts are kept at most.
const MOST: usize = 32;
/// Bytes of all texts and tokens that are kept, at most.
const MOST_BYTES: usize = 16 << 20;
/// So many bytes are compared at once.
const STEP: usize = 64;

/// The texts that were tokenized last, so that the next prompt of a conversation is not tokenized from its first word on.
#[derive(Debug, Default)]
pub(crate) struct Beginnings(Mutex<VecDeque<Text>>);

/// A text whose tokens are known.
#[derive(Debug)]
struct Text {
    text: Box<str>,
    /// Where it was cut, in order.
    cuts: Box<[usize]>,
    known: Known,
}

/// The tokens of a beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) tokens: Vec<TokenId>,
    /// Where it may be cut without a change, in order, and how many tokens come before.
    pub(crate) seams: Vec<(usize, usize)>,
}

impl Known {
    /// Where the last seam is, up to which all is known.
    pub(crate) fn end(&self) -> usize {
        self.seams.last().map_or(0, |(end, _)| *end)
    }
}

impl Text {
    fn n_bytes(&self) -> usize {
        self.text.len()
            + size_of_val(&*self.cuts)
            + size_of_val(&*self.known.tokens)
            + size_of_val(&*self.known.seams)
    }

    /// How many of its seams a text has, too, which is cut at `cuts`.
    fn n_shared(&self, text: &str, cuts: &[usize]) -> usize {
        let n_bytes = common(self.text.as_bytes(), text.as_bytes());
        let n_cuts = self.cuts.iter().zip(cuts).take_while(|(ours, theirs)| ours == theirs).count();
        // Up to the first cut that only one of both has.
        let next = [self.cuts.get(n_cuts), cuts.get(n_cuts)].into_iter().flatten().min();
        let end = next.map_or(n_bytes, |next| n_bytes.min(*next));
        self.known.seams.partition_point(|(seam, _)| *seam <= end)
    }
}

impl Beginnings {
    /// What is known of the beginning of a text that is cut at `cuts`, up to a seam.
    pub(crate) fn known(&self, text: &str, cuts: &[usize]) -> Known {
        let mut texts = self.lock();
        let shared = texts.iter().enumerate().filter_map(|(at, known)| {
            let n_seams = known.n_shared(text, cuts);
            let last = n_seams.checked_sub(1)?;
            Some((known.known.seams[last], at, n_seams))
        });
        let Some(((_, n_tokens), at, n_seams)) = shared.max() else { return Known::default() };
        let Some(found) = texts.remove(at) else { return Known::default() };
        let known = Known {
            tokens: found.known.tokens[..n_tokens].to_vec(),
            seams: found.known.seams[..n_seams].to_vec(),
        };
        texts.push_front(found);
        known
    }

    /// Keeps what is known of a text that is cut at `cuts`, and returns its tokens. Texts that it continues go.
    pub(crate) fn keep(&self, text: &str, cuts: Vec<usize>, mut known: Known) -> Vec<TokenId> {
        let Some((end, n_tokens)) = known.seams.last().copied().filter(|(end, _)| *end >= WORTH_KEEPING)
        else {
            return known.tokens;
        };
        let tokens = known.tokens.clone();
        known.tokens.truncate(n_tokens);
        let mut texts = self.lock();
        texts.retain(|old| old.known.end() > end || old.n_shared(text, &cuts) < old.known.seams.len());
        texts.push_front(Text { text: text[..end].into(), cuts: cuts.into(), known });
        let mut n_bytes: usize = texts.iter().map(Text::n_bytes).sum();
        while (texts.len() > MOST || n_bytes > MOST_BYTES)
            && let Some(oldest) = texts.pop_back()
        {
            n_bytes -= oldest.n_bytes();
        }
        tokens
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Text>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes both begin with.
fn common(a: &[u8], b: &[u8]) -> usize {
    let whole = STEP * a.chunks(STEP).zip(b.chunks(STEP)).take_while(|(a, b)| a == b).count();
    let whole = whole.min(a.len()).min(b.len());
    whole + a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(seams: &[(usize, usize)]) -> Known {
        let n_tokens = seams.last().map_or(0, |(_, n)| *n);
        Known { tokens: (0..n_tokens as TokenId).collect(), seams: seams.to_vec() }
    }

    #[test]
    fn all_is_known_up_to_the_last_seam_that_both_texts_have() {
        let texts = Beginnings::default();
        let text = "word ".repeat(300);
        assert_eq!(texts.known(&text, &[]), Known::default());
        let all = known(&[(300, 60), (600, 120), (900, 180)]);
        assert_eq!(texts.keep(&text, vec![5, 700], all.clone()), all.tokens);
        assert_eq!(texts.known(&text, &[5, 700]), all);
        assert_eq!(texts.known(&text, &[5, 700, 950]), all);
        assert_eq!(texts.known(&text[..899], &[5, 700]), known(&[(300, 60), (600, 120)]));
        let other = text[..500].to_owned() + "!" + &text[501..];
        assert_eq!(texts.known(&other, &[5]), known(&[(300, 60)]), "up to where the text is another one");
        assert_eq!(texts.known(&text, &[5]), known(&[(300, 60), (600, 120)]), "up to a cut that one lacks");
        assert_eq!(texts.known(&text, &[6, 700]), Known::default());
        assert_eq!(texts.known("other", &[]), Known::default());
    }

    #[test]
    fn a_longer_text_replaces_what_it_continues_and_branches_stay() {
        let texts = Beginnings::default();
        let (text, branch) = ("word ".repeat(300), "word ".repeat(150) + &"else ".repeat(100));
        texts.keep(&text[..800], vec![], known(&[(600, 1)]));
        texts.keep(&text, vec![], known(&[(600, 1), (900, 2)]));
        assert_eq!(texts.lock().len(), 1);
        texts.keep(&branch, vec![], known(&[(600, 1), (1000, 3)]));
        assert_eq!(texts.lock().len(), 2);
        assert_eq!(texts.known(&text, &[]).end(), 900);
        assert_eq!(texts.known(&branch, &[]).end(), 1000);
        texts.keep("short", vec![], known(&[(5, 1)]));
        assert_eq!(texts.lock().len(), 2);
    }

    #[test]
    fn those_used_longest_ago_go() {
        let texts = Beginnings::default();
        let text = |number: usize| format!("{number:03}").repeat(300);
        for number in 0..MOST + 5 {
            texts.keep(&text(number), vec![], known(&[(900, number + 1)]));
            assert_eq!(texts.known(&text(0), &[]).end(), 900, "used all the time");
        }
        assert_eq!(texts.lock().len(), MOST);
        assert_eq!(texts.known(&text(1), &[]), Known::default());
        texts.keep(&"x".repeat(MOST_BYTES), vec![], known(&[(MOST_BYTES, 1)]));
        assert!(texts.lock().iter().map(Text::n_bytes).sum::<usize>() <= MOST_BYTES);
    }

    #[test]
    fn common_bytes_are_counted_exactly() {
        let text = vec![7_u8; 300];
        for n in 0..300 {
            let mut other = text.clone();
            other[n] = 8;
            assert_eq!(common(&text, &other), n);
            assert_eq!(common(&text[..n], &text), n);
        }
    }
}
