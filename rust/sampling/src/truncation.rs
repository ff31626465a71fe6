//! Top-k, top-p, min-p and typical: stages that cut the least probable, or least typical, tokens off.

use libm::log;

use crate::pool::Pool;
use crate::row::Kept;

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
