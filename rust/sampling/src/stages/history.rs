//! The accepted tokens that the penalties look at, and the penalties' formula.

use std::collections::{HashMap, VecDeque};

use crate::TokenId;

/// How many tokens to make room for at once; a longer window grows as it fills.
pub(crate) const RESERVE_MAX: usize = 4096;

/// One penalties stage with the window that it looks at; the window is not empty.
#[derive(Clone, Debug)]
pub(crate) struct History {
    repeat: f32,
    frequency: f32,
    presence: f32,
    /// The window's length; `None` is the whole history, which needs no ring.
    window: Option<usize>,
    ring: VecDeque<TokenId>,
    counts: HashMap<TokenId, u32>,
}

impl History {
    pub(crate) fn new(repeat: f32, repeat_window: i32, frequency: f32, presence: f32) -> Self {
        let window = usize::try_from(repeat_window).ok();
        let reserve = window.unwrap_or(0).min(RESERVE_MAX);
        Self {
            repeat,
            frequency,
            presence,
            window,
            ring: VecDeque::with_capacity(reserve),
            counts: HashMap::with_capacity(reserve * 2),
        }
    }

    pub(crate) fn accept(&mut self, token: TokenId) {
        if let Some(window) = self.window {
            if self.ring.len() == window
                && let Some(oldest) = self.ring.pop_front()
            {
                self.forget(oldest);
            }
            self.ring.push_back(token);
        }
        *self.counts.entry(token).or_insert(0) += 1;
    }

    fn forget(&mut self, token: TokenId) {
        if let Some(count) = self.counts.get_mut(&token) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&token);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ring.clear();
        self.counts.clear();
    }

    /// The tokens of the window with their counts, each once, in no order.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (TokenId, u32)> {
        self.counts.iter().map(|(&token, &count)| (token, count))
    }

    pub(crate) fn count(&self, token: TokenId) -> u32 {
        self.counts.get(&token).copied().unwrap_or(0)
    }

    /// The logit of a token that occurs `count` times in the window (`llama_sampler_penalties_apply` in `src/llama-sampler.cpp`,
    /// after Keskar et al. 2019 for the repeat penalty).
    ///
    /// `logit` is the one before the temperature. Where the temperature stage has run, `temperature` is not 1; scaling a logit
    /// commutes with the repeat penalty, and the other two are brought to the same scale. A finite logit stays finite.
    pub(crate) fn penalise(&self, logit: f32, count: u32, temperature: f32) -> f32 {
        if !logit.is_finite() {
            return logit;
        }
        let repeated = if logit <= 0.0 { logit * self.repeat } else { logit / self.repeat };
        let taken = temperature * (count as f32 * self.frequency + self.presence);
        let penalised = repeated.clamp(f32::MIN, f32::MAX) - taken.clamp(f32::MIN, f32::MAX);
        penalised.clamp(f32::MIN, f32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(repeat_window: i32) -> History {
        History::new(2.0, repeat_window, 0.5, 0.25)
    }

    #[test]
    fn window_forgets_the_oldest_token() {
        let mut history = history(3);
        for token in [1, 1, 2, 3] {
            history.accept(token);
        }
        assert_eq!([1, 2, 3, 4].map(|token| history.count(token)), [1, 1, 1, 0]);
        history.accept(5);
        assert_eq!(history.count(1), 0);
        assert_eq!(history.counts().count(), 3);
    }

    #[test]
    fn window_of_minus_one_keeps_everything() {
        let mut history = history(-1);
        (0..1000).for_each(|i| history.accept(i % 10));
        assert_eq!(history.count(3), 100);
    }

    #[test]
    fn penalties_follow_the_formula() {
        let history = history(64);
        assert_eq!(history.penalise(4.0, 2, 1.0).to_bits(), (4.0f32 / 2.0 - 1.25).to_bits());
        assert_eq!(history.penalise(-4.0, 1, 1.0).to_bits(), (-4.0f32 * 2.0 - 0.75).to_bits());
        assert_eq!(history.penalise(4.0, 2, 0.5).to_bits(), (2.0f32 - 0.625).to_bits());
    }

    #[test]
    fn penalties_keep_finite_logits_finite() {
        let history = history(64);
        assert!(history.penalise(f32::MIN, 1, 1.0).is_finite());
        assert_eq!(history.penalise(f32::NEG_INFINITY, 1, 1.0).to_bits(), f32::NEG_INFINITY.to_bits());
    }
}
