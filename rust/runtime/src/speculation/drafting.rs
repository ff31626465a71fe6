//! Guesses of a smaller model, or whatever else costs time to ask.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::odds::Odds;
use crate::TokenId;

/// Guesses the next tokens of one text, as a smaller model does.
///
/// It is called on the decode thread, between two steps, and every request waits for it: what takes longer than a step, such as a long prompt that it has not seen, it
/// should do in parts. A panic in it ends its guessing only.
pub trait Drafter: Send {
    /// Puts at most `n` tokens that may come after `tokens` into `out`; none if it has no guess, or has a part of `tokens` still to read. `tokens` are the whole text so far, of which
    /// the end may be another one than what it guessed.
    fn draft(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>);
}

/// How many tokens to wait before another try where drafts do not pay: at first, and at the most.
const BACK_OFF: (usize, usize) = (16, 256);
/// How many tokens such a try drafts.
const TRY: usize = 2;
/// What a guess is thought to take before it was measured, as a part of the time that a token takes without drafts.
const FIRST: f64 = 0.15;

/// What a step takes without drafts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepCost {
    /// By how much of the time that a token takes a drafted one makes a step longer.
    pub(crate) drafted: f64,
    /// Seconds that a token takes.
    pub(crate) token: f64,
}

/// Asks a drafter where that makes a text faster.
pub(crate) struct Drafting {
    /// `None` once it has panicked.
    drafter: Option<Box<dyn Drafter>>,
    /// How many guesses one draft has.
    sizes: RangeInclusive<usize>,
    odds: Odds,
    /// Guesses that were not compared yet.
    guess: VecDeque<TokenId>,
    /// How many of them came true.
    n_right: usize,
    /// Seconds that a guess takes.
    seconds: Option<f64>,
    /// For how many tokens nothing is drafted, and how many the next time.
    rest: usize,
    back_off: usize,
}

impl Drafting {
    pub(super) fn new(drafter: Box<dyn Drafter>, sizes: RangeInclusive<usize>) -> Self {
        let most = (*sizes.end()).max(1);
        Self {
            drafter: Some(drafter),
            sizes: (*sizes.start()).min(most)..=most,
            odds: Odds::hopeful(),
            guess: VecDeque::new(),
            n_right: 0,
            seconds: None,
            rest: 0,
            back_off: BACK_OFF.0,
        }
    }

    /// Takes the next token of the text.
    pub(super) fn push(&mut self, token: TokenId) {
        let Some(guess) = self.guess.pop_front() else { return };
        self.odds.note(self.n_right, guess == token);
        if guess == token {
            self.n_right += 1;
        } else {
            self.forget();
        }
    }

    /// Forgets what was guessed.
    pub(super) fn forget(&mut self) {
        self.guess.clear();
        self.n_right = 0;
    }

    /// Puts at most `n` tokens that are worth a try after `tokens` into `out`.
    pub(super) fn draft(&mut self, tokens: &[TokenId], n: usize, cost: StepCost, out: &mut Vec<TokenId>) {
        self.forget();
        let Some(drafter) = &mut self.drafter else { return };
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let n = n.min(*self.sizes.end());
        let own = self.seconds.map_or(FIRST, |seconds| seconds / cost.token.max(1e-9));
        let mut count = self.odds.best(0, n, cost.drafted + own);
        if count == 0 {
            (self.rest, self.back_off) = (self.back_off, (2 * self.back_off).min(BACK_OFF.1));
            count = n.min(TRY);
        } else {
            self.back_off = BACK_OFF.0;
        }
        let least = *self.sizes.start();
        count = count.max(least).min(n);
        if count == 0 || count < least {
            return;
        }
        let (started, n_before) = (Instant::now(), out.len());
        if catch_unwind(AssertUnwindSafe(|| drafter.draft(tokens, count, out))).is_err() {
            self.drafter = None;
            out.truncate(n_before);
            return;
        }
        out.truncate(n_before + count);
        let n_drafted = out.len() - n_before;
        if n_drafted < least {
            // Its guesses were not sure enough.
            out.truncate(n_before);
            return;
        }
        if n_drafted == 0 {
            // It reads the text, which is no try.
            self.rest = 0;
            return;
        }
        let now = started.elapsed().as_secs_f64() / n_drafted as f64;
        let old = self.seconds.unwrap_or(now);
        self.seconds = Some(old + 0.25 * (now - old));
        self.guess.extend(&out[n_before..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guesses that tokens count on.
    struct Counter {
        wrong: bool,
        n_asked: usize,
    }

    impl Drafter for Counter {
        fn draft(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) {
            self.n_asked += 1;
            let last = tokens[tokens.len() - 1];
            let step = if self.wrong { 7 } else { 1 };
            out.extend((1..=n as TokenId).map(|i| last + i * step));
        }
    }

    /// Drafts a text of `n` tokens that count on; returns how many were drafted, and how many steps it took.
    fn count(wrong: bool, n: usize, cost: StepCost) -> (usize, usize) {
        let mut drafting = Drafting::new(Box::new(Counter { wrong, n_asked: 0 }), 0..=8);
        let (mut text, mut n_drafted, mut n_steps) = (vec![0], 0, 0);
        while text.len() < n {
            let mut draft = Vec::new();
            drafting.draft(&text, 16, cost, &mut draft);
            assert!(draft.len() <= 8);
            n_drafted += draft.len();
            n_steps += 1;
            let mut right = true;
            for guess in draft.iter().map(Some).chain([None]) {
                let next = text[text.len() - 1] + 1;
                right = right && guess.is_none_or(|guess| *guess == next);
                text.push(next);
                drafting.push(next);
                if !right {
                    break;
                }
            }
        }
        (n_drafted, n_steps)
    }

    const CHEAP: StepCost = StepCost { drafted: 0.05, token: 1.0 };

    #[test]
    fn right_guesses_make_few_steps() {
        let (_, n_steps) = count(false, 900, CHEAP);
        assert!(n_steps < 150, "{n_steps}");
    }

    #[test]
    fn wrong_guesses_are_seldom_asked_for() {
        let (n_drafted, n_steps) = count(true, 2000, CHEAP);
        assert!(n_drafted < 80, "{n_drafted}");
        assert!(n_steps > 1950);
        // A guess that takes as long as a token never pays.
        let (n_drafted, _) = count(false, 2000, StepCost { drafted: 1.1, token: 1.0 });
        assert!(n_drafted < 80, "{n_drafted}");
    }

    #[test]
    fn drafts_are_as_long_as_they_have_to_be() {
        // A guess that takes as long as a token never pays, so that two are tried where nothing says that it must be more.
        for (least, n, expected) in [(0, 16, 2), (2, 16, 2), (4, 16, 4), (4, 4, 4), (4, 3, 0), (8, 16, 8)] {
            let mut drafting = Drafting::new(Box::new(Counter { wrong: false, n_asked: 0 }), least..=8);
            let mut out = Vec::new();
            drafting.draft(&[0], n, StepCost { drafted: 1.1, token: 1.0 }, &mut out);
            assert_eq!(out.len(), expected, "{least} {n}");
        }
    }

    #[test]
    fn shorter_drafts_than_wanted_are_not_decoded() {
        struct Unsure;
        impl Drafter for Unsure {
            fn draft(&mut self, _tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) {
                out.extend((0..n as TokenId).take(3));
            }
        }
        for (least, expected) in [(3, 3), (4, 0)] {
            let mut drafting = Drafting::new(Box::new(Unsure), least..=8);
            let mut out = Vec::new();
            drafting.draft(&[0], 8, CHEAP, &mut out);
            assert_eq!(out.len(), expected);
        }
    }

    #[test]
    fn drafters_that_panic_are_asked_no_more() {
        struct Broken(usize);
        impl Drafter for Broken {
            fn draft(&mut self, _tokens: &[TokenId], _n: usize, out: &mut Vec<TokenId>) {
                self.0 += 1;
                assert!(self.0 < 2, "asked again");
                out.push(1);
                panic!("broken");
            }
        }
        let mut drafting = Drafting::new(Box::new(Broken(0)), 0..=8);
        for _ in 0..100 {
            let mut out = vec![9];
            drafting.draft(&[1], 8, CHEAP, &mut out);
            assert_eq!(out, [9]);
        }
    }
}
