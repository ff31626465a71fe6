//! Attention over the pages of a key-value cache.

use std::ops::Range;

use crate::{KernelError, KvPage, KvShape, Pool};

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
        if query.visible.end > query.pages.len() * KvPage::N_TOKENS {
            return Err(KernelError::WrongValue {
                what: "the tokens that a query sees",
                found: format!("{:?}", query.visible),
            });
        }
    }
    let n_grouped = n_heads / n_kv_heads;
    pool.each_chunk(out, v_dim, &|at, out| {
        let (query, head) = (&queries[at / n_heads], at % n_heads);
        attend(options, &q[at * k_dim..][..k_dim], query, head / n_grouped, out);
    })
}

/// One head of one token.
fn attend(options: &Attention, q: &[f32], query: &Query<'_>, kv_head: usize, out: &mut [f32]) {
    let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0f32);
    out.fill(0.0);
    let Range { start, end } = query.visible;
    if start >= end {
        return;
    }
    for at in start / KvPage::N_TOKENS..end.div_ceil(KvPage::N_TOKENS) {
        let (page, first) = (query.pages[at], at * KvPage::N_TOKENS);
        let mut scores = [0.0f32; KvPage::N_TOKENS];
        for (q, keys) in q.iter().zip(page.keys(kv_head)) {
            for (score, key) in scores.iter_mut().zip(keys) {
                *score += q * key.to_f32();
            }
        }
        for (slot, score) in scores.iter_mut().enumerate() {
            *score *= options.scale;
            if let Some(cap) = options.soft_cap {
                *score = cap * (*score / cap).tanh();
            }
            if !query.visible.contains(&(first + slot)) {
                *score = f32::NEG_INFINITY;
            }
        }
        let higher = scores.iter().copied().fold(max, f32::max);
        if higher == f32::NEG_INFINITY {
            continue;
        }
        let fade = (max - higher).exp();
        sum *= fade;
        out.iter_mut().for_each(|x| *x *= fade);
        max = higher;
        for (slot, score) in scores.iter().enumerate() {
            if !query.visible.contains(&(first + slot)) {
                continue;
            }
            let weight = (score - max).exp();
            sum += weight;
            for (out, value) in out.iter_mut().zip(page.value(kv_head, slot)) {
                *out += weight * value.to_f32();
            }
        }
    }
    if sum > 0.0 {
        let factor = 1.0 / sum;
        out.iter_mut().for_each(|x| *x *= factor);
    }
}
