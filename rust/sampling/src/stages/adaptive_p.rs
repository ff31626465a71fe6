//! Adaptive-p: prefers tokens whose probability is near a target that makes up for the tokens chosen before.

use crate::TokenId;
use crate::row::blocks::{BLOCK, Block};
use crate::row::cut_search::exceeding;
use crate::row::pool::Pool;
use crate::row::simd::{self, Level};
use crate::row::weight::Scale;

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
    /// The weight of each block of a whole row after the change.
    sums: Vec<f64>,
}

impl AdaptiveP {
    /// `target` is in [0, 1], `decay` in [0, 0.99].
    pub(crate) fn new(target: f32, decay: f32) -> Self {
        let (target, decay) = (f64::from(target), f64::from(decay));
        let mut adaptive = Self {
            target,
            decay,
            weighted_sum: 0.0,
            total_weight: 0.0,
            before: Vec::new(),
            sums: Vec::new(),
        };
        adaptive.reset();
        adaptive
    }

    /// The faded sums, all that changes from choice to choice.
    pub(crate) fn faded(&self) -> (f64, f64) {
        (self.weighted_sum, self.total_weight)
    }

    pub(crate) fn set_faded(&mut self, faded: (f64, f64)) {
        (self.weighted_sum, self.total_weight) = faded;
    }

    pub(crate) fn reset(&mut self) {
        self.total_weight = 1.0 / (1.0 - self.decay);
        self.weighted_sum = self.target * self.total_weight;
    }

    /// Gives every candidate a new logit by how near its probability is to the target of this step.
    pub(crate) fn transform(&mut self, pool: &mut Pool, logits: &[f32]) {
        pool.list_all(logits);
        pool.shares(logits, &mut self.before);
        let target = self.next_target();
        let mut shares = self.before.iter();
        // `change` goes through the same candidates in the same order.
        let new = |share: f64| {
            let distance = ((share - target) / WIDTH).abs();
            (PEAK - SHARPNESS * distance * distance / (1.0 + distance)) as f32
        };
        pool.list.change_in_order(|logit| shares.next().map_or(logit, |share| new(share.1)));
        pool.temperature = 1.0;
    }

    /// The probability that this step prefers.
    fn next_target(&self) -> f64 {
        (2.0 * self.target - self.weighted_sum / self.total_weight).clamp(0.0, 1.0)
    }

    /// Chooses from a whole row whose weights sum to `total`, without listing it: the token, and its probability before the change. `draw`
    /// is in [0, 1).
    pub(crate) fn choose(
        &mut self,
        pool: &mut Pool,
        logits: &[f32],
        total: f64,
        draw: f64,
    ) -> Option<(TokenId, f64)> {
        let level = Level::best();
        let scale = Scale::new(pool.row.top(), pool.inverse());
        let (share_of_one, target) = ((1.0 / total) as f32, self.next_target() as f32);
        let adapt = |block: &[f32], out: &mut Block| {
            let mut shares = [0.0; BLOCK];
            simd::weigh_each(level, block, scale, &mut shares[..block.len()]);
            let mut new = [f32::NEG_INFINITY; BLOCK];
            for ((new, &logit), weight) in new.iter_mut().zip(block).zip(shares) {
                let distance = (weight * share_of_one - target).abs() * (1.0 / WIDTH) as f32;
                let depth = SHARPNESS as f32 * distance * distance / (1.0 + distance);
                *new = if logit > f32::NEG_INFINITY { -depth } else { f32::NEG_INFINITY };
            }
            simd::weigh_each(level, &new, Scale::new(0.0, 1.0), out);
        };
        self.sums.clear();
        let mut weights = [0.0; BLOCK];
        pool.row.for_each_block(logits, |_, block| {
            adapt(block, &mut weights);
            self.sums.push(simd::mass(level, &weights, &weights, 0.0).0);
        });
        let target = draw * self.sums.iter().sum::<f64>();
        let (block, mut running) = exceeding(0..self.sums.len(), 0.0, target, |&block| self.sums[block])?;
        let logits = pool.row.block(logits, block);
        adapt(logits, &mut weights);
        let mut last = None;
        for (at, weight) in weights.into_iter().enumerate().filter(|(_, weight)| *weight > 0.0) {
            last = Some(at);
            running += f64::from(weight);
            if running > target {
                break;
            }
        }
        last.map(|at| ((block * BLOCK + at) as TokenId, f64::from(scale.weight(logits[at])) / total))
    }

    /// Takes note of the token chosen in the step just transformed.
    pub(crate) fn observe(&mut self, token: TokenId) {
        if let Ok(at) = self.before.binary_search_by_key(&token, |share| share.0) {
            self.observe_share(self.before[at].1);
        }
    }

    /// Takes note of the probability, before the change, of the token chosen.
    pub(crate) fn observe_share(&mut self, share: f64) {
        self.weighted_sum = share + self.decay * self.weighted_sum;
        self.total_weight = 1.0 + self.decay * self.total_weight;
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
