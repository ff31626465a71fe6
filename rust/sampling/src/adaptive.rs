//! Adaptive-p: prefers tokens whose probability is near a target that makes up for the tokens chosen before.

use crate::TokenId;
use crate::pool::Pool;

/// The shape of the preference (`llama_sampler_adaptive_p_apply` in `src/llama-sampler.cpp`): the best new logit, how fast it falls, and
/// the distance from the target at which it begins to fall linearly.
const PEAK: f64 = 5.0;
const SHARPNESS: f64 = 10.0;
const WIDTH: f64 = 0.3;

/// The controller's state: a mean of the chosen tokens' probabilities in which older ones fade.
#[derive(Clone, Debug)]
pub(crate) struct AdaptiveP {
    target: f64,
    decay: f64,
    weighted_sum: f64,
    total_weight: f64,
    /// The candidates of the last step with their probabilities before the change.
    before: Vec<(TokenId, f64)>,
}

impl AdaptiveP {
    /// `target` is in [0, 1], `decay` in [0, 0.99].
    pub(crate) fn new(target: f32, decay: f32) -> Self {
        let (target, decay) = (f64::from(target), f64::from(decay));
        let mut adaptive = Self { target, decay, weighted_sum: 0.0, total_weight: 0.0, before: Vec::new() };
        adaptive.reset();
        adaptive
    }

    pub(crate) fn reset(&mut self) {
        self.total_weight = 1.0 / (1.0 - self.decay);
        self.weighted_sum = self.target * self.total_weight;
    }

    /// Gives every candidate a new logit by how near its probability is to the target of this step.
    pub(crate) fn transform(&mut self, pool: &mut Pool, logits: &[f32]) {
        pool.list_all(logits);
        pool.shares(logits, &mut self.before);
        let target = (2.0 * self.target - self.weighted_sum / self.total_weight).clamp(0.0, 1.0);
        let mut shares = self.before.iter();
        // `change` goes through the same candidates in the same order.
        let new = |share: f64| {
            let distance = ((share - target) / WIDTH).abs();
            (PEAK - SHARPNESS * distance * distance / (1.0 + distance)) as f32
        };
        pool.list.change_in_order(|logit| shares.next().map_or(logit, |share| new(share.1)));
        pool.temperature = 1.0;
    }

    /// Takes note of the token chosen in the step just transformed.
    pub(crate) fn observe(&mut self, token: TokenId) {
        if let Ok(at) = self.before.binary_search_by_key(&token, |share| share.0) {
            self.weighted_sum = self.before[at].1 + self.decay * self.weighted_sum;
            self.total_weight = 1.0 + self.decay * self.total_weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_tokens_move_the_mean() {
        let mut adaptive = AdaptiveP::new(0.5, 0.5);
        assert!((adaptive.weighted_sum - 1.0).abs() < 1e-12 && (adaptive.total_weight - 2.0).abs() < 1e-12);
        adaptive.before = vec![(3, 0.25), (8, 0.75)];
        adaptive.observe(8);
        assert!((adaptive.weighted_sum - 1.25).abs() < 1e-12 && (adaptive.total_weight - 2.0).abs() < 1e-12);
        adaptive.observe(5);
        assert!((adaptive.weighted_sum - 1.25).abs() < 1e-12);
        adaptive.reset();
        assert!((adaptive.weighted_sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn tokens_near_the_target_become_the_best() {
        let logits: Vec<f32> = [0.6f32, 0.3, 0.1].iter().map(|p| p.ln()).collect();
        let mut pool = Pool::new(3);
        pool.load(&logits);
        AdaptiveP::new(0.3, 0.9).transform(&mut pool, &logits);
        let logits: Vec<f32> = pool.list.items().iter().map(|item| item.logit).collect();
        assert!((logits[1] - 5.0).abs() < 1e-6);
        // A distance of one width: 5 - 10 / 2; of two thirds: 5 - 10 * (4 / 9) / (5 / 3).
        assert!((logits[0] - 0.0).abs() < 1e-5 && (logits[2] - (5.0 - 40.0 / 15.0)).abs() < 1e-5);
    }
}
