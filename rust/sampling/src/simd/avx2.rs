//! The same for AVX2: two vectors of eight lanes.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::x86_64::*;

use super::{LANES, Lines, Masses, each_bit, passes, prefetch};
use crate::blocks::{BLOCK, Block, Blocks};
use crate::weight::{FLOOR, POLYNOMIAL, ROUNDER, Scale};

/// How many numbers a vector holds.
const WIDTH: usize = 8;

passes!(#[target_feature(enable = "avx2,bmi1,popcnt")]);

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn load(numbers: &[f32; WIDTH]) -> __m256 {
    // SAFETY: the array is 32 bytes that may be read, and this load asks for no alignment.
    unsafe { _mm256_loadu_ps(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn maximum(block: &Block) -> f32 {
    let mut lanes = [_mm256_set1_ps(f32::NEG_INFINITY); 4];
    for chunk in block.as_chunks::<{ 4 * WIDTH }>().0 {
        for (lane, numbers) in lanes.iter_mut().zip(chunk.as_chunks::<WIDTH>().0) {
            // The second operand is the result if the first one is NaN.
            *lane = _mm256_max_ps(load(numbers), *lane);
        }
    }
    let [a, b, c, d] = lanes;
    let eight = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
    let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two))) + 0.0
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn mask(block: &Block, threshold: f32) -> u128 {
    let threshold = _mm256_set1_ps(threshold);
    let mut bits = [0; BLOCK / WIDTH];
    for (bits, numbers) in bits.iter_mut().zip(block.as_chunks::<WIDTH>().0) {
        *bits = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(load(numbers), threshold)) as u8;
    }
    u128::from_le_bytes(bits)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn weight_vector(numbers: &[f32; WIDTH], scale: Scale) -> __m256 {
    let power = _mm256_sub_ps(load(numbers), _mm256_set1_ps(scale.top));
    let power = _mm256_mul_ps(power, _mm256_set1_ps(scale.slope));
    let power = _mm256_max_ps(power, _mm256_set1_ps(FLOOR));
    let shifted = _mm256_add_ps(power, _mm256_set1_ps(ROUNDER));
    let r = _mm256_sub_ps(power, _mm256_sub_ps(shifted, _mm256_set1_ps(ROUNDER)));
    let [first, rest @ ..] = POLYNOMIAL;
    let mut sum = _mm256_set1_ps(first);
    for coefficient in rest {
        sum = _mm256_add_ps(_mm256_mul_ps(sum, r), _mm256_set1_ps(coefficient));
    }
    let factor = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
    _mm256_mul_ps(sum, _mm256_castsi256_ps(factor))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn weigh_lanes(logits: &[f32; LANES], scale: Scale) -> [f32; LANES] {
    let mut weights = [0.0; LANES];
    for (out, numbers) in weights.as_chunks_mut::<WIDTH>().0.iter_mut().zip(logits.as_chunks::<WIDTH>().0) {
        let eight = weight_vector(numbers, scale);
        // SAFETY: `out` is 32 bytes that may be written, and this store asks for no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), eight) };
    }
    weights
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn weight(block: &Block, scale: Scale) -> f64 {
    let mut lanes = [_mm256_setzero_ps(); 2];
    for chunk in block.as_chunks::<LANES>().0 {
        for (lane, numbers) in lanes.iter_mut().zip(chunk.as_chunks::<WIDTH>().0) {
            *lane = _mm256_add_ps(*lane, weight_vector(numbers, scale));
        }
    }
    sum(lanes)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn weights(block: &Block, scale: Scale, high: f32) -> (f64, f64) {
    let high = _mm256_set1_ps(high);
    let (mut all, mut above) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
    for chunk in block.as_chunks::<LANES>().0 {
        for ((all, above), numbers) in all.iter_mut().zip(&mut above).zip(chunk.as_chunks::<WIDTH>().0) {
            let weights = weight_vector(numbers, scale);
            let kept = _mm256_cmp_ps::<_CMP_GE_OQ>(load(numbers), high);
            *all = _mm256_add_ps(*all, weights);
            *above = _mm256_add_ps(*above, _mm256_and_ps(weights, kept));
        }
    }
    (sum(all), sum(above))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> f64 {
    let line = _mm256_set1_ps(line);
    let mut lanes = [_mm256_setzero_ps(); 2];
    for (logits, weights) in block.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        let halves = logits.as_chunks::<WIDTH>().0.iter().zip(weights.as_chunks::<WIDTH>().0);
        for (lane, (logits, weights)) in lanes.iter_mut().zip(halves) {
            let kept = _mm256_cmp_ps::<_CMP_GE_OQ>(load(logits), line);
            *lane = _mm256_add_ps(*lane, _mm256_and_ps(load(weights), kept));
        }
    }
    sum(lanes)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn sum(lanes: [__m256; 2]) -> f64 {
    let [low, high] = lanes;
    // Lanes 0-3 with 8-11 and 4-7 with 12-15.
    let a = _mm256_add_pd(lower(low), lower(high));
    let b = _mm256_add_pd(upper(low), upper(high));
    let four = _mm256_add_pd(a, b);
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn lower(lanes: __m256) -> __m256d {
    _mm256_cvtps_pd(_mm256_castps256_ps128(lanes))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn upper(lanes: __m256) -> __m256d {
    _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(lanes))
}
