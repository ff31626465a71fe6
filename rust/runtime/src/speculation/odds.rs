//! How likely guesses come true, and how many of them are worth a try.

/// How many guesses in a row came true before one, in steps that behave alike: 0, 1, 2, 3 to 4, 5 to 8, more.
const BOUNDS: [usize; 5] = [0, 1, 2, 4, 8];
/// What is thought of guesses before any was seen.
const FIRST: [f64; 6] = [0.4, 0.5, 0.6, 0.75, 0.85, 0.9];
/// What is thought of guesses by a model.
const HOPE: f64 = 0.75;
/// So many of its guesses weigh as much: each that fails costs time, so it is soon known.
const HOPE_WEIGHT: f64 = 1.0;
/// So many guesses weigh as much as [`FIRST`].
const LEAST_WEIGHT: f64 = 3.0;
/// Guesses longer ago than about so many are forgotten.
const MOST_WEIGHT: f64 = 24.0;
/// Drafts are worth a try that promise so much more than none: measured times are not exact.
const WORTH: f64 = 1.04;

/// How often guesses came true, by how many in a row had come true before.
///
/// Text that repeats does so for long stretches, so one guess that comes true makes the next one more likely.
#[derive(Clone, Debug)]
pub(super) struct Odds {
    rates: [f64; FIRST.len()],
    weights: [f64; FIRST.len()],
}

impl Odds {
    pub(super) fn new() -> Self {
        Self { rates: FIRST, weights: [LEAST_WEIGHT; FIRST.len()] }
    }

    /// For guesses that are thought to be good.
    pub(super) fn hopeful() -> Self {
        Self { rates: [HOPE; FIRST.len()], weights: [HOPE_WEIGHT; FIRST.len()] }
    }

    /// Notes whether the guess after `n_before` right ones in a row was right.
    pub(super) fn note(&mut self, n_before: usize, right: bool) {
        let at = bucket(n_before);
        self.weights[at] = (self.weights[at] + 1.0).min(MOST_WEIGHT);
        self.rates[at] += (f64::from(u8::from(right)) - self.rates[at]) / self.weights[at];
    }

    /// How many of the next `n` guesses, after `n_before` right ones, give the most tokens a second. Each makes a step longer by `cost` of the time that a token
    /// takes without.
    pub(super) fn best(&self, n_before: usize, n: usize, cost: f64) -> usize {
        let (mut best, mut best_rate) = (0, WORTH);
        let (mut tokens, mut likely) = (1.0, 1.0);
        for count in 1..=n {
            likely *= self.rates[bucket(n_before + count - 1)];
            tokens += likely;
            let rate = tokens / (1.0 + cost * count as f64);
            if rate > best_rate {
                (best, best_rate) = (count, rate);
            }
        }
        best
    }
}

fn bucket(n_before: usize) -> usize {
    BOUNDS.iter().position(|bound| n_before <= *bound).unwrap_or(BOUNDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(guesses: impl IntoIterator<Item = bool>) -> Odds {
        let (mut odds, mut n_before) = (Odds::new(), 0);
        for right in guesses {
            odds.note(n_before, right);
            n_before = if right { n_before + 1 } else { 0 };
        }
        odds
    }

    #[test]
    fn text_that_repeats_is_drafted_as_far_as_is_cheap() {
        let odds = after([true; 40]);
        assert_eq!(odds.best(40, 16, 0.05), 16);
        assert!(odds.best(40, 16, 0.5) >= 12);
        assert_eq!(odds.best(40, 16, 1.1), 0, "a token that costs a step of its own gains nothing");
    }

    #[test]
    fn text_that_does_not_repeat_is_not_drafted() {
        let odds = after([false; 10]);
        assert_eq!(odds.best(0, 16, 0.4), 0);
        // After a few right guesses in a row it may be another kind of text.
        assert!(odds.best(6, 16, 0.4) > 0);
    }

    #[test]
    fn drafts_get_shorter_with_what_they_cost() {
        let odds = after([true, true, true, false].repeat(20));
        let lengths: Vec<usize> = [0.01, 0.1, 0.3, 0.9].iter().map(|cost| odds.best(0, 16, *cost)).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
        assert!(lengths[0] >= 3 && lengths[3] <= 1, "{lengths:?}");
    }

    #[test]
    fn no_draft_is_longer_than_there_is_room_for() {
        assert_eq!(after([true; 40]).best(40, 3, 0.1), 3);
        assert_eq!(after([true; 40]).best(40, 0, 0.1), 0);
    }
}
