//! DRY, "don't repeat yourself": penalties that grow with the length of the repetition that a token would go on with.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use libm::{log, pow};

use crate::stages::history::RESERVE_MAX;
use crate::{Breakers, TokenId};

/// The logarithm of the largest `f32`, as `llama_sampler_dry_apply` in `src/llama-sampler.cpp` has it.
const LOG_MAX: f64 = 88.722_839_1;

/// One DRY stage with the tokens that it looks at.
#[derive(Clone, Debug)]
pub(crate) struct Dry {
    multiplier: f64,
    base: f64,
    allowed_length: usize,
    /// The window's length; `None` is the whole history.
    window: Option<usize>,
    breakers: Arc<Breakers>,
    tokens: VecDeque<TokenId>,
    newest_first: Vec<TokenId>,
    /// For each place in `newest_first` how many tokens from it on are the same as the newest ones.
    matches: Vec<usize>,
    longest: HashMap<TokenId, usize>,
}

impl Dry {
    pub(crate) fn new(
        multiplier: f32,
        base: f32,
        allowed_length: u32,
        window: i32,
        breakers: &Arc<Breakers>,
    ) -> Self {
        let window = usize::try_from(window).ok();
        let reserve = window.unwrap_or(0).min(RESERVE_MAX);
        Self {
            multiplier: f64::from(multiplier),
            base: f64::from(base),
            allowed_length: allowed_length as usize,
            window,
            breakers: Arc::clone(breakers),
            tokens: VecDeque::with_capacity(reserve),
            newest_first: Vec::with_capacity(reserve),
            matches: Vec::with_capacity(reserve),
            longest: HashMap::with_capacity(reserve * 2),
        }
    }

    pub(crate) fn accept(&mut self, token: TokenId) {
        if self.window.is_some_and(|window| self.tokens.len() == window) {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token);
    }

    /// The tokens of the window, oldest first.
    pub(crate) fn tokens(&self) -> &VecDeque<TokenId> {
        &self.tokens
    }

    pub(crate) fn set_tokens(&mut self, tokens: &VecDeque<TokenId>) {
        self.tokens.clone_from(tokens);
    }

    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.longest.clear();
    }

    /// Finds what would go on with a repetition; the other methods then tell of it.
    pub(crate) fn look(&mut self) {
        self.longest.clear();
        self.newest_first.clear();
        self.newest_first.extend(self.tokens.iter().rev());
        let n = self.newest_first.len();
        if n <= self.allowed_length {
            return;
        }
        let limit = self.breakers.limit(&self.newest_first);
        if limit < self.allowed_length {
            return;
        }
        match_prefixes(&self.newest_first, &mut self.matches);
        for at in 1..n {
            let length = self.matches[at].min(limit);
            // The token before it, in time after it, is the one that would go on.
            let next = self.newest_first[at - 1];
            if length >= self.allowed_length && !self.breakers.is_single(next) {
                let longest = self.longest.entry(next).or_insert(length);
                *longest = length.max(*longest);
            }
        }
    }

    /// The tokens that would go on with a repetition, with its length so far, each once, in no order.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (TokenId, usize)> {
        self.longest.iter().map(|(&token, &length)| (token, length))
    }

    pub(crate) fn length(&self, token: TokenId) -> Option<usize> {
        self.longest.get(&token).copied()
    }

    /// The logit of a token that goes on with a repetition of `length` tokens; a finite one stays finite. For `temperature` see
    /// [`History::penalise`](crate::stages::history::History::penalise).
    pub(crate) fn penalise(&self, logit: f32, length: usize, temperature: f32) -> f32 {
        if !logit.is_finite() {
            return logit;
        }
        let mut exponent = length.saturating_sub(self.allowed_length) as f64;
        if self.base > 1.000_001 {
            exponent = exponent.min((LOG_MAX / log(self.base)).floor());
        }
        let penalty = self.multiplier * pow(self.base, exponent) * f64::from(temperature);
        ((f64::from(logit) - penalty) as f32).clamp(f32::MIN, f32::MAX)
    }
}

/// For each place the length of the common prefix of the whole and what begins there (the Z-function of Gusfield 1997, section 1.4),
/// in linear time.
fn match_prefixes(tokens: &[TokenId], lengths: &mut Vec<usize>) {
    lengths.clear();
    lengths.resize(tokens.len(), 0);
    // The match found that reaches furthest, as a half-open range.
    let (mut start, mut end) = (0, 0);
    for at in 1..tokens.len() {
        let mut length = if at < end { lengths[at - start].min(end - at) } else { 0 };
        while at + length < tokens.len() && tokens[length] == tokens[at + length] {
            length += 1;
        }
        if at + length > end {
            (start, end) = (at, at + length);
        }
        lengths[at] = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dry(allowed_length: u32, window: i32, breakers: &[&[TokenId]], tokens: &[TokenId]) -> Dry {
        let breakers = Arc::new(Breakers::from_sequences(breakers.iter().copied()));
        let mut dry = Dry::new(1.0, 2.0, allowed_length, window, &breakers);
        for &token in tokens {
            dry.accept(token);
        }
        dry.look();
        dry
    }

    #[test]
    fn continuations_are_found_with_the_longest_repetition() {
        let tokens = [1, 2, 3, 3, 2, 3, 9, 1, 2, 3];
        let found = dry(1, -1, &[], &tokens);
        assert_eq!([3, 2, 9, 1].map(|token| found.length(token)), [Some(3), Some(1), Some(2), None]);
        assert_eq!(dry(3, -1, &[], &tokens).lengths().collect::<Vec<_>>(), [(3, 3)]);
        assert_eq!(dry(4, -1, &[], &tokens).lengths().count(), 0);
    }

    #[test]
    fn windows_and_breakers_shorten_repetitions() {
        let tokens = [1, 2, 3, 4, 9, 1, 2, 3];
        assert_eq!(dry(2, -1, &[], &tokens).length(4), Some(3));
        assert_eq!(dry(2, 6, &[], &tokens).length(4), None);
        assert_eq!(dry(2, -1, &[&[1]], &tokens).length(4), Some(2));
        assert_eq!(dry(2, -1, &[&[3]], &tokens).length(4), None);
        assert_eq!(dry(2, -1, &[&[4]], &tokens).length(4), None);
    }

    #[test]
    fn prefix_lengths_equal_the_definition() {
        let tokens: Vec<TokenId> = (0..300).map(|i| (i * i / 7) % 3).collect();
        let mut lengths = Vec::new();
        match_prefixes(&tokens, &mut lengths);
        for at in 1..tokens.len() {
            let want = tokens.iter().zip(&tokens[at..]).take_while(|(a, b)| a == b).count();
            assert_eq!(lengths[at], want, "{at}");
        }
    }

    #[test]
    fn penalties_grow_with_the_length_and_stay_finite() {
        let dry = dry(2, -1, &[], &[]);
        assert_eq!(dry.penalise(1.0, 4, 1.0).to_bits(), (-3f32).to_bits());
        assert_eq!(dry.penalise(1.0, 4, 0.5).to_bits(), (-1f32).to_bits());
        assert!(dry.penalise(1.0, 100_000, 1.0).is_finite());
        assert!(dry.penalise(f32::NEG_INFINITY, 4, 1.0).is_infinite());
    }
}
