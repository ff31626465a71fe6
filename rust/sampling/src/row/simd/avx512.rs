//! The same for AVX-512: one vector of sixteen lanes.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::x86_64::*;

use super::{Caller, Lines, Masses, Moments, Part, each_bit, passes, prefetch};
use crate::row::blocks::{BLOCK, Block, Blocks};
use crate::row::bracketed::{Bracketed, Room};
use crate::row::rank_key::RankKey;
use crate::row::ranked_row::RankedRow;
use crate::row::weight::{FLOOR, POLYNOMIAL, ROUNDER, Scale};

/// How many numbers a vector holds.
const WIDTH: usize = 16;

/// As many numbers as have their weights computed side by side. One vector alone is a chain of operations that each wait for the one
/// before: the processor would spend most of its time waiting.
type Side = [f32; 4 * WIDTH];

passes!(#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn load(numbers: &[f32; WIDTH]) -> __m512 {
    // SAFETY: the array is 64 bytes that may be read, and this load asks for no alignment.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn maximum(block: &Block) -> f32 {
    let mut lanes = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for chunk in block.as_chunks::<{ 2 * WIDTH }>().0 {
        for (lane, numbers) in lanes.iter_mut().zip(chunk.as_chunks::<WIDTH>().0) {
            // The second operand is the result if the first one is NaN.
            *lane = _mm512_max_ps(load(numbers), *lane);
        }
    }
    let [a, b] = lanes;
    _mm512_reduce_max_ps(_mm512_max_ps(a, b)) + 0.0
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn mask(block: &Block, threshold: f32) -> u128 {
    let threshold = _mm512_set1_ps(threshold);
    let mut halves = [0u64; 2];
    for (half, chunks) in halves.iter_mut().zip(block.as_chunks::<64>().0) {
        for (at, numbers) in chunks.as_chunks::<WIDTH>().0.iter().enumerate() {
            let bits = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(numbers), threshold);
            *half |= u64::from(bits) << (at * WIDTH);
        }
    }
    u128::from(halves[1]) << 64 | u128::from(halves[0])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn load_side(numbers: &Side) -> [__m512; 4] {
    let chunks = numbers.as_chunks::<WIDTH>().0;
    std::array::from_fn(|i| load(&chunks[i]))
}

/// Weights as products of two factors, the second one a power of two: so a sum loses nothing by multiplying and adding in one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weight_factors(logits: [__m512; 4], scale: Scale) -> [(__m512, __m512); 4] {
    factors(powers(logits, scale))
}

/// The powers of two that the weights are, none below the floor.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn powers(logits: [__m512; 4], scale: Scale) -> [__m512; 4] {
    let (top, slope, floor) = (_mm512_set1_ps(scale.top), _mm512_set1_ps(scale.slope), _mm512_set1_ps(FLOOR));
    let power = logits.map(|x| _mm512_sub_ps(x, top));
    let power = power.map(|x| _mm512_mul_ps(x, slope));
    // The second operand is the result if the first one is NaN.
    power.map(|x| _mm512_max_ps(x, floor))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn factors(power: [__m512; 4]) -> [(__m512, __m512); 4] {
    let rounder = _mm512_set1_ps(ROUNDER);
    let shifted = power.map(|x| _mm512_add_ps(x, rounder));
    // What rounding to the nearest integer takes away.
    let r = power.map(|x| _mm512_reduce_ps::<0>(x));
    let [first, rest @ ..] = POLYNOMIAL;
    let mut sum = [_mm512_set1_ps(first); 4];
    for coefficient in rest {
        let coefficient = _mm512_set1_ps(coefficient);
        sum = std::array::from_fn(|i| _mm512_fmadd_ps(sum[i], r[i], coefficient));
    }
    let factor = shifted.map(|x| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(x))));
    std::array::from_fn(|i| (sum[i], factor[i]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weigh_block(logits: &Block, scale: Scale, weights: &mut Block) {
    for (out, logits) in weights.as_chunks_mut::<{ 4 * WIDTH }>().0.iter_mut().zip(logits.as_chunks().0) {
        let factors = weight_factors(load_side(logits), scale);
        for (out, (a, b)) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(factors) {
            let sixteen = _mm512_mul_ps(a, b);
            // SAFETY: `out` is 64 bytes that may be written, and this store asks for no alignment.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sixteen) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weight<const CALLER: u8>(block: &Block, scale: Scale) -> f64 {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for side in block.as_chunks().0 {
        for (at, (a, b)) in weight_factors(load_side(side), scale).into_iter().enumerate() {
            lanes[at % 2] = _mm512_fmadd_ps(a, b, lanes[at % 2]);
        }
    }
    sum(lanes)
}

/// [`RankKey::of`] each logit, as `NEAR` says.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn keys<const NEAR: bool>(logits: __m512, centre: __m512) -> __m512 {
    if NEAR { _mm512_or_ps(_mm512_sub_ps(logits, centre), _mm512_set1_ps(-0.0)) } else { logits }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn block_moments(block: &Block, scale: Scale) -> Moments {
    let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
    let (mut total, mut weighted) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
    let mut n = 0;
    for side in block.as_chunks().0 {
        let logits = load_side(side);
        let powers = powers(logits, scale);
        for (at, ((a, b), power)) in factors(powers).into_iter().zip(powers).enumerate() {
            let weight = _mm512_mul_ps(a, b);
            total[at % 2] = _mm512_add_ps(total[at % 2], weight);
            weighted[at % 2] = _mm512_add_ps(weighted[at % 2], _mm512_mul_ps(weight, power));
            n += _mm512_cmp_ps_mask::<_CMP_GT_OQ>(logits[at], lowest).count_ones() as usize;
        }
    }
    Moments { total: sum(total), powers: sum(weighted), n }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn part<const NEAR: bool, const TOTAL: bool>(
    block: &Block,
    scale: Scale,
    centre: f32,
    lines: Lines,
    room: &mut Room,
) -> Part {
    let (high, low) = (_mm512_set1_ps(lines.high), _mm512_set1_ps(lines.low));
    let centre = _mm512_set1_ps(centre);
    let (mut all, mut above) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
    let (mut n_above, mut n_between) = (0, 0);
    for side in block.as_chunks().0 {
        let logits = load_side(side);
        for (at, (logits, (a, b))) in logits.into_iter().zip(weight_factors(logits, scale)).enumerate() {
            let keys = keys::<NEAR>(logits, centre);
            let is_above = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(keys, high);
            let is_between = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(_knot_mask16(is_above), keys, low);
            if TOTAL {
                all[at % 2] = _mm512_fmadd_ps(a, b, all[at % 2]);
            }
            above[at % 2] = _mm512_mask3_fmadd_ps(a, b, above[at % 2], is_above);
            let packed = _mm512_maskz_compress_ps(is_between, logits);
            let out = room[n_between..].as_mut_ptr();
            // SAFETY: the at most 7 vectors before added at most 16 lanes each, so at least 32 of the room's 144 lanes lie
            // behind `out`; this store asks for no alignment.
            unsafe { _mm512_storeu_ps(out, packed) };
            n_between += is_between.count_ones() as usize;
            n_above += is_above.count_ones() as usize;
        }
    }
    Part { all: sum(all), above: sum(above), n_above, n_between }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> (f64, usize) {
    let line = _mm512_set1_ps(line);
    let (mut lanes, mut n) = ([_mm512_setzero_ps(); 2], 0);
    let vectors = block.as_chunks().0.iter().zip(weights.as_chunks().0);
    for (at, (logits, weights)) in vectors.enumerate() {
        let kept = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(logits), line);
        lanes[at % 2] = _mm512_mask_add_ps(lanes[at % 2], kept, lanes[at % 2], load(weights));
        n += kept.count_ones() as usize;
    }
    (sum(lanes), n)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn sum(lanes: [__m512; 2]) -> f64 {
    let sixteen = _mm512_add_ps(lanes[0], lanes[1]);
    let upper = _mm512_extractf32x8_ps::<1>(sixteen);
    let eight = _mm512_cvtps_pd(_mm256_add_ps(_mm512_castps512_ps256(sixteen), upper));
    let four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd::<1>(eight));
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}
