//! Tokens that may come next, decoded together with the one before: where they do come, several tokens take one step.
//!
//! Every token is chosen from the logits at its place as without drafts, so drafts change when tokens come and not which (logits that are computed in batches of
//! other shapes may differ in their last bits). The guesses come from the text itself: what followed the last few tokens when they came before. All of them are
//! compared with what comes, decoded or not; that costs nothing, and tells how likely they are. They are decoded where that promises more tokens a second, by
//! the measured time of a step. Where the text has no such place, others have that were generated before (`past`).
//!
//! Guesses may also come from a smaller model ([`Drafter`]). Asking it takes time, so only what is decoded is asked for, and nothing for a while where that does not pay.
//!
//! Looking drafts up in the prompt goes back to Saxena's prompt lookup decoding (2023); verification of several tokens in one pass to Leviathan, Kalman and Matias, "Fast
//! Inference from Transformers via Speculative Decoding" (2023).

mod drafting;
mod ngrams;
mod odds;
mod past;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::TokenId;
use drafting::Drafting;
use ngrams::Ngrams;
use odds::Odds;

pub use drafting::Drafter;
pub(crate) use drafting::StepCost;
pub(crate) use past::PastTexts;

/// How a request looks up drafts in its own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Least number of last tokens that must have come before; at least 1.
    pub min_match: usize,
    /// Maximum number of last tokens that are compared; at least `min_match`.
    pub max_match: usize,
    /// Maximum number of drafted tokens in a step; at least 1.
    pub max_draft: usize,
    /// Look in what other requests generated, too, where the text itself has no match, and let others look in this one. How fast a text comes may then tell what
    /// others were.
    pub shared: bool,
}

impl Lookup {
    /// Largest number of any of its fields that makes sense.
    pub const MOST: usize = GUESS;
}

impl Default for Lookup {
    fn default() -> Self {
        Self { min_match: 2, max_match: 4, max_draft: 16, shared: true }
    }
}

/// So many tokens are guessed at a time.
const GUESS: usize = 64;

/// Guesses what comes next in one text.
pub(crate) enum Speculator {
    LookUp(LookUp),
    Drafting(Drafting),
}

impl Speculator {
    pub(crate) fn looking_up(lookup: &Lookup, prompt: &[TokenId], past: &Arc<PastTexts>) -> Self {
        let past = lookup.shared.then(|| Arc::clone(past));
        Self::LookUp(LookUp::new(lookup, prompt, past))
    }

    /// Asks `drafter` for so many tokens at a time.
    pub(crate) fn asking(drafter: Box<dyn Drafter>, sizes: RangeInclusive<usize>) -> Self {
        Self::Drafting(Drafting::new(drafter, sizes))
    }

    /// Takes the next token of the text.
    pub(crate) fn push(&mut self, token: TokenId) {
        match self {
            Self::LookUp(look_up) => look_up.push(token),
            Self::Drafting(drafting) => drafting.push(token),
        }
    }

    /// Takes the last `n` tokens of the text back.
    pub(crate) fn go_back(&mut self, n: usize) {
        match self {
            Self::LookUp(look_up) => look_up.go_back(n),
            Self::Drafting(drafting) => drafting.forget(),
        }
    }

    /// The text is over.
    pub(crate) fn finish(self) {
        if let Self::LookUp(look_up) = self {
            look_up.finish();
        }
    }

    /// Puts at most `n` tokens that are worth a try after `tokens`, the whole text, into `out`.
    pub(crate) fn draft(&mut self, tokens: &[TokenId], n: usize, cost: StepCost, out: &mut Vec<TokenId>) {
        match self {
            Self::LookUp(look_up) => look_up.draft(n, cost.drafted, out),
            Self::Drafting(drafting) => drafting.draft(tokens, n, cost, out),
        }
    }
}

/// Guesses what came before after the last few tokens.
#[derive(Debug)]
pub(crate) struct LookUp {
    max_draft: usize,
    text: Ngrams,
    n_prompt: usize,
    /// What others generated.
    past: Option<Arc<PastTexts>>,
    guess: VecDeque<TokenId>,
    /// How many guesses in a row came true.
    n_right: usize,
    odds: Odds,
}

impl LookUp {
    fn new(lookup: &Lookup, prompt: &[TokenId], past: Option<Arc<PastTexts>>) -> Self {
        let min_match = lookup.min_match.max(1);
        let mut text = Ngrams::new(min_match..lookup.max_match.max(min_match) + 1);
        text.extend(prompt.iter().copied());
        let mut new = Self {
            max_draft: lookup.max_draft,
            text,
            n_prompt: prompt.len(),
            past,
            guess: VecDeque::new(),
            n_right: 0,
            odds: Odds::new(),
        };
        new.look_up();
        new
    }

    /// Takes the next token of the text.
    pub(crate) fn push(&mut self, token: TokenId) {
        self.text.push(token);
        if let Some(guess) = self.guess.pop_front() {
            self.odds.note(self.n_right, guess == token);
            if guess == token {
                self.n_right += 1;
            } else {
                self.guess.clear();
                self.n_right = 0;
            }
        }
        if self.guess.is_empty() {
            self.look_up();
        }
    }

    /// Takes the last `n` tokens of the text back.
    pub(crate) fn go_back(&mut self, n: usize) {
        self.text.truncate(self.text.len().saturating_sub(n));
        self.n_right = 0;
        self.guess.clear();
        self.look_up();
    }

    /// Puts at most `n` tokens that are worth a try into `out`. Each makes a step longer by `cost` of the time that a token takes without.
    pub(crate) fn draft(&self, n: usize, cost: f64, out: &mut Vec<TokenId>) {
        let n = n.min(self.max_draft).min(self.guess.len());
        let n = self.odds.best(self.n_right, n, cost);
        out.extend(self.guess.iter().take(n));
    }

    fn look_up(&mut self) {
        self.text.follow(GUESS, &mut self.guess);
        if let Some(past) = self.past.as_ref().filter(|_| self.guess.is_empty()) {
            past.follow(self.text.tokens(), GUESS, &mut self.guess);
        }
    }

    /// The text is over, and others may go on as it did.
    fn finish(self) {
        if let Some(past) = self.past.filter(|_| self.text.len() > self.n_prompt) {
            past.add(self.text.tokens(), self.n_prompt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(speculator: &LookUp, n: usize) -> Vec<TokenId> {
        let mut out = Vec::new();
        speculator.draft(n, 0.3, &mut out);
        out
    }

    fn push(speculator: &mut LookUp, tokens: impl IntoIterator<Item = TokenId>) {
        for token in tokens {
            speculator.push(token);
        }
    }

    #[test]
    fn text_that_comes_again_is_drafted_until_it_differs() {
        let prompt: Vec<TokenId> = (0..50).collect();
        let mut speculator = LookUp::new(&Lookup::default(), &prompt, None);
        assert_eq!(drafted(&speculator, 16), [0; 0], "nothing came twice");
        push(&mut speculator, 10..20);
        assert_eq!(drafted(&speculator, 4), [20, 21, 22, 23]);
        speculator.push(7);
        assert_eq!(drafted(&speculator, 4), [0; 0]);
    }

    #[test]
    fn what_was_taken_back_is_not_looked_up() {
        let mut speculator = LookUp::new(&Lookup::default(), &[1, 2, 3, 4, 9, 9], None);
        push(&mut speculator, [1, 2, 3]);
        assert_eq!(drafted(&speculator, 1), [4]);
        speculator.go_back(1);
        speculator.push(8);
        assert_eq!(drafted(&speculator, 4), [0; 0]);
        push(&mut speculator, [1, 2]);
        assert_eq!(speculator.guess.front(), Some(&8), "the latest of two");
    }

    #[test]
    fn free_text_is_left_alone() {
        // Pairs come again, what follows them does not.
        let mut speculator = LookUp::new(&Lookup::default(), &[], None);
        for token in 0..200 {
            push(&mut speculator, [1, 2, 1000 + token]);
        }
        push(&mut speculator, [1, 2]);
        assert_eq!(drafted(&speculator, 16), [0; 0]);
    }
}
