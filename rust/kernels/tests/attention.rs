//! Attention over pages against the formula in double precision.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(clippy::single_range_in_vec_init, reason = "one query may see one range of tokens")]

use std::ops::Range;

use half::f16;
use proptest::prelude::*;
use tabagent_kernels::{
    Attention, Isa, KernelError, KvPage, KvShape, Pool, Query, attention, attention_with,
};

struct Random(u64);

impl Random {
    fn float(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f32 / (1u32 << 30) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// A sequence's keys and values, as pages hold them, and the pages.
struct Sequence {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    pages: Vec<KvPage>,
}

impl Sequence {
    fn new(shape: KvShape, n_tokens: usize, random: &mut Random) -> Self {
        let mut sequence = Self { keys: Vec::new(), values: Vec::new(), pages: Vec::new() };
        for at in 0..n_tokens {
            let key = random.floats(shape.n_kv_heads * shape.k_dim);
            let value = random.floats(shape.n_kv_heads * shape.v_dim);
            if at % KvPage::N_TOKENS == 0 {
                sequence.pages.push(KvPage::new(shape));
            }
            sequence.pages.last_mut().unwrap().write(at % KvPage::N_TOKENS, &key, &value);
            let rounded = |row: Vec<f32>| row.into_iter().map(|x| f16::from_f32(x).to_f32()).collect();
            sequence.keys.push(rounded(key));
            sequence.values.push(rounded(value));
        }
        sequence
    }

    /// One head of one token.
    fn expected(&self, options: &Attention, q: &[f32], head: usize, visible: Range<usize>) -> Vec<f64> {
        let KvShape { n_kv_heads, k_dim, v_dim } = options.kv;
        let kv_head = head / (options.n_heads / n_kv_heads);
        let mut results = vec![0.0; v_dim];
        let mut sum = 0.0;
        for at in visible {
            let key = &self.keys[at][kv_head * k_dim..][..k_dim];
            let score: f64 = key.iter().zip(q).map(|(k, q)| f64::from(*k) * f64::from(*q)).sum();
            let mut score = score * f64::from(options.scale);
            if let Some(cap) = options.soft_cap {
                score = f64::from(cap) * (score / f64::from(cap)).tanh();
            }
            let weight = score.exp();
            sum += weight;
            for (result, value) in results.iter_mut().zip(&self.values[at][kv_head * v_dim..]) {
                *result += weight * f64::from(*value);
            }
        }
        results.iter().map(|x| if sum == 0.0 { 0.0 } else { x / sum }).collect()
    }
}

fn check(options: &Attention, sequences: &[(usize, Vec<Range<usize>>)], seed: u64) {
    let mut random = Random(seed);
    let built: Vec<Sequence> =
        sequences.iter().map(|(n_tokens, _)| Sequence::new(options.kv, *n_tokens, &mut random)).collect();
    let pages: Vec<Vec<&KvPage>> = built.iter().map(|s| s.pages.iter().collect()).collect();
    let mut queries = Vec::new();
    let mut owners = Vec::new();
    for (at, (_, ranges)) in sequences.iter().enumerate() {
        for visible in ranges {
            queries.push(Query { pages: &pages[at], visible: visible.clone() });
            owners.push(at);
        }
    }
    let KvShape { k_dim, v_dim, .. } = options.kv;
    let q: Vec<f32> =
        random.floats(queries.len() * options.n_heads * k_dim).iter().map(|x| x * 4.0).collect();
    for &isa in Isa::available() {
        for n_threads in [1, 2] {
            let pool = Pool::new(n_threads).unwrap();
            let mut out = vec![f32::NAN; queries.len() * options.n_heads * v_dim];
            attention_with(isa, options, &q, &queries, &mut out, &pool).unwrap();
            for (at, out) in out.chunks_exact(v_dim).enumerate() {
                let (token, head) = (at / options.n_heads, at % options.n_heads);
                let visible = queries[token].visible.clone();
                let expected =
                    built[owners[token]].expected(options, &q[at * k_dim..][..k_dim], head, visible);
                for (out, expected) in out.iter().zip(expected) {
                    assert!(
                        (f64::from(*out) - expected).abs() < 3e-6,
                        "{isa:?} {token} {head}: {out} for {expected}"
                    );
                }
            }
        }
    }
}

fn options(n_heads: usize, n_kv_heads: usize, k_dim: usize, v_dim: usize) -> Attention {
    let kv = KvShape { n_kv_heads, k_dim, v_dim };
    Attention { n_heads, kv, scale: 1.0 / (k_dim as f32).sqrt(), soft_cap: None }
}

#[test]
fn one_token_attends_to_all_before() {
    for n_tokens in [1, 31, 32, 33, 100] {
        check(&options(9, 3, 64, 64), &[(n_tokens, vec![0..n_tokens])], n_tokens as u64);
    }
}

#[test]
fn a_prompt_attends_causally_and_in_a_window() {
    let causal = (0..70).map(|at| 0..at + 1).collect();
    let window = (0..70).map(|at: usize| at.saturating_sub(19)..at + 1).collect();
    check(&options(4, 2, 16, 48), &[(70, causal), (70, window)], 3);
}

#[test]
fn scores_can_be_capped() {
    let options = Attention { soft_cap: Some(0.7), ..options(2, 1, 8, 5) };
    check(&options, &[(40, vec![0..40, 3..35, 36..37])], 4);
}

#[test]
fn a_token_that_sees_nothing_gets_zeros() {
    check(&options(2, 2, 8, 8), &[(5, vec![0..0, 0..5, 3..3])], 5);
    check(&options(2, 2, 8, 8), &[(0, vec![0..0])], 6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_attends(
        n_kv_heads in 1..4usize, n_grouped in 1..10usize, k_dim in 1..70usize, v_dim in 1..70usize,
        lengths in prop::collection::vec(1..90usize, 1..4), n_queries in 1..20usize, seed: u64,
    ) {
        let mut at = seed;
        let mut below = |n: usize| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (at >> 33) as usize % n
        };
        let sequences: Vec<_> = lengths.iter().map(|n_tokens| {
            let range = |_| { let end = below(n_tokens + 1); below(end + 1)..end };
            (*n_tokens, (0..n_queries).map(range).collect())
        }).collect();
        check(&options(n_kv_heads * n_grouped, n_kv_heads, k_dim, v_dim), &sequences, seed);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let kv = KvShape { n_kv_heads: 1, k_dim: 1, v_dim: 1 };
    let mut page = KvPage::new(kv);
    for (slot, key) in [-60000.0f32, 10.0, 60000.0].into_iter().enumerate() {
        page.write(slot, &[key], &[slot as f32]);
    }
    let pages = [&page];
    let pool = Pool::new(1).unwrap();
    let options = Attention { n_heads: 1, kv, scale: 1.0, soft_cap: None };
    for (q, expected) in [(1e30f32, 2.0), (-1e30, 0.0), (0.0, 1.0)] {
        let mut out = [f32::NAN];
        attention(&options, &[q], &[Query { pages: &pages, visible: 0..3 }], &mut out, &pool).unwrap();
        assert!((out[0] - expected).abs() < 1e-6, "{q}: {}", out[0]);
    }
    let mut out = [0.0];
    attention(&options, &[f32::NAN], &[Query { pages: &pages, visible: 0..3 }], &mut out, &pool).unwrap();
    assert!(out[0].is_nan());
}

#[test]
fn wrong_shapes_are_errors() {
    let options = options(2, 1, 8, 8);
    let (page, other) = (KvPage::new(options.kv), KvPage::new(KvShape { k_dim: 7, ..options.kv }));
    let pool = Pool::new(1).unwrap();
    let run = |options: &Attention, q: usize, pages: &[&KvPage], end: usize, out: usize| {
        let query = [Query { pages, visible: 0..end }];
        attention(options, &vec![0.0; q], &query, &mut vec![0.0; out], &pool)
    };
    run(&options, 16, &[&page], 32, 16).unwrap();
    assert!(matches!(run(&options, 15, &[&page], 32, 16), Err(KernelError::WrongLength { .. })));
    assert!(matches!(run(&options, 16, &[&page], 32, 17), Err(KernelError::WrongLength { .. })));
    assert!(matches!(run(&options, 16, &[&page], 33, 16), Err(KernelError::WrongValue { .. })));
    assert!(matches!(run(&options, 16, &[&other], 1, 16), Err(KernelError::WrongValue { .. })));
    let uneven = Attention { n_heads: 3, kv: KvShape { n_kv_heads: 2, ..options.kv }, ..options };
    assert!(matches!(run(&uneven, 24, &[&page], 1, 24), Err(KernelError::WrongValue { .. })));
}
