//! The candidates of one step: the whole row, or the list of what a stage has left of it.

use crate::TokenId;
use crate::row::blocks::BLOCK;
use crate::row::candidates::Candidates;
use crate::row::logits_row::{Kept, LONG, Row};
use crate::row::simd::{self, Level};
use crate::row::weight::Scale;

/// The candidates of one step; never empty once a row with a finite top is loaded.
///
/// A row stays where it lies until a stage cuts it down; only then are tokens listed. Logits are those before the temperature, which
/// is one factor for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) row: Row,
    /// The candidates if `listed`, else scratch memory.
    pub(crate) list: Candidates,
    pub(crate) listed: bool,
    pub(crate) temperature: f32,
    /// Whether all stages still to come can work on a cut row, so that a cut need not list what it keeps.
    pub(crate) may_end_in_row: bool,
    n_vocab: usize,
}

impl Pool {
    pub(crate) fn new(n_vocab: usize) -> Self {
        let (row, list) = (Row::new(), Candidates::default());
        Self { row, list, listed: false, temperature: 1.0, may_end_in_row: false, n_vocab }
    }

    /// Takes up a new row.
    pub(crate) fn load(&mut self, logits: &[f32]) {
        self.row.load(logits);
        self.listed = false;
        self.temperature = 1.0;
    }

    /// 1 / temperature, finite even for a subnormal temperature.
    pub(crate) fn inverse(&self) -> f32 {
        (1.0 / self.temperature).min(f32::MAX)
    }

    /// Replaces the logits of some tokens. `all` lists them with a value each, `one` gives the value of a single token, and
    /// `change(value, logit)` the new logit.
    pub(crate) fn change<T>(
        &mut self,
        logits: &[f32],
        all: impl Iterator<Item = (TokenId, T)>,
        one: impl Fn(TokenId) -> Option<T>,
        change: impl Fn(T, f32) -> f32,
    ) {
        if self.listed {
            self.list
                .change(|token, logit| one(token as TokenId).map_or(logit, |value| change(value, logit)));
        } else {
            self.row.change(logits, all, change);
        }
    }

    /// Lists all candidates.
    pub(crate) fn list_all(&mut self, logits: &[f32]) {
        if !self.listed {
            self.row.collect(logits, f32::MIN, &mut self.list);
            self.listed = true;
        }
    }

    /// Keeps the `k` best candidates; 0 keeps all.
    pub(crate) fn keep_best(&mut self, logits: &[f32], k: usize) {
        self.list_without_top(logits);
        if self.listed {
            self.list.top_k(k);
        } else if k > 0 && k < self.n_vocab {
            let in_row = self.may_end_in_row && k > LONG && self.row.cut_top_k(logits, self.inverse(), k);
            if !in_row {
                self.row.collect_top_k(logits, k, &mut self.list);
                self.listed = true;
            }
        }
    }

    /// Lists the candidates if a cut has removed the row's highest logits.
    pub(crate) fn list_without_top(&mut self, logits: &[f32]) {
        if self.row.has_lost_top() {
            self.list_all(logits);
        }
    }

    /// Keeps the candidates with a logit of at least `threshold`.
    pub(crate) fn keep_from(&mut self, logits: &[f32], threshold: f32) {
        if self.listed {
            self.list.retain(|item| item.logit >= threshold);
        } else if !self.may_end_in_row {
            self.row.collect(logits, threshold, &mut self.list);
            self.listed = true;
        } else {
            self.listed = self.row.cut_at(logits, threshold, &mut self.list) == Kept::List;
        }
    }

    /// Puts the tokens of the row whose logit divided by the temperature is at most `depth` below the top into `list`, and some just
    /// beyond.
    pub(crate) fn collect_depth(&mut self, logits: &[f32], depth: f64) {
        let (top, inverse) = (f64::from(self.row.top()), f64::from(self.inverse()));
        let margin = 1e-5 * depth / inverse + 1e-6 * top.abs();
        self.row.collect(logits, (top - depth / inverse - margin) as f32, &mut self.list);
    }

    /// Calls `visit` with the logits of all candidates, some at a time; negative infinity and NaN are none.
    pub(crate) fn for_each(&self, logits: &[f32], mut visit: impl FnMut(&[f32])) {
        if self.listed {
            let mut part = [f32::NEG_INFINITY; 64];
            for items in self.list.items().chunks(part.len()) {
                for (logit, item) in part.iter_mut().zip(items) {
                    *logit = item.logit;
                }
                visit(&part[..items.len()]);
            }
        } else {
            self.row.for_each_block(logits, |_, block| visit(block));
        }
    }

    /// How many candidates there are.
    pub(crate) fn count(&self, logits: &[f32]) -> usize {
        if self.listed {
            return self.list.len();
        }
        let mut count = 0;
        self.for_each(logits, |part| count += part.iter().filter(|x| x.is_finite()).count());
        count
    }

    /// How many candidates have a logit of at least `threshold`.
    pub(crate) fn count_from(&self, logits: &[f32], threshold: f32) -> usize {
        let mut count = 0;
        self.for_each(logits, |part| count += part.iter().filter(|&&x| x >= threshold).count());
        count
    }

    /// The highest logit.
    pub(crate) fn top(&self) -> f32 {
        if self.listed {
            self.list.items().iter().fold(f32::MIN, |top, item| top.max(item.logit))
        } else {
            self.row.top()
        }
    }

    /// The candidates with their probabilities, by rising id.
    pub(crate) fn shares(&mut self, logits: &[f32], out: &mut Vec<(TokenId, f64)>) {
        out.clear();
        let inverse = self.inverse();
        let total = if self.listed {
            let total = self.list.weigh(inverse);
            out.extend(self.list.items().iter().map(|item| (item.id as TokenId, f64::from(item.weight))));
            total
        } else {
            let scale = Scale::new(self.row.top(), inverse);
            let level = Level::best();
            let mut weights = [0.0; BLOCK];
            self.row.for_each_block(logits, |base, block| {
                simd::weigh_each(level, block, scale, &mut weights[..block.len()]);
                let finite = block.iter().zip(&weights).enumerate().filter(|(_, (x, _))| x.is_finite());
                out.extend(finite.map(|(at, (_, &weight))| ((base + at) as TokenId, f64::from(weight))));
            });
            out.iter().map(|share| share.1).sum()
        };
        for share in out.iter_mut() {
            share.1 /= total;
        }
    }
}
