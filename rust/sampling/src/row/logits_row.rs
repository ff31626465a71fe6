//! One row of logits, read where it lies: block maxima to skip by, and private copies of the few blocks that change.

use crate::TokenId;
use crate::row::blocks::{BLOCK, Block, Blocks, UNTOUCHED};
use crate::row::candidates::Candidates;
use crate::row::cut_search::{CutSearch, exceeding};
use crate::row::goal::Goal;
use crate::row::last_kept::LastKept;
use crate::row::rank_key::RankKey;
use crate::row::ranked_row::RankedRow;
use crate::row::simd::{self, Level, Moments};
use crate::row::weight::Scale;

const EMPTY: Block = [f32::NEG_INFINITY; BLOCK];
/// If fewer blocks than this have candidates, typical sampling works on a list.
const LEAST_BLOCKS: usize = 32;
/// A cut that keeps more tokens than this, or tokens in more blocks than this, is remembered by the row instead of listed.
pub(crate) const LONG: usize = 1024;
const LONG_BLOCKS: usize = 256;
/// Differences of logits up to this size are far from overflowing.
const LARGE: f32 = 1e30;

/// Scratch memory for rows of one length. The row itself is passed to each method: it is borrowed for one step only.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    level: Level,
    /// The maximum of each block, filled up with negative infinity.
    maxima: Vec<Block>,
    top: f32,
    /// For each block its place in `copies`, or `UNTOUCHED`.
    places: Vec<u32>,
    /// Blocks with bias or penalties in them, and the last block if it is short; filled up with negative infinity.
    copies: Vec<Block>,
    /// The blocks that `copies` stands for, in the same order.
    copied: Vec<u32>,
    /// The weight of each block after [`weigh`](Self::weigh); after a cut, only the weight above the search's high line.
    sums: Vec<f64>,
    selection: Vec<f32>,
    search: CutSearch,
    /// The last kept token, if a cut is remembered rather than listed.
    cut: Option<LastKept>,
    /// The inverse temperature at which the search has weighed what is kept; 0 if it has not.
    weighed_at: f32,
}

/// Where a cut left the kept tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the row: what is not kept is passed over until the next row is loaded.
    Row,
    /// In the list.
    List,
}

impl Row {
    /// Takes no memory before the first [`load`](Self::load): requests may wait long for their first row.
    pub(crate) fn new() -> Self {
        Self {
            level: Level::best(),
            maxima: Vec::new(),
            top: f32::NEG_INFINITY,
            places: Vec::new(),
            copies: Vec::new(),
            copied: Vec::new(),
            sums: Vec::new(),
            selection: Vec::new(),
            search: CutSearch::default(),
            cut: None,
            weighed_at: 0.0,
        }
    }

    /// Starts on a new row: drops the private copies of the last one and finds the maxima. All rows have the same length.
    pub(crate) fn load(&mut self, logits: &[f32]) {
        if self.places.is_empty() {
            let n_blocks = logits.len().div_ceil(BLOCK);
            self.maxima = vec![EMPTY; n_blocks.div_ceil(BLOCK)];
            self.places = vec![UNTOUCHED; n_blocks];
            self.sums = vec![0.0; n_blocks];
            self.selection = Vec::with_capacity(BLOCK);
        }
        for block in self.copied.drain(..) {
            self.places[block as usize] = UNTOUCHED;
        }
        self.copies.clear();
        self.cut = None;
        let (row, rest) = logits.as_chunks::<BLOCK>();
        simd::maxima(self.level, row, self.maxima.as_flattened_mut());
        if !rest.is_empty() {
            let copy = self.copy(logits, row.len());
            self.maxima.as_flattened_mut()[row.len()] = simd::highest(self.level, &self.copies[copy..=copy]);
        }
        self.top = simd::highest(self.level, &self.maxima);
    }

    /// Replaces the logits of some tokens, `change(value, logit)` giving the new one, and brings the maxima up to date.
    ///
    /// Tokens that the row does not have are left out.
    pub(crate) fn change<T>(
        &mut self,
        logits: &[f32],
        tokens: impl Iterator<Item = (TokenId, T)>,
        change: impl Fn(T, f32) -> f32,
    ) {
        let mut changed = false;
        for (token, value) in tokens {
            if let Some(token) = usize::try_from(token).ok().filter(|&token| token < logits.len()) {
                let copy = self.copy(logits, token / BLOCK);
                let logit = &mut self.copies[copy][token % BLOCK];
                *logit = change(value, *logit);
                changed = true;
            }
        }
        if changed {
            let maxima = self.maxima.as_flattened_mut();
            for (&block, copy) in self.copied.iter().zip(&self.copies) {
                maxima[block as usize] = simd::highest(self.level, std::slice::from_ref(copy));
            }
            self.top = simd::highest(self.level, &self.maxima);
        }
    }

    fn copy(&mut self, logits: &[f32], block: usize) -> usize {
        if self.places[block] == UNTOUCHED {
            let source = &logits[block * BLOCK..logits.len().min((block + 1) * BLOCK)];
            let mut copy = EMPTY;
            copy[..source.len()].copy_from_slice(source);
            self.places[block] = self.copies.len() as u32;
            self.copies.push(copy);
            self.copied.push(block as u32);
        }
        self.places[block] as usize
    }

    fn blocks<'a>(&'a self, logits: &'a [f32]) -> Blocks<'a> {
        Blocks { row: logits.as_chunks::<BLOCK>().0, places: &self.places, copies: &self.copies }
    }

    /// One block as it stands now.
    pub(crate) fn block<'a>(&'a self, logits: &'a [f32], index: usize) -> &'a Block {
        self.blocks(logits).get(index)
    }

    /// Calls `visit` with each block as it stands now and its first token. The last block may go on with negative infinity.
    pub(crate) fn for_each_block(&self, logits: &[f32], mut visit: impl FnMut(usize, &[f32])) {
        let blocks = self.blocks(logits);
        (0..blocks.len()).for_each(|index| visit(index * BLOCK, blocks.get(index)));
    }

    /// The highest logit; negative infinity if there is no number at all.
    pub(crate) fn top(&self) -> f32 {
        self.top
    }

    /// The lowest token with the logit `value`.
    #[allow(clippy::float_cmp, reason = "the value was read from the row")]
    pub(crate) fn find(&self, logits: &[f32], value: f32) -> Option<usize> {
        let index = self.maxima.as_flattened().iter().position(|&maximum| maximum == value)?;
        let block = (index < self.places.len()).then(|| self.blocks(logits).get(index))?;
        block.iter().position(|&x| x == value).map(|at| index * BLOCK + at)
    }

    /// Puts the tokens with a finite logit of at least `threshold` into `list`.
    pub(crate) fn collect(&self, logits: &[f32], threshold: f32, list: &mut Candidates) {
        list.clear();
        let cut = self.cut.unwrap_or(LastKept::NONE);
        let lowest = cut.lowest_logit();
        let threshold = if threshold > lowest { threshold } else { lowest };
        simd::collect(self.level, self.blocks(logits), &self.maxima, threshold, |token, logit| {
            if cut.keeps(token, logit) {
                list.push(token as u32, logit);
            }
        });
    }

    /// Puts the `k` tokens with the highest logits into `list`, the lowest ids on ties.
    ///
    /// The k-th highest block maximum has at least k logits at or above it, so the rest of the row need not be looked at, unless a cut
    /// took the highest logits away.
    pub(crate) fn collect_top_k(&mut self, logits: &[f32], k: usize, list: &mut Candidates) {
        let k = k.max(1);
        if self.cut.is_none() && k > LONG && self.cut_top_k(logits, 1.0, k) {
            self.collect(logits, f32::MIN, list);
            self.cut = None;
            return;
        }
        let is_known = !self.has_lost_top() && k <= self.places.len();
        let threshold = if is_known { self.nth_maximum(k) } else { f32::MIN };
        self.collect(logits, threshold, list);
        list.top_k(k);
    }

    /// Keeps the `k` tokens with the highest logits, the lowest ids on ties, by remembering the last of them. An earlier, narrower cut by the
    /// logit stays in force. Returns false and changes nothing if no such token was found, for example because the row has no more than `k`
    /// finite logits.
    pub(crate) fn cut_top_k(&mut self, logits: &[f32], inverse_temperature: f32, k: usize) -> bool {
        let scale = Scale::new(self.top, inverse_temperature);
        let level = self.level;
        // The total is not wanted.
        let found = self.with_search(logits, (scale, RankKey::Logit), Some(0.0), |search, row, sums| {
            let lines = search.estimator.by_number(row, k);
            search.cut(level, row, |_| Goal::at_least(0.0, k), lines, sums)
        });
        let Ok(cut) = found else { return false };
        if self.cut.is_none_or(|before| cut.is_within(before)) {
            self.cut = Some(cut);
            self.weighed_at = inverse_temperature;
        } else {
            // The search has just weighed the wider cut, not the one in force.
            self.weighed_at = 0.0;
        }
        true
    }

    /// Whether a cut took the highest logits away.
    pub(crate) fn has_lost_top(&self) -> bool {
        self.cut.is_some_and(|cut| cut.key != RankKey::Logit)
    }

    /// Keeps the tokens with a finite logit of at least `threshold`, as a list if they are few, else by remembering the threshold. An earlier,
    /// narrower cut by the logit stays in force.
    pub(crate) fn cut_at(&mut self, logits: &[f32], threshold: f32, list: &mut Candidates) -> Kept {
        let n_blocks = self.maxima.as_flattened().iter().filter(|&&maximum| maximum >= threshold).count();
        if n_blocks <= LONG_BLOCKS {
            self.collect(logits, threshold, list);
            return Kept::List;
        }
        if threshold > self.cut.unwrap_or(LastKept::NONE).line {
            self.cut = Some(LastKept { line: threshold, ..LastKept::NONE });
            self.weighed_at = 0.0;
        }
        Kept::Row
    }

    /// The k-th highest of the block maxima, k being at most their number.
    ///
    /// The k-th highest of the maxima of 128 groups of maxima has at least k of them at or above it, so the selection is among few.
    fn nth_maximum(&mut self, k: usize) -> f32 {
        self.selection.clear();
        let mut threshold = f32::NEG_INFINITY;
        if k <= BLOCK && self.maxima.len() > 1 {
            let mut groups = EMPTY;
            for block in &self.maxima {
                for (group, &maximum) in groups.iter_mut().zip(block) {
                    *group = if maximum > *group { maximum } else { *group };
                }
            }
            threshold = *groups.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
        }
        let selection = &mut self.selection;
        simd::at_least(self.level, &self.maxima, threshold, |_, maximum| selection.push(maximum));
        *selection.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// Sums the weights e^((logit − top) × `inverse_temperature`) of all tokens, or of those that a cut kept.
    #[allow(clippy::float_cmp, reason = "it asks whether it is the same number")]
    pub(crate) fn weigh(&mut self, logits: &[f32], inverse_temperature: f32) -> f64 {
        let scale = Scale::new(self.top, inverse_temperature);
        let Some(cut) = self.cut else {
            let mut sums = std::mem::take(&mut self.sums);
            let total = simd::weigh(self.level, self.blocks(logits), &self.maxima, scale, &mut sums);
            self.sums = sums;
            return total;
        };
        if self.weighed_at != inverse_temperature {
            let level = self.level;
            // The total is not wanted.
            self.with_search(logits, (scale, cut.key), Some(0.0), |search, row, sums| {
                search.keep(level, row, cut, sums);
            });
            self.weighed_at = inverse_temperature;
        }
        self.search.weight()
    }

    /// Runs `work` with the search, the ranked row and the blocks' sums.
    fn with_search<T>(
        &mut self,
        logits: &[f32],
        (scale, key): (Scale, RankKey),
        total: Option<f64>,
        work: impl FnOnce(&mut CutSearch, RankedRow<'_>, &mut [f64]) -> T,
    ) -> T {
        let (mut search, mut sums) = (std::mem::take(&mut self.search), std::mem::take(&mut self.sums));
        let result = work(&mut search, self.ranked(logits, scale, key, total), &mut sums);
        (self.search, self.sums) = (search, sums);
        result
    }

    /// The logit of a token as it stands now.
    pub(crate) fn logit(&self, logits: &[f32], token: usize) -> f32 {
        self.blocks(logits).get(token / BLOCK)[token % BLOCK]
    }

    /// The token at which the cumulative weight exceeds `target`; [`weigh`](Self::weigh) comes first.
    pub(crate) fn choose(&self, logits: &[f32], inverse_temperature: f32, target: f64) -> Option<usize> {
        let scale = Scale::new(self.top, inverse_temperature);
        let cut = self.cut.unwrap_or(LastKept::NONE);
        let (index, mut running) = if self.cut.is_some() {
            self.search.find(self.level, &self.sums, target)?
        } else {
            exceeding(0..self.sums.len(), 0.0, target, |&block| self.sums[block])?
        };
        let block = self.blocks(logits).get(index);
        let mut weights = [0.0; BLOCK];
        simd::weigh_each(self.level, block, scale, &mut weights);
        let mut last = None;
        for (at, (&x, weight)) in block.iter().zip(weights).enumerate() {
            let token = index * BLOCK + at;
            if weight > 0.0 && cut.keeps(token, x) {
                last = Some(token);
                running += f64::from(weight);
                if running > target {
                    break;
                }
            }
        }
        last
    }

    /// Keeps the shortest prefix, by falling logit, with at least the share `p` of the weight and at least `min_keep` tokens.
    ///
    /// A short prefix comes as a list. For a long one the row remembers where it ends, and `list` stays as it was.
    pub(crate) fn cut_top_p(
        &mut self,
        logits: &[f32],
        inverse_temperature: f32,
        (p, min_keep): (f64, usize),
        list: &mut Candidates,
    ) -> Kept {
        self.cut = None;
        let scale = Scale::new(self.top, inverse_temperature);
        let level = self.level;
        let goal = |total| Goal::at_least(p * total, min_keep);
        let (guess, found) = self.with_search(logits, (scale, RankKey::Logit), None, |search, row, sums| {
            let guess = search.estimator.by_weight(level, row, p);
            (guess, guess.is_long.then(|| search.cut(level, row, goal, guess.lines, sums)))
        });
        let total = match found {
            Some(Ok(cut)) => {
                self.cut = Some(cut);
                self.weighed_at = inverse_temperature;
                return Kept::Row;
            }
            Some(Err(total)) => total,
            None => self.weigh(logits, inverse_temperature),
        };
        let goal = goal(total);
        let mut depth = guess.depth.max(1.0);
        loop {
            let threshold = self.ranked(logits, scale, RankKey::Logit, None).line_at(depth);
            self.collect(logits, threshold, list);
            let weight = list.weigh(inverse_temperature);
            if threshold <= f32::MIN || goal.is_met(weight, list.len()) {
                break;
            }
            depth *= 1.5;
        }
        list.keep_prefix(RankKey::Logit, goal);
        Kept::List
    }

    /// Keeps the tokens whose surprise is nearest to the entropy until they hold more than the share `p` of the weight and are at least
    /// `min_keep`; the row remembers which.
    ///
    /// Returns false and changes nothing if the candidates are so few that a list is as fast, or if the logits are so large that a
    /// difference could overflow.
    pub(crate) fn cut_typical(
        &mut self,
        logits: &[f32],
        inverse_temperature: f32,
        (p, min_keep): (f64, usize),
    ) -> bool {
        self.cut = None;
        let scale = Scale::new(self.top, inverse_temperature);
        let is_live = |maximum: &&f32| **maximum > f32::NEG_INFINITY;
        if self.maxima.as_flattened().iter().filter(is_live).take(LEAST_BLOCKS).count() < LEAST_BLOCKS {
            return false;
        }
        let moments = simd::moments(self.level, self.blocks(logits), &self.maxima, scale);
        let centre = typical_logit(&moments, scale);
        if self.top.abs() > LARGE || centre.abs() > LARGE {
            return false;
        }
        let level = self.level;
        let key = RankKey::Near(centre);
        let found = self.with_search(logits, (scale, key), Some(moments.total), |search, row, sums| {
            let guess = search.estimator.by_weight(level, row, p);
            search.cut(level, row, |total| Goal::more_than(p * total, min_keep), guess.lines, sums)
        });
        self.cut = found.ok();
        self.weighed_at = inverse_temperature;
        self.cut.is_some()
    }

    fn ranked<'a>(
        &'a self,
        logits: &'a [f32],
        scale: Scale,
        key: RankKey,
        total: Option<f64>,
    ) -> RankedRow<'a> {
        RankedRow { blocks: self.blocks(logits), maxima: &self.maxima, scale, key, total }
    }

    /// The moments of all tokens' weights, and the scale that they belong to.
    pub(crate) fn moments(&self, logits: &[f32], inverse_temperature: f32) -> (Moments, Scale) {
        let scale = Scale::new(self.top, inverse_temperature);
        (simd::moments(self.level, self.blocks(logits), &self.maxima, scale), scale)
    }
}

/// The logit of a token whose surprise is the entropy. Surprise and entropy share the term ln Z, so it is where the power of two that the
/// weight is equals the mean of these powers, and no logarithm is needed.
pub(crate) fn typical_logit(moments: &Moments, scale: Scale) -> f32 {
    (f64::from(scale.top) + moments.powers / moments.total / f64::from(scale.slope)) as f32
}
