//! Infill: decides between going on and ending for fill-in-the-middle, with tokens that begin alike taken together.

use crate::row::pool::Pool;
use crate::{TokenId, TokenPieces};

/// Only this many of the best candidates are compared with each other; the time grows with the square.
const COMPARED_MAX: usize = 1000;
/// The least probability of a token of text, when tokens that begin alike are taken together.
const LEAST: f64 = 0.2;

/// A candidate in the comparison.
#[derive(Clone, Copy, Debug)]
struct Choice {
    id: u32,
    share: f64,
    merged: bool,
}

/// Scratch memory for the comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Infill {
    ranked: Vec<(u64, f64)>,
    options: Vec<Choice>,
    kept: Vec<u32>,
}

impl Infill {
    /// Cuts the candidates down (`llama_sampler_infill_apply` in `src/llama-sampler.cpp`).
    ///
    /// 1. If the tokens that end the text are probable enough beside so many candidates, only they stay.
    /// 2. A token that begins another one's text is merged with it into the more probable of both.
    /// 3. What then is under 0.2, and under 1 / (n + 1) for the n tokens of text left, goes, but for those that end the text.
    ///
    /// Where no token of text is left, the text ends, with the vocabulary's own token for it if it is a candidate of the row.
    pub(crate) fn apply(&mut self, pool: &mut Pool, logits: &[f32], pieces: &TokenPieces) {
        pool.keep_best(logits, COMPARED_MAX);
        pool.list_all(logits);
        let total = pool.list.weigh(pool.inverse());
        let is_end = |id: u32| pieces.is_end(id as TokenId);
        self.ranked.clear();
        let items = pool.list.items().iter();
        self.ranked.extend(items.map(|item| (item.rank(), f64::from(item.weight) / total)));
        self.ranked.sort_unstable_by_key(|&(rank, _)| rank);
        self.options.clear();
        self.options.extend(self.ranked.iter().map(|&(rank, share)| Choice {
            id: rank as u32,
            share,
            merged: false,
        }));

        let ends: f64 =
            self.options.iter().filter(|option| is_end(option.id)).map(|option| option.share).sum();
        if 3.0 * ends * self.options.len() as f64 > 1.0 - ends {
            pool.list.retain(|item| is_end(item.id));
            return;
        }
        merge(&mut self.options, pieces);
        self.options.retain(|option| option.share >= LEAST || is_end(option.id));
        let n_text = self.options.iter().filter(|option| !is_end(option.id)).count();
        if n_text == 0 {
            end(pool, logits, pieces);
            return;
        }
        let left: f64 = self.options.iter().map(|option| option.share).sum();
        let least = left / (n_text + 1) as f64;
        self.options.retain(|option| option.share >= least || is_end(option.id));
        // What was merged away ends no text and has no share, or it ends the text and has no logit any more.
        self.kept.clear();
        self.kept.extend(self.options.iter().filter(|option| !option.merged).map(|option| option.id));
        self.kept.sort_unstable();
        let kept = &self.kept;
        pool.list.retain(|item| kept.binary_search(&item.id).is_ok());
    }
}

/// Merges every token with those whose text it begins, from the best down.
fn merge(options: &mut [Choice], pieces: &TokenPieces) {
    for first in 0..options.len() {
        let beginning = pieces.bytes(options[first].id as TokenId);
        if beginning.is_empty() {
            continue;
        }
        for second in 0..options.len() {
            if options[first].merged {
                break;
            }
            let other = options[second];
            if first == second || other.merged || !pieces.bytes(other.id as TokenId).starts_with(beginning) {
                continue;
            }
            let (to, from) =
                if other.share > options[first].share { (second, first) } else { (first, second) };
            options[to].share += options[from].share;
            options[from].share = 0.0;
            options[from].merged = true;
        }
    }
}

/// Leaves the vocabulary's token for the end, else what ends the text, else the best candidate.
fn end(pool: &mut Pool, logits: &[f32], pieces: &TokenPieces) {
    let mut possible = None;
    if let Some(end) = pieces.end() {
        pool.row.for_each_block(logits, |base, block| {
            let at = (end as usize).checked_sub(base);
            if at.and_then(|at| block.get(at)).is_some_and(|x| x.is_finite()) {
                possible = Some(end as u32);
            }
        });
    }
    if let Some(end) = possible {
        pool.list.clear();
        pool.list.push(end, 1.0);
    } else if pool.list.items().iter().any(|item| pieces.is_end(item.id as TokenId)) {
        pool.list.retain(|item| pieces.is_end(item.id as TokenId));
    } else {
        pool.list.top_k(1);
    }
}
