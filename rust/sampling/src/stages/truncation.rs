//! Top-k, top-p, min-p and typical: stages that cut the least probable, or least typical, tokens off.

use crate::row::goal::Goal;
use crate::row::logits_row::{Kept, typical_logit};
use crate::row::lowest_logit::lowest_logit;
use crate::row::pool::Pool;
use crate::row::rank_key::RankKey;
use crate::row::weight::Scale;

impl Pool {
    pub(crate) fn top_p(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        let (p, inverse) = (f64::from(p), self.inverse());
        if p >= 1.0 {
            return;
        }
        if self.listed {
            let goal = Goal::at_least(p * self.list.weigh(inverse), min_keep);
            self.list.keep_prefix(RankKey::Logit, goal);
            return;
        }
        match self.row.cut_top_p(logits, inverse, (p, min_keep), &mut self.list) {
            Kept::Row if self.may_end_in_row => return,
            Kept::Row => self.row.collect(logits, f32::MIN, &mut self.list),
            Kept::List => {}
        }
        self.listed = true;
    }

    pub(crate) fn min_p(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        if p <= 0.0 {
            return;
        }
        self.list_without_top(logits);
        let scale = Scale::new(self.top(), self.inverse());
        let threshold = lowest_logit(scale.top, |logit| scale.weight(logit) >= p);
        if min_keep > 1 && self.count_from(logits, threshold) < min_keep {
            self.keep_best(logits, min_keep);
        } else {
            self.keep_from(logits, threshold);
        }
    }

    /// Keeps the tokens whose surprise is nearest to the entropy until they hold more than `p` of the probability
    /// (Meister et al. 2022; `llama_sampler_typical_apply` in `src/llama-sampler.cpp`), the lowest ids on ties.
    pub(crate) fn typical(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        let (p, inverse) = (f64::from(p), self.inverse());
        if p >= 1.0 {
            return;
        }
        if !self.listed && self.row.cut_typical(logits, inverse, (p, min_keep)) {
            if !self.may_end_in_row {
                self.list_all(logits);
            }
            return;
        }
        self.list_all(logits);
        self.list.weigh(inverse);
        let (moments, scale) = self.list.moments(inverse);
        let goal = Goal::more_than(p * moments.total, min_keep);
        self.list.keep_prefix(RankKey::Near(typical_logit(&moments, scale)), goal);
    }
}
