//! Cuts a whole row by a share of the probability without sorting it: an estimate from a sample says about where the cut lies, and one pass
//! over the row finds it. Top-p ranks the tokens by their logits, typical by how near their surprise is to the entropy.

use std::ops::Range;

use crate::row::blocks::BLOCK;
use crate::row::bracketed::Bracketed;
use crate::row::cut_estimate::CutEstimator;
use crate::row::goal::Goal;
use crate::row::last_kept::LastKept;
use crate::row::prefix_end::PrefixEnd;
use crate::row::ranked_row::RankedRow;
use crate::row::simd::{self, Level, Lines};

/// How many pairs of lines are tried before the search gives up.
const MAX_TRIES: usize = 6;
/// How many blocks share one sum of kept weight.
const SPAN: usize = 64;

/// Scratch memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct CutSearch {
    pub(crate) estimator: CutEstimator,
    /// The keys between the lines, after [`cut`](Self::cut), and their weights.
    between: Bracketed,
    weights: Vec<f32>,
    prefix: PrefixEnd,
    /// The key at the cut.
    line: f32,
    /// The kept weight of each [`SPAN`] of blocks.
    spans: Vec<f64>,
}

impl CutSearch {
    /// Finds the last token of the shortest prefix that meets `goal(total)`, where `total` is the weight of all tokens. Writes to `sums` the
    /// weight that each block has above the high line.
    ///
    /// # Errors
    ///
    /// The weight of all tokens if the cut was not found.
    pub(crate) fn cut(
        &mut self,
        level: Level,
        row: RankedRow<'_>,
        goal: impl Fn(f64) -> Goal,
        mut lines: Lines,
        sums: &mut [f64],
    ) -> Result<LastKept, f64> {
        let RankedRow { blocks, scale, key, .. } = row;
        let mut total = row.total.unwrap_or(0.0);
        for _ in 0..MAX_TRIES {
            let masses = simd::split(level, row, lines, sums, &mut self.between);
            total = row.total.unwrap_or(masses.total);
            let goal = goal(total);
            if goal.is_met(masses.above.weight, masses.above.n) {
                lines = Lines { high: row.raised(lines.high), low: lines.high };
                continue;
            }
            self.weights.resize(self.between.numbers().len(), 0.0);
            simd::weigh_each(level, self.between.numbers(), scale, &mut self.weights);
            self.between.change(|logit| key.of(logit));
            let items = (self.between.numbers(), &self.weights[..]);
            if let Some((line, place)) = self.prefix.end(level, items, lines, masses.above, goal) {
                self.end_at(line, place + 1);
                self.add_spans(level, sums);
                let (block, n_before) = self.between.block_of(place);
                let is_between = |key: f32| key >= lines.low && key < lines.high;
                let places = (0..BLOCK).filter(|&at| is_between(key.of(blocks.get(block)[at])));
                let token = places.map(|at| (block * BLOCK + at) as u32).take(n_before + 1).last();
                return token.map(|token| LastKept { key, line, token }).ok_or(total);
            }
            if lines.low <= f32::MIN {
                break;
            }
            lines = Lines { high: lines.low, low: row.lowered(lines.low) };
        }
        Err(total)
    }

    /// Weighs the tokens that an earlier cut keeps, because another cut was searched since or the temperature changed. Writes to `sums` the
    /// weight that each block has above the cut.
    #[allow(clippy::float_cmp, reason = "ties are exact")]
    pub(crate) fn keep(&mut self, level: Level, row: RankedRow<'_>, cut: LastKept, sums: &mut [f64]) {
        let RankedRow { blocks, scale, .. } = row;
        let lines = Lines { high: cut.line.next_up(), low: cut.line };
        simd::split(level, row, lines, sums, &mut self.between);
        self.weights.resize(self.between.numbers().len(), 0.0);
        simd::weigh_each(level, self.between.numbers(), scale, &mut self.weights);
        self.between.change(|logit| cut.key.of(logit));
        let (block, at) = (cut.token as usize / BLOCK, cut.token as usize % BLOCK);
        let n_kept = if block < blocks.len() {
            let tied = blocks.get(block)[..=at].iter().filter(|&&logit| row.key.of(logit) == cut.line);
            self.between.start(block) + tied.count()
        } else {
            self.weights.len()
        };
        self.end_at(cut.line, n_kept);
        self.add_spans(level, sums);
    }

    /// Ends the prefix at the key `line`. Of the tokens with exactly that key only those among the first `n` are kept; the weights of the
    /// others become 0.
    #[allow(clippy::float_cmp, reason = "ties are exact")]
    fn end_at(&mut self, line: f32, n: usize) {
        self.line = line;
        let keys = &self.between.numbers()[n..];
        for (weight, _) in self.weights[n..].iter_mut().zip(keys).filter(|(_, key)| **key == line) {
            *weight = 0.0;
        }
    }

    /// The kept weight of the blocks in `range`: what they have above the high line (`sums`) and what is kept between the lines.
    fn kept(&self, level: Level, sums: &[f64], range: Range<usize>) -> f64 {
        let places = self.between.start(range.start)..self.between.start(range.end);
        let (keys, weights) = (&self.between.numbers()[places.clone()], &self.weights[places]);
        sums[range].iter().sum::<f64>() + simd::mass(level, keys, weights, self.line).0
    }

    fn add_spans(&mut self, level: Level, sums: &[f64]) {
        let mut weights = std::mem::take(&mut self.spans);
        weights.clear();
        weights.extend(spans(sums.len()).map(|span| self.kept(level, sums, span)));
        self.spans = weights;
    }

    /// After [`cut`](Self::cut): the kept weight.
    pub(crate) fn weight(&self) -> f64 {
        self.spans.iter().sum()
    }

    /// After [`cut`](Self::cut): the block in which the cumulative kept weight exceeds `target`, or the last one with a weight, and the
    /// weight before it.
    pub(crate) fn find(&self, level: Level, sums: &[f64], target: f64) -> Option<(usize, f64)> {
        let weighted = spans(sums.len()).zip(&self.spans);
        let span = exceeding(weighted, 0.0, target, |span| *span.1)?;
        let blocks = span.0.0.map(|block| block..block + 1);
        let block = exceeding(blocks, span.1, target, |block| self.kept(level, sums, block.clone()))?;
        Some((block.0.start, block.1))
    }
}

fn spans(n_blocks: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n_blocks).step_by(SPAN).map(move |from| from..n_blocks.min(from + SPAN))
}

/// The first item with which the cumulative weight exceeds `target`, or the last one with a weight, and the weight before it.
pub(crate) fn exceeding<T>(
    items: impl Iterator<Item = T>,
    mut below: f64,
    target: f64,
    weight: impl Fn(&T) -> f64,
) -> Option<(T, f64)> {
    let mut found = None;
    for item in items {
        let sum = weight(&item);
        if sum > 0.0 {
            found = Some((item, below));
            if below + sum > target {
                break;
            }
            below += sum;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::blocks::Blocks;
    use crate::row::candidates::Candidates;
    use crate::row::logits_row::{Kept, Row};
    use crate::row::prefix_end::rank;
    use crate::row::rank_key::RankKey;
    use crate::row::weight::Scale;

    /// Normal logits, rounded to a multiple of `step` where it is not 0.
    fn row(n: usize, deviation: f32, step: f32, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let rounded = |x: f32| if step > 0.0 { (x / step).round() * step } else { x };
        (0..n).map(|_| rounded(deviation * (0..12).map(|_| uniform()).sum::<f32>())).collect()
    }

    /// Ways to cut a row.
    #[derive(Clone, Copy, Debug)]
    enum Way {
        TopP(f64),
        Typical(f64),
        TopK(usize),
        At(f32),
    }

    /// The kept tokens, by rising id, by a full sort in double precision.
    fn sorted(logits: &[f32], weights: &[f64], way: Way, min_keep: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let total: f64 = weights.iter().sum();
        let share = match way {
            Way::TopP(p) | Way::Typical(p) => p * total,
            Way::TopK(_) | Way::At(_) => 0.0,
        };
        let least = if let Way::TopK(k) = way { k } else { min_keep };
        if let Way::Typical(_) = way {
            let surprise = |token: u32| -(weights[token as usize] / total).ln();
            let entropy: f64 =
                (0..logits.len()).map(|token| weights[token] / total * surprise(token as u32)).sum();
            let distances: Vec<f64> = order.iter().map(|&token| (surprise(token) - entropy).abs()).collect();
            order.sort_by(|&a, &b| distances[a as usize].total_cmp(&distances[b as usize]).then(a.cmp(&b)));
        } else {
            order.sort_by_key(|&token| rank(token, logits[token as usize]));
        }
        let (mut mass, mut n) = (0.0, 0);
        let strict = matches!(way, Way::Typical(_));
        while n < order.len() && (mass < share || (strict && mass <= share) || n < least) {
            mass += weights[order[n] as usize];
            n += 1;
        }
        order.truncate(n);
        if let Way::At(line) = way {
            order = (0..logits.len() as u32).filter(|&token| logits[token as usize] >= line).collect();
        }
        order.sort_unstable();
        order
    }

    fn way() -> impl Strategy<Value = Way> {
        prop_oneof![
            2 => prop_oneof![0.02..0.999f64, 0.999..0.999_999f64].prop_map(Way::TopP),
            2 => prop_oneof![0.02..0.999f64, 0.999..0.999_999f64].prop_map(Way::Typical),
            1 => (1025..40_000usize).prop_map(Way::TopK),
            1 => (-4.0..2f32).prop_map(Way::At),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn cuts_agree_with_a_full_sort(
            (n, seed) in (5000..40_000usize, 0..u64::MAX),
            deviation in 0.01..4f32,
            step in prop_oneof![Just(0f32), Just(0.25f32), Just(2f32)],
            way in way(),
            min_keep in prop_oneof![Just(1usize), 1..3000usize],
            (inverse_temperature, later) in (0.2..3f32, 0.2..3f32),
            draws in prop::collection::vec(0.0..1f64, 4),
            changes in prop::collection::vec((0..3000i32, -9.0..9f32), 0..20),
        ) {
            let plain = row(n, deviation, step, seed);
            let mut changed = plain.clone();
            let mut ours = Row::new();
            ours.load(&plain);
            ours.change(&plain, changes.iter().copied(), |change, x| x + change);
            for &(token, change) in &changes {
                changed[token as usize] += change;
            }
            let mut list = Candidates::default();
            let kept = match way {
                Way::TopP(p) => ours.cut_top_p(&plain, inverse_temperature, (p, min_keep), &mut list),
                Way::Typical(p) if ours.cut_typical(&plain, inverse_temperature, (p, min_keep)) => Kept::Row,
                Way::TopK(k) if ours.cut_top_k(&plain, inverse_temperature, k) => Kept::Row,
                // The cut was not found, which only happens if everything is kept, or almost.
                Way::Typical(p) => {
                    prop_assert!(p > 0.99 || min_keep > 1 || step > 0.0, "no cut at {}", p);
                    return Ok(());
                }
                Way::TopK(k) => {
                    prop_assert!(k >= n || step > 0.0, "no cut at {} of {}", k, n);
                    return Ok(());
                }
                Way::At(line) => ours.cut_at(&plain, line, &mut list),
            };
            if kept == Kept::Row {
                ours.collect(&plain, f32::MIN, &mut list);
            }
            let ids: Vec<u32> = list.items().iter().map(|item| item.id).collect();
            let top = ours.top();
            let weights: Vec<f64> =
                changed.iter().map(|&x| (f64::from(x - top) * f64::from(inverse_temperature)).exp()).collect();
            let want = sorted(&changed, &weights, way, min_keep);
            // Single precision may move the cut by the tokens that hold 2e-6 of the weight, typical's two ends by one each.
            let off = |a: &[u32], b: &[u32]| {
                let only = a.iter().filter(|token| b.binary_search(token).is_err());
                let mut only: Vec<f64> = only.map(|&token| weights[token as usize]).collect();
                only.sort_by(f64::total_cmp);
                only.pop();
                only.iter().sum::<f64>() / weights.iter().sum::<f64>()
            };
            let exact = matches!(way, Way::TopK(_) | Way::At(_));
            prop_assert!(!exact || ids == want, "{} instead of {}", ids.len(), want.len());
            prop_assert!(
                off(&ids, &want) < 4e-6 && off(&want, &ids) < 4e-6,
                "{} instead of {}", ids.len(), want.len()
            );
            if kept == Kept::List {
                return Ok(());
            }
            // A temperature may follow.
            for inverse_temperature in [inverse_temperature, later] {
                let total = ours.weigh(&plain, inverse_temperature);
                let want: f64 = list.weigh_by(Scale::new(top, inverse_temperature));
                prop_assert!((total / want - 1.0).abs() < 1e-6, "{} instead of {}", total, want);
                for &draw in &draws {
                    let token = ours.choose(&plain, inverse_temperature, draw * total).unwrap();
                    let at = ids.binary_search(&(token as u32)).expect("the token is kept");
                    let below: f64 = list.items()[..at].iter().map(|item| f64::from(item.weight)).sum();
                    let here = f64::from(list.items()[at].weight);
                    let target = draw * want;
                    prop_assert!(below <= target + 1e-6 * want && target <= below + here + 1e-6 * want);
                }
            }
        }
    }

    #[test]
    fn long_nuclei_stay_in_the_row_and_short_ones_are_listed() {
        for (deviation, want) in [(1.0, Kept::Row), (8.0, Kept::List)] {
            let logits = row(60_000, deviation, 0.0, 1);
            let mut ours = Row::new();
            ours.load(&logits);
            let mut list = Candidates::default();
            assert_eq!(ours.cut_top_p(&logits, 1.0, (0.9, 1), &mut list), want);
        }
    }

    #[test]
    fn lines_that_miss_the_cut_are_drawn_anew() {
        let logits = row(50_048, 1.0, 0.0, 3);
        let blocks = logits.as_chunks::<BLOCK>().0;
        let places = vec![crate::row::blocks::UNTOUCHED; blocks.len()];
        let level = Level::best();
        let mut maxima = vec![[f32::NEG_INFINITY; BLOCK]; blocks.len().div_ceil(BLOCK)];
        simd::maxima(level, blocks, maxima.as_flattened_mut());
        let blocks = Blocks { row: blocks, places: &places, copies: &[] };
        let scale = Scale::new(simd::highest(level, &maxima), 1.0);
        let ranked = RankedRow { blocks, maxima: &maxima, scale, key: RankKey::Logit, total: None };
        let goal = |total| Goal::at_least(0.8 * total, 1);
        let cuts = [(0.1, 0.0), (3.0, 2.9), (-2.9, -3.0)].map(|(high, low)| {
            let mut sums = vec![0.0; places.len()];
            let lines = Lines { high, low };
            CutSearch::default().cut(level, ranked, goal, lines, &mut sums).unwrap()
        });
        assert!(cuts[0] == cuts[1] && cuts[1] == cuts[2], "{cuts:?}");
    }
}
