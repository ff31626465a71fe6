//! XTC, "exclude top choices": removes the most probable tokens if enough of them are probable.

use libm::log;

use crate::TokenId;
use crate::row::pool::Pool;

impl Pool {
    /// Removes the candidates with a probability of at least `threshold`, but for the last of them, unless fewer than `min_keep` would
    /// be left (`llama_sample_xtc_apply` in `src/llama-sampler.cpp`). The caller has tossed the coin.
    pub(crate) fn exclude_top(&mut self, logits: &[f32], threshold: f32, min_keep: usize) {
        let (inverse, threshold) = (self.inverse(), f64::from(threshold));
        if threshold <= 0.0 {
            self.list_all(logits);
        }
        let total = if self.listed {
            self.list.weigh(inverse)
        } else {
            let total = self.row.weigh(logits, inverse);
            self.collect_depth(logits, -log(threshold * total).min(0.0));
            self.list.weigh(inverse);
            total
        };
        let least = threshold * total;
        let heavy = self.list.items().iter().filter(|item| f64::from(item.weight) >= least);
        let (n_heavy, last) = heavy.fold((0, 0), |(n, last), item| (n + 1, item.rank().max(last)));
        if n_heavy < 2 || (min_keep > 1 && self.count(logits) - (n_heavy - 1) < min_keep) {
            return;
        }
        if self.listed {
            self.list.retain(|item| f64::from(item.weight) < least || item.rank() == last);
        } else {
            let items = self.list.items().iter();
            let gone = items.filter(|item| f64::from(item.weight) >= least && item.rank() != last);
            self.row.change(logits, gone.map(|item| (item.id as TokenId, ())), |(), _| f32::NEG_INFINITY);
        }
    }
}
