//! Attention over the pages of a key-value cache.

use std::ops::Range;

use crate::elementwise::{exponentials, largest, scale};
use crate::kv_page::N_SLOTS;
use crate::math::exp;
use crate::pool::Windows;
use crate::{Isa, KernelError, KvPage, KvShape, Pool, simd};

/// Tokens that go through the pages together.
const BLOCK: usize = 16;

/// What is the same for all tokens of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads, a multiple of `kv.n_kv_heads`: query head `h` reads head `h / (n_heads / n_kv_heads)` of the cache.
    pub n_heads: usize,
    /// The shape of keys and values.
    pub kv: KvShape,
    /// What scores are multiplied with: `1 / sqrt(k_dim)` in most models.
    pub scale: f32,
    /// The soft cap of the scores, where the model has one: they become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

/// What a token looks at.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The pages of its sequence, in order.
    pub pages: &'a [&'a KvPage],
    /// The tokens that it sees, as indices in its sequence: with the causal mask up to and with its own, with a window no more than that many.
    pub visible: Range<usize>,
}

/// Attends for each token of a batch: `q` is a row of `n_heads * k_dim` values a token, `out` one of `n_heads * v_dim`, all overwritten.
///
/// The keys and values of the batch's own tokens must be in the pages before. A token that sees nothing gets zeros. Scores are kept for one page at a
/// time (Milakov and Gimelshein, 2018, arXiv 1805.02867). Neighbouring queries with the same `pages` are computed together.
///
/// # Errors
///
/// [`KernelError::WrongLength`], [`KernelError::WrongValue`] if heads do not divide, a page has another shape or `visible` is beyond the pages,
/// [`KernelError::Panicked`].
pub fn attention(
    options: &Attention,
    q: &[f32],
    queries: &[Query<'_>],
    out: &mut [f32],
    pool: &Pool,
) -> Result<(), KernelError> {
    attention_with(Isa::best(), options, q, queries, out, pool)
}

/// As [`attention`], with the products done with the instructions given: for comparisons.
///
/// # Errors
///
/// As for [`attention`]; [`KernelError::WrongValue`] if this processor has no such instructions.
pub fn attention_with(
    isa: Isa,
    options: &Attention,
    q: &[f32],
    queries: &[Query<'_>],
    out: &mut [f32],
    pool: &Pool,
) -> Result<(), KernelError> {
    isa.check()?;
    let KvShape { n_kv_heads, k_dim, v_dim } = options.kv;
    let n_heads = options.n_heads;
    if n_kv_heads == 0 || n_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) || k_dim == 0 || v_dim == 0 {
        return Err(KernelError::WrongValue {
            what: "the shape of the heads",
            found: format!("{options:?}"),
        });
    }
    KernelError::check_length("the query", queries.len() * n_heads * k_dim, q.len())?;
    KernelError::check_length("the output", queries.len() * n_heads * v_dim, out.len())?;
    for query in queries {
        if query.pages.iter().any(|page| page.shape() != options.kv) {
            return Err(KernelError::WrongValue {
                what: "the shape of a page",
                found: format!("{options:?}"),
            });
        }
        if !query.visible.is_empty() && query.visible.end > query.pages.len() * N_SLOTS {
            return Err(KernelError::WrongValue {
                what: "the tokens that a query sees",
                found: format!("{:?}", query.visible),
            });
        }
    }
    let blocks = blocks(queries);
    // Windows of the same head follow each other, token by token.
    let windows = Windows::new(out, n_heads * v_dim, 1, n_heads / n_kv_heads * v_dim);
    pool.run(blocks.len() * n_kv_heads, &|at| {
        let (block, kv_head) = (&blocks[at % blocks.len()], at / blocks.len());
        let mut state = State::new(options, q, block.clone(), kv_head);
        state.attend(isa, options, &queries[block.clone()], kv_head);
        for (token, results) in block.clone().zip(state.results(options)) {
            if let Some(mut window) = windows.take(kv_head * queries.len() + token) {
                let out = window.row_mut(token).chunks_exact_mut(v_dim);
                for (out, result) in out.zip(results.chunks_exact(options.kv.padded_v_dim())) {
                    out.copy_from_slice(&result[..v_dim]);
                }
            }
        }
    })
}

/// Neighbouring queries of the same pages, up to [`BLOCK`] together.
fn blocks(queries: &[Query<'_>]) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for (at, query) in queries.iter().enumerate() {
        match blocks.last_mut() {
            Some(block) if block.len() < BLOCK && std::ptr::eq(queries[block.start].pages, query.pages) => {
                block.end = at + 1;
            }
            _ => blocks.push(at..at + 1),
        }
    }
    blocks
}

/// Rows in runs of 8, then one of 4, and the rest: those that a kernel does at once.
pub(crate) fn runs(n_rows: usize) -> impl Iterator<Item = Range<usize>> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let n_run = match n_rows - first {
            0 => return None,
            8.. => 8,
            4.. => 4,
            left => left,
        };
        first += n_run;
        Some(first - n_run..first)
    })
}

/// What is known after some pages, for the heads of a block's tokens that share keys and values: a row for each token and head.
#[derive(Debug)]
struct State {
    /// Queries, scaled: for each of [`runs`] dimension after dimension.
    queries: Vec<f32>,
    /// The largest score so far.
    max: Vec<f32>,
    /// The sum of `exp(score - max)`.
    sum: Vec<f32>,
    /// Values, weighted so.
    values: Vec<f32>,
    scores: Vec<[f32; N_SLOTS]>,
    n_grouped: usize,
}

impl State {
    fn new(options: &Attention, q: &[f32], tokens: Range<usize>, kv_head: usize) -> Self {
        let n_grouped = options.n_heads / options.kv.n_kv_heads;
        let n_rows = tokens.len() * n_grouped;
        let k_dim = options.kv.k_dim;
        let query = |row: usize| {
            let (token, head) = (tokens.start + row / n_grouped, kv_head * n_grouped + row % n_grouped);
            &q[(token * options.n_heads + head) * k_dim..][..k_dim]
        };
        let mut queries = vec![0.0; n_rows * k_dim];
        for run in runs(n_rows) {
            let queries = &mut queries[run.start * k_dim..run.end * k_dim];
            for (at, row) in run.clone().enumerate() {
                for (to, x) in queries[at..].iter_mut().step_by(run.len()).zip(query(row)) {
                    *to = x * options.scale;
                }
            }
        }
        Self {
            queries,
            max: vec![f32::NEG_INFINITY; n_rows],
            sum: vec![0.0; n_rows],
            values: vec![0.0; n_rows * options.kv.padded_v_dim()],
            scores: vec![[0.0; N_SLOTS]; n_rows],
            n_grouped,
        }
    }

    /// Goes through the pages that any of the tokens sees.
    fn attend(&mut self, isa: Isa, options: &Attention, queries: &[Query<'_>], kv_head: usize) {
        let seen = queries.iter().filter(|query| !query.visible.is_empty());
        let start = seen.clone().map(|query| query.visible.start).min().unwrap_or(0);
        let end = seen.map(|query| query.visible.end).max().unwrap_or(0);
        let v_dim = options.kv.padded_v_dim();
        for at in start / N_SLOTS..end.div_ceil(N_SLOTS) {
            let (page, first) = (queries[0].pages[at], at * N_SLOTS);
            simd::page_scores(isa, &self.queries, options.kv.k_dim, page.keys(kv_head), &mut self.scores);
            if let Some(cap) = options.soft_cap {
                simd::soft_cap(self.scores.as_flattened_mut(), cap);
            }
            for (row, scores) in self.scores.iter_mut().enumerate() {
                let visible = &queries[row / self.n_grouped].visible;
                let clip = |at: usize| at.clamp(first, first + N_SLOTS) - first;
                let slots = clip(visible.start)..clip(visible.end);
                if slots.len() < N_SLOTS {
                    scores[..slots.start.min(slots.end)].fill(f32::NEG_INFINITY);
                    scores[slots.end..].fill(f32::NEG_INFINITY);
                }
            }
            simd::online_softmax(&mut self.scores, &mut self.max, &mut self.sum, &mut self.values);
            let slots = start.max(first) - first..end.min(first + N_SLOTS) - first;
            simd::page_values(isa, &self.scores, slots, page.values(kv_head), v_dim, &mut self.values);
        }
    }

    /// The results, token by token.
    fn results(&mut self, options: &Attention) -> impl Iterator<Item = &[f32]> {
        let v_dim = options.kv.padded_v_dim();
        for (values, sum) in self.values.chunks_exact_mut(v_dim).zip(&self.sum) {
            // A token that saw nothing has a sum of zero and zeros for values.
            let factor = if *sum == 0.0 { 0.0 } else { 1.0 / sum };
            scale(values, factor);
        }
        self.values.chunks_exact(self.n_grouped * v_dim)
    }
}

/// Turns the scores of a page into weights `exp(score - max)`, row by row, adds them to the sums, and fades sums and values where the largest score
/// so far was exceeded.
#[inline(always)]
pub(crate) fn online_softmax_inner(
    scores: &mut [[f32; N_SLOTS]],
    maxima: &mut [f32],
    sums: &mut [f32],
    values: &mut [f32],
) {
    let v_dim = values.len() / scores.len().max(1);
    let rows = scores.iter_mut().zip(maxima).zip(sums).zip(values.chunks_exact_mut(v_dim.max(1)));
    for (((scores, max), sum), values) in rows {
        let higher = largest(scores, *max);
        if higher == f32::NEG_INFINITY {
            // Nothing is visible yet, or nothing but NaN.
            for score in scores.iter_mut() {
                *score = if score.is_nan() { f32::NAN } else { 0.0 };
                *sum += *score;
            }
            continue;
        }
        if higher > *max {
            let fade = exp(*max - higher);
            *sum *= fade;
            for x in values {
                *x *= fade;
            }
            *max = higher;
        }
        *sum += exponentials(scores, higher);
    }
}
