//! Top-k, top-p, min-p and typical: stages that cut the least probable, or least typical, tokens off.

use libm::log;

use crate::pool::Pool;

/// How far below the top, in units of the temperature, top-p first looks for its tokens.
const FIRST_DEPTH: f32 = 3.0;
/// Beyond this depth every weight is 0.
const LAST_DEPTH: f32 = 90.0;

impl Pool {
    pub(crate) fn top_p(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        let (p, inverse) = (f64::from(p), self.inverse());
        if p >= 1.0 {
            return;
        }
        if self.listed {
            let target = p * self.list.weigh(inverse);
            self.list.top_mass(target, min_keep);
            return;
        }
        let target = p * self.row.weigh(logits, inverse);
        let top = self.row.top();
        let mut depth = FIRST_DEPTH;
        loop {
            let everything = depth > LAST_DEPTH;
            let threshold = if everything { f32::MIN } else { top - depth / inverse };
            self.row.collect(logits, threshold, &mut self.list);
            let mass = self.list.weigh(inverse);
            if everything || (mass >= target && self.list.len() >= min_keep) {
                break;
            }
            depth *= 1.5;
        }
        self.list.top_mass(target, min_keep);
        self.listed = true;
    }

    pub(crate) fn min_p(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        if p <= 0.0 {
            return;
        }
        if !self.listed {
            self.collect_depth(logits, -log(f64::from(p)));
        }
        self.list.weigh(self.inverse());
        if !self.list.at_least(p, min_keep) {
            if self.listed {
                self.list.top_k(min_keep);
            } else {
                self.row.collect_top_k(logits, min_keep, &mut self.list);
            }
        }
        self.listed = true;
    }

    pub(crate) fn typical(&mut self, logits: &[f32], p: f32, min_keep: usize) {
        if p < 1.0 {
            self.list_all(logits);
            self.list.typical(p, min_keep, self.inverse());
        }
    }
}
