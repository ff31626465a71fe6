//! Comparing steps of different widths.

/// Steps before any is compared with others: the first ones read weights from the file.
const FIRST_STEPS: u32 = 2;

/// What a step of each width takes when all else is equal, so that times of steps of different widths can be compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Scale {
    /// For each width, the seconds that a token takes at level 1, once known.
    costs: Vec<Option<f64>>,
    n_steps: u32,
}

/// Widths up to 16 tokens are told apart, larger ones by their powers of two.
fn index_of(n_tokens: usize) -> usize {
    if n_tokens <= 16 { n_tokens } else { 12 + n_tokens.ilog2() as usize }
}

impl Scale {
    /// Takes in a step of `seconds` on a machine at `level`, and returns its own level; `None` where there was no other to compare it with.
    pub(super) fn read(&mut self, n_tokens: usize, seconds: f64, level: f64) -> Option<f64> {
        let index = index_of(n_tokens);
        if self.costs.len() <= index {
            self.costs.resize(index + 1, None);
        }
        let seen = seconds / n_tokens.max(1) as f64 / level;
        self.n_steps = self.n_steps.saturating_add(1);
        let cost = self.costs[index].get_or_insert(seen);
        if self.n_steps <= FIRST_STEPS {
            *cost = cost.min(seen);
            return None;
        }
        let relative = seen / *cost;
        // Widths that were first seen on a busier machine than others find back to them.
        *cost *= relative.clamp(0.5, 2.0).powf(0.02);
        Some(relative * level)
    }

    /// Seconds that a step takes at `level`; `None` where no step was measured.
    pub(super) fn expect(&self, n_tokens: usize, level: f64) -> Option<f64> {
        let index = index_of(n_tokens);
        let known =
            self.costs.iter().enumerate().filter_map(|(at, cost)| Some((at.abs_diff(index), (*cost)?)));
        let (_, cost) = known.min_by_key(|(distance, _)| *distance)?;
        Some(cost * n_tokens.max(1) as f64 * level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_different_widths_have_the_same_level() {
        let mut scale = Scale::default();
        let seconds = |n: usize| 0.004 + 0.001 * n as f64;
        assert_eq!(scale.read(1, 5.0 * seconds(1), 1.0), None, "the first step is slow");
        for n in [1, 3, 40, 700] {
            scale.read(n, seconds(n), 1.0);
        }
        for n in [1, 3, 40, 700] {
            let level = scale.read(n, 2.0 * seconds(n), 1.0).unwrap();
            assert!((level - 2.0).abs() < 1e-9, "{n}: {level}");
        }
    }

    #[test]
    fn width_that_was_first_seen_on_a_slow_machine_is_read_as_slow() {
        let mut scale = Scale::default();
        for _ in 0..3 {
            scale.read(2, 0.3, 3.0);
        }
        let level = scale.read(2, 0.1, 3.0).unwrap();
        assert!((level - 1.0).abs() < 0.05, "{level}");
    }

    #[test]
    fn expectation_of_an_unknown_width_follows_the_nearest() {
        let mut scale = Scale::default();
        assert_eq!(scale.expect(5, 1.0), None);
        scale.read(4, 0.4, 1.0);
        let expected = scale.expect(6, 2.0).unwrap();
        assert!((expected - 1.2).abs() < 1e-9, "{expected}");
    }
}
