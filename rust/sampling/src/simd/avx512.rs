//! The same for AVX-512: one vector of sixteen lanes.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::x86_64::*;

use super::{LANES, Lines, Masses, each_bit, passes, prefetch};
use crate::blocks::{BLOCK, Block, Blocks};
use crate::weight::{FLOOR, POLYNOMIAL, ROUNDER, Scale};

passes!(#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn load(numbers: &[f32; LANES]) -> __m512 {
    // SAFETY: the array is 64 bytes that may be read, and this load asks for no alignment.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn maximum(block: &Block) -> f32 {
    let mut lanes = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for chunk in block.as_chunks::<{ 2 * LANES }>().0 {
        for (lane, numbers) in lanes.iter_mut().zip(chunk.as_chunks::<LANES>().0) {
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
        for (at, numbers) in chunks.as_chunks::<LANES>().0.iter().enumerate() {
            let bits = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(numbers), threshold);
            *half |= u64::from(bits) << (at * LANES);
        }
    }
    u128::from(halves[1]) << 64 | u128::from(halves[0])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weight_vector(logits: __m512, scale: Scale) -> __m512 {
    let power = _mm512_sub_ps(logits, _mm512_set1_ps(scale.top));
    let power = _mm512_mul_ps(power, _mm512_set1_ps(scale.slope));
    let power = _mm512_max_ps(power, _mm512_set1_ps(FLOOR));
    let shifted = _mm512_add_ps(power, _mm512_set1_ps(ROUNDER));
    let r = _mm512_sub_ps(power, _mm512_sub_ps(shifted, _mm512_set1_ps(ROUNDER)));
    let [first, rest @ ..] = POLYNOMIAL;
    let mut sum = _mm512_set1_ps(first);
    for coefficient in rest {
        sum = _mm512_add_ps(_mm512_mul_ps(sum, r), _mm512_set1_ps(coefficient));
    }
    let factor = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_mul_ps(sum, _mm512_castsi512_ps(factor))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weigh_lanes(logits: &[f32; LANES], scale: Scale) -> [f32; LANES] {
    let mut weights = [0.0; LANES];
    let sixteen = weight_vector(load(logits), scale);
    // SAFETY: `weights` is 64 bytes that may be written, and this store asks for no alignment.
    unsafe { _mm512_storeu_ps(weights.as_mut_ptr(), sixteen) };
    weights
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weight(block: &Block, scale: Scale) -> f64 {
    let mut lanes = _mm512_setzero_ps();
    for numbers in block.as_chunks::<LANES>().0 {
        lanes = _mm512_add_ps(lanes, weight_vector(load(numbers), scale));
    }
    sum(lanes)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn weights(block: &Block, scale: Scale, high: f32) -> (f64, f64) {
    let high = _mm512_set1_ps(high);
    let (mut all, mut above) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for numbers in block.as_chunks::<LANES>().0 {
        let logits = load(numbers);
        let weights = weight_vector(logits, scale);
        let kept = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(logits, high);
        all = _mm512_add_ps(all, weights);
        above = _mm512_mask_add_ps(above, kept, above, weights);
    }
    (sum(all), sum(above))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> f64 {
    let line = _mm512_set1_ps(line);
    let mut lanes = _mm512_setzero_ps();
    for (logits, weights) in block.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        let kept = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(logits), line);
        lanes = _mm512_mask_add_ps(lanes, kept, lanes, load(weights));
    }
    sum(lanes)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn sum(lanes: __m512) -> f64 {
    let low = _mm512_cvtps_pd(_mm512_castps512_ps256(lanes));
    let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(lanes));
    let eight = _mm512_add_pd(low, high);
    let four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd::<1>(eight));
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}
