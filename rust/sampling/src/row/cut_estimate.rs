//! Where a cut of a row is expected, from a sample.

use crate::row::blocks::{BLOCK, Blocks};
use crate::row::ranked_row::RankedRow;
use crate::row::simd::{self, Level, Lines};

/// How many logits are drawn from the row beside the block maxima.
const SAMPLE_LEN: usize = 2048;
/// How many logits are drawn from one place.
const DRAW_LEN: usize = 16;
/// The sample's histogram: buckets for each halving of the weight, and in all.
const BUCKETS_PER_BIT: usize = 8;
const N_BUCKETS: usize = 64 * BUCKETS_PER_BIT;
/// 2^(1/16) and 2^(1/8): by what factor the weights fall in half a bucket and in one.
const HALF_STEP: f64 = 1.044_273_782_427_413_8;
const STEP: f64 = 1.090_507_732_665_257_7;
/// How many standard deviations the lines for a top-k lie above and below the estimated place.
const DEVIATIONS: f64 = 4.0;
/// The two lines are drawn where the odds of the tail are this many times as large and as small as wanted.
const ODDS_MARGIN: f64 = 1.4;
/// If no more tokens than this are expected above the low line, they are listed instead of searched in place.
const LIST_LEN: f64 = 1024.0;

/// Where the cut is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutEstimate {
    pub(crate) lines: Lines,
    /// The low line as a depth below the best key, in bits.
    pub(crate) depth: f32,
    /// Whether more than [`LIST_LEN`] tokens are expected above the low line. Only meaningful where the logit is the key.
    pub(crate) is_long: bool,
}

/// Estimates cuts; holds the scratch memory for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CutEstimator {
    sample: Vec<f32>,
    weights: Vec<f32>,
    histogram: Vec<f64>,
}

impl CutEstimator {
    /// Fills the sample with logits from all over the row, each replaced by `pick(block, logit)`.
    fn draw(&mut self, blocks: Blocks<'_>, pick: impl Fn(usize, f32) -> f32) {
        self.sample.clear();
        let step = (blocks.len() * DRAW_LEN).div_ceil(SAMPLE_LEN).max(1);
        for (i, index) in (0..blocks.len()).step_by(step).enumerate() {
            let from = i % (BLOCK / DRAW_LEN) * DRAW_LEN;
            let drawn = blocks.get(index)[from..from + DRAW_LEN].iter();
            self.sample.extend(drawn.map(|&logit| pick(index, logit)));
        }
    }

    /// Estimates where the prefix with the `n` highest logits ends, from a sample.
    pub(crate) fn by_number(&mut self, row: RankedRow<'_>, n: usize) -> Lines {
        self.draw(row.blocks, |_, logit| if logit > f32::MIN { logit } else { f32::MIN });
        let n_drawn = self.sample.len() as f64;
        let share = (n as f64 / (row.blocks.len() * BLOCK) as f64).min(1.0);
        let margin = DEVIATIONS * (n_drawn * share * (1.0 - share)).sqrt() + 1.0;
        let (before, after) = (n_drawn * share - margin, n_drawn * share + margin);
        let mut nth = |n: f64| *self.sample.select_nth_unstable_by(n as usize, |a, b| b.total_cmp(a)).1;
        let high = if before >= 0.0 { nth(before) } else { row.scale.top.next_up() };
        let low = if after < n_drawn { nth(after) } else { f32::MIN };
        Lines { high, low }
    }

    /// Estimates where the prefix with the share `p` of the weight ends.
    ///
    /// Every block maximum is weighed; the other logits are represented by the sample. Maxima hold most of the weight of a peaked row, and
    /// the sample describes a flat one.
    pub(crate) fn by_weight(&mut self, level: Level, row: RankedRow<'_>, p: f64) -> CutEstimate {
        let RankedRow { blocks, maxima, scale, key, .. } = row;
        let all_maxima = maxima.as_flattened();
        // Maxima are added below, so they are left out of the sample.
        self.draw(blocks, |block, logit| if logit < all_maxima[block] { logit } else { f32::NEG_INFINITY });
        let n_drawn = self.sample.len();
        let factor = (blocks.len() * (BLOCK - 1)) as f32 / n_drawn as f32;
        self.sample.extend_from_slice(&all_maxima[..blocks.len()]);
        self.weights.resize(self.sample.len(), 0.0);
        simd::weigh_each(level, &self.sample, scale, &mut self.weights);
        self.weights[..n_drawn].iter_mut().for_each(|weight| *weight *= factor);
        // From logits to buckets.
        let slope = scale.slope * BUCKETS_PER_BIT as f32;
        let best = key.best(scale.top);
        for logit in &mut self.sample {
            let bucket = (best - key.of(*logit)) * slope;
            *logit = if bucket < (N_BUCKETS - 1) as f32 { bucket } else { (N_BUCKETS - 1) as f32 };
        }
        self.histogram.clear();
        // Two side by side, because neighbours often share a bucket and would wait for each other.
        self.histogram.resize(2 * N_BUCKETS, 0.0);
        for (i, (&bucket, &weight)) in self.sample.iter().zip(&self.weights).enumerate() {
            self.histogram[2 * (bucket as i32 as usize) + i % 2] += f64::from(weight);
        }
        let mut sums = [0.0; 8];
        for chunk in self.histogram.as_chunks::<8>().0 {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
        }
        let total: f64 = sums.iter().sum();
        let odds = (1.0 - p) / p;
        let tail_at = |odds: f64| total * odds / (1.0 + odds);
        let (high_tail, low_tail) = (tail_at(odds * ODDS_MARGIN), tail_at(odds / ODDS_MARGIN));
        let (mut tail, mut n_tokens, mut high, mut low) = (total, 0.0, None, N_BUCKETS);
        // One by the weight in the middle of the bucket.
        let mut inverse = HALF_STEP;
        for (bucket, [a, b]) in self.histogram.as_chunks().0.iter().enumerate() {
            tail -= a + b;
            n_tokens += (a + b) * inverse;
            inverse *= STEP;
            if tail <= high_tail && high.is_none() {
                high = Some(bucket);
            }
            if tail <= low_tail {
                low = bucket + 1;
                break;
            }
        }
        let depth = |bucket: usize| bucket as f32 / BUCKETS_PER_BIT as f32;
        let high = row.line_at(depth(high.unwrap_or(N_BUCKETS - 1)));
        let depth = if low < N_BUCKETS { depth(low) } else { f32::INFINITY };
        let low = row.line_at(depth);
        CutEstimate { lines: Lines { high, low }, depth, is_long: n_tokens > LIST_LEN }
    }
}
