//! Mirostat: a cut that moves so that the surprise of the chosen tokens keeps near a target (Basu et al. 2021).

use libm::{log, log2, pow};

use crate::row::lowest_logit::lowest_logit;
use crate::row::pool::Pool;
use crate::row::weight::Scale;

/// How many of the most probable tokens the exponent is estimated from (m in the paper; 100 as in llama.cpp's `common/sampling.cpp`).
pub(crate) const ESTIMATE_LEN: usize = 100;

/// The controller's state.
#[derive(Clone, Debug)]
pub(crate) struct Mirostat {
    tau: f64,
    eta: f64,
    /// The surprise limit, in bits.
    mu: f64,
    n_vocab: f64,
}

impl Mirostat {
    pub(crate) fn new(tau: f32, eta: f32, n_vocab: usize) -> Self {
        let tau = f64::from(tau);
        Self { tau, eta: f64::from(eta), mu: 2.0 * tau, n_vocab: n_vocab as f64 }
    }

    /// The surprise limit, all that changes from choice to choice.
    pub(crate) fn limit(&self) -> f64 {
        self.mu
    }

    pub(crate) fn set_limit(&mut self, limit: f64) {
        self.mu = limit;
    }

    pub(crate) fn reset(&mut self) {
        self.mu = 2.0 * self.tau;
    }

    /// Takes note of the surprise, in bits, of the token chosen.
    pub(crate) fn observe(&mut self, surprise: f64) {
        self.mu -= self.eta * (surprise - self.tau);
    }

    /// How many tokens mirostat 1 keeps, from the falling logits of the best tokens (at most [`ESTIMATE_LEN`]) and 1 / temperature
    /// (`llama_sampler_mirostat_apply` in `src/llama-sampler.cpp`).
    pub(crate) fn n_kept(&self, logits: impl Iterator<Item = f32>, inverse_temperature: f64) -> usize {
        let (mut above, mut products, mut squares) = (None, 0.0, 0.0);
        for (i, logit) in logits.enumerate() {
            let logit = f64::from(logit);
            if let Some(above) = above {
                let t = log((i + 1) as f64 / i as f64);
                products += t * ((above - logit) * inverse_temperature);
                squares += t * t;
            }
            above = Some(logit);
        }
        if squares == 0.0 {
            return 1;
        }
        let s = products / squares;
        let epsilon = s - 1.0;
        // The factor has the limit 1 / ln N where the exponent is 1.
        let factor = if epsilon.abs() < 1e-9 {
            1.0 / log(self.n_vocab)
        } else {
            epsilon / (1.0 - pow(self.n_vocab, -epsilon))
        };
        let k = pow(factor * pow(2.0, self.mu), 1.0 / s);
        // A conversion from NaN gives 0, one from infinity the largest integer.
        (k as usize).max(1)
    }
}

impl Pool {
    /// Keeps as many of the best tokens as mirostat 1 estimates. The pool is a whole row.
    pub(crate) fn mirostat_1(&mut self, logits: &[f32], mirostat: &Mirostat) {
        self.row.collect_top_k(logits, ESTIMATE_LEN, &mut self.list);
        let inverse = f64::from(self.inverse());
        let n_kept = mirostat.n_kept(self.list.falling_logits(), inverse);
        if n_kept <= ESTIMATE_LEN {
            self.list.top_k(n_kept);
            self.listed = true;
        } else {
            self.keep_best(logits, n_kept);
        }
    }

    /// Keeps the tokens whose surprise is within mirostat 2's limit, or else the best one. The pool is a whole row.
    pub(crate) fn mirostat_2(&mut self, logits: &[f32], mirostat: &Mirostat) {
        let inverse = self.inverse();
        let total = self.row.weigh(logits, inverse);
        let scale = Scale::new(self.row.top(), inverse);
        let is_within = |logit: f32| {
            let weight = f64::from(scale.weight(logit));
            weight > 0.0 && surprise(weight, total) <= mirostat.mu
        };
        if is_within(scale.top) {
            self.keep_from(logits, lowest_logit(scale.top, is_within));
        } else {
            self.keep_best(logits, 1);
        }
    }
}

/// The surprise, in bits, of a token with `weight` among tokens with the sum `total`.
pub(crate) fn surprise(weight: f64, total: f64) -> f64 {
    log2(total / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirostat(tau: f32) -> Mirostat {
        Mirostat::new(tau, 0.1, 1000)
    }

    #[test]
    fn zipf_logits_give_the_count_of_the_closed_form() {
        // p_i ∝ i^-s makes the estimate exact: b_i = s t_i.
        let s = 1.2f64;
        let logits = (1..=100).map(|i| (-s * f64::from(i).ln()) as f32);
        let want = ((s - 1.0) * 2f64.powf(6.0) / (1.0 - 1000f64.powf(1.0 - s))).powf(1.0 / s);
        assert_eq!(mirostat(3.0).n_kept(logits, 1.0), want as usize);
    }

    #[test]
    fn single_and_equal_tokens_keep_at_least_one() {
        assert_eq!(mirostat(3.0).n_kept([1.0].into_iter(), 1.0), 1);
        assert_eq!(mirostat(1.0).n_kept([1.0, 1.0, 1.0].into_iter(), 1.0), 1);
    }

    #[test]
    fn surprise_above_the_target_lowers_the_limit() {
        let mut mirostat = mirostat(5.0);
        mirostat.observe(7.0);
        assert!((mirostat.mu - 9.8).abs() < 1e-7);
        mirostat.reset();
        assert!((mirostat.mu - 10.0).abs() < 1e-12);
    }
}
