//! What the last step drew from, for log-probabilities after sampling.

use crate::row::pool::Pool;
use crate::row::weight::Scale;
use crate::stages::adaptive_p::AdaptiveP;
use crate::{Sampler, TokenId};

/// The last choice, and what is needed to tell the probabilities of the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastDraw {
    chosen: Option<(TokenId, f64)>,
    /// Whether the pool's list holds candidates with weights, other than the chosen one.
    others: bool,
    /// The sum that weights are relative to; 0 is that of the list itself.
    total: f64,
    /// How many of the best to list of a row that no stage has cut down.
    n_remembered: usize,
}

impl LastDraw {
    pub(crate) fn set(&mut self, token: TokenId, probability: f64, others: bool) {
        (self.chosen, self.others, self.total) = (Some((token, probability)), others, 0.0);
    }

    /// Forgets the last choice.
    pub(crate) fn forget(&mut self) {
        self.chosen = None;
    }

    /// Records a choice that adaptive-p made from a whole row. If other candidates were asked for, the whole row is listed with its adapted
    /// logits.
    pub(crate) fn remember_adapted(
        &mut self,
        pool: &mut Pool,
        logits: &[f32],
        token: TokenId,
        adaptive: &mut AdaptiveP,
    ) {
        self.chosen = None;
        if self.n_remembered > 0 {
            adaptive.transform(pool, logits);
            let total = pool.list.weigh(pool.inverse());
            let items = pool.list.items();
            let at = items.binary_search_by_key(&(token as u32), |item| item.id);
            let weight = at.map_or(0.0, |at| f64::from(items[at].weight));
            self.set(token, weight / total, true);
        }
    }

    /// Records a choice from a whole row whose weights sum to `total`.
    pub(crate) fn remember(&mut self, pool: &mut Pool, logits: &[f32], token: TokenId, total: f64) {
        self.chosen = None;
        if self.n_remembered > 0 {
            pool.row.collect_top_k(logits, self.n_remembered, &mut pool.list);
            let scale = Scale::new(pool.row.top(), pool.inverse());
            pool.list.weigh_by(scale);
            let weight = scale.weight(pool.row.logit(logits, token as usize));
            self.chosen = Some((token, f64::from(weight) / total));
        }
        (self.others, self.total) = (self.n_remembered > 0, total);
    }
}

impl Sampler {
    /// Lets [`kept`](Self::kept) tell at least the `n` best candidates also of steps in which no stage cuts the vocabulary down; 0, as
    /// at first, saves the time that this takes.
    pub fn remember(&mut self, n: usize) {
        self.drawn.n_remembered = n;
    }

    /// Puts the `n` most probable tokens that the last [`sample`](Self::sample) could have drawn into `out`, best first and the lowest
    /// ids on ties, with their probabilities; after them the token drawn, if it is none of them.
    ///
    /// The probabilities are the final ones: those of all kept tokens sum to 1, and a greedy step has one token. Where no stage cut the
    /// vocabulary down there are at most as many as [`remember`](Self::remember) asked for, and none without it. Allocates nothing but
    /// `out`'s growth; `out` is cleared first.
    pub fn kept(&self, n: usize, out: &mut Vec<(TokenId, f32)>) {
        out.clear();
        let Some((token, probability)) = self.drawn.chosen else { return };
        if !self.drawn.others {
            out.push((token, probability as f32));
            return;
        }
        let items = self.pool.list.items();
        let total = match self.drawn.total {
            0.0 => items.iter().map(|item| f64::from(item.weight)).sum(),
            total => total,
        };
        out.extend(items.iter().filter(|item| item.weight > 0.0).map(|item| {
            let share = f64::from(item.weight) / total;
            (item.id as TokenId, share as f32)
        }));
        let order = |a: &(TokenId, f32), b: &(TokenId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if n > 0 && n < out.len() {
            out.select_nth_unstable_by(n - 1, order);
        }
        out.truncate(n);
        out.sort_unstable_by(order);
        if !out.iter().any(|kept| kept.0 == token) {
            out.push((token, probability as f32));
        }
    }
}
