//! The same for AVX2: two vectors of eight lanes.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::x86_64::*;

use super::{Caller, LANES, Lines, Masses, Moments, Part, each_bit, passes, prefetch};
use crate::row::blocks::{BLOCK, Block, Blocks};
use crate::row::bracketed::{Bracketed, Room};
use crate::row::rank_key::RankKey;
use crate::row::ranked_row::RankedRow;
use crate::row::weight::{FLOOR, POLYNOMIAL, ROUNDER, Scale};

/// How many numbers a vector holds.
const WIDTH: usize = 8;

passes!(#[target_feature(enable = "avx2,fma,bmi1,popcnt")]);

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn load(numbers: &[f32; WIDTH]) -> __m256 {
    // SAFETY: the array is 32 bytes that may be read, and this load asks for no alignment.
    unsafe { _mm256_loadu_ps(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
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
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn mask(block: &Block, threshold: f32) -> u128 {
    let threshold = _mm256_set1_ps(threshold);
    let mut bits = [0; BLOCK / WIDTH];
    for (bits, numbers) in bits.iter_mut().zip(block.as_chunks::<WIDTH>().0) {
        *bits = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(load(numbers), threshold)) as u8;
    }
    u128::from_le_bytes(bits)
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn load_side(numbers: &[f32; LANES]) -> [__m256; 4] {
    let chunks = numbers.as_chunks::<WIDTH>().0;
    std::array::from_fn(|i| load(&chunks[i]))
}

/// Weights as products of two factors, the second one a power of two: so a sum loses nothing by multiplying and adding in one.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn weight_factors(logits: [__m256; 4], scale: Scale) -> [(__m256, __m256); 4] {
    factors(powers(logits, scale))
}

/// The powers of two that the weights are, none below the floor.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn powers(logits: [__m256; 4], scale: Scale) -> [__m256; 4] {
    let (top, slope, floor) = (_mm256_set1_ps(scale.top), _mm256_set1_ps(scale.slope), _mm256_set1_ps(FLOOR));
    let power = logits.map(|x| _mm256_sub_ps(x, top));
    let power = power.map(|x| _mm256_mul_ps(x, slope));
    // The second operand is the result if the first one is NaN.
    power.map(|x| _mm256_max_ps(x, floor))
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn factors(power: [__m256; 4]) -> [(__m256, __m256); 4] {
    let rounder = _mm256_set1_ps(ROUNDER);
    let shifted = power.map(|x| _mm256_add_ps(x, rounder));
    let whole = shifted.map(|x| _mm256_sub_ps(x, rounder));
    let r: [__m256; 4] = std::array::from_fn(|i| _mm256_sub_ps(power[i], whole[i]));
    let [first, rest @ ..] = POLYNOMIAL;
    let mut sum = [_mm256_set1_ps(first); 4];
    for coefficient in rest {
        let coefficient = _mm256_set1_ps(coefficient);
        sum = std::array::from_fn(|i| _mm256_fmadd_ps(sum[i], r[i], coefficient));
    }
    let factor = shifted.map(|x| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(x))));
    std::array::from_fn(|i| (sum[i], factor[i]))
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn weigh_block(logits: &Block, scale: Scale, weights: &mut Block) {
    let outs = weights.as_chunks_mut::<LANES>().0;
    for (out, logits) in outs.iter_mut().zip(logits.as_chunks::<LANES>().0) {
        let factors = weight_factors(load_side(logits), scale);
        for (out, (a, b)) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(factors) {
            let eight = _mm256_mul_ps(a, b);
            // SAFETY: `out` is 32 bytes that may be written, and this store asks for no alignment.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), eight) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn weight<const CALLER: u8>(block: &Block, scale: Scale) -> f64 {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for side in block.as_chunks::<LANES>().0 {
        for (at, (a, b)) in weight_factors(load_side(side), scale).into_iter().enumerate() {
            lanes[at] = _mm256_fmadd_ps(a, b, lanes[at]);
        }
    }
    sum(lanes)
}

/// [`RankKey::of`] each logit, as `NEAR` says.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn keys<const NEAR: bool>(logits: __m256, centre: __m256) -> __m256 {
    if NEAR { _mm256_or_ps(_mm256_sub_ps(logits, centre), _mm256_set1_ps(-0.0)) } else { logits }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn block_moments(block: &Block, scale: Scale) -> Moments {
    let lowest = _mm256_set1_ps(f32::NEG_INFINITY);
    let (mut total, mut weighted) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
    let mut n = 0;
    for side in block.as_chunks::<LANES>().0 {
        let logits = load_side(side);
        let powers = powers(logits, scale);
        for (at, ((a, b), power)) in factors(powers).into_iter().zip(powers).enumerate() {
            let weight = _mm256_mul_ps(a, b);
            total[at] = _mm256_add_ps(total[at], weight);
            weighted[at] = _mm256_add_ps(weighted[at], _mm256_mul_ps(weight, power));
            let is_there = _mm256_cmp_ps::<_CMP_GT_OQ>(logits[at], lowest);
            n += _mm256_movemask_ps(is_there).count_ones() as usize;
        }
    }
    Moments { total: sum(total), powers: sum(weighted), n }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn part<const NEAR: bool, const TOTAL: bool>(
    block: &Block,
    scale: Scale,
    centre: f32,
    lines: Lines,
    room: &mut Room,
) -> Part {
    let (high, low) = (_mm256_set1_ps(lines.high), _mm256_set1_ps(lines.low));
    let centre = _mm256_set1_ps(centre);
    let (mut all, mut above) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
    let (mut n_above, mut n_between) = (0, 0);
    for side in block.as_chunks::<LANES>().0 {
        let logits = load_side(side);
        let factors = weight_factors(logits, scale);
        for (at, (logits, (a, b))) in logits.into_iter().zip(factors).enumerate() {
            let keys = keys::<NEAR>(logits, centre);
            let is_above = _mm256_cmp_ps::<_CMP_GE_OQ>(keys, high);
            let is_between = _mm256_andnot_ps(is_above, _mm256_cmp_ps::<_CMP_GE_OQ>(keys, low));
            if TOTAL {
                all[at] = _mm256_fmadd_ps(a, b, all[at]);
            }
            above[at] = _mm256_fmadd_ps(a, _mm256_and_ps(b, is_above), above[at]);
            let between = _mm256_movemask_ps(is_between) as u8;
            // SAFETY: the row of the table is 32 bytes that may be read, and this load asks for no alignment.
            let order = unsafe { _mm256_loadu_si256(PACKING[between as usize].as_ptr().cast()) };
            let packed = _mm256_permutevar8x32_ps(logits, order);
            let out = room[n_between..].as_mut_ptr();
            // SAFETY: the at most 15 vectors before added at most 8 lanes each, so at least 24 of the room's 144 lanes lie
            // behind `out`; this store asks for no alignment.
            unsafe { _mm256_storeu_ps(out, packed) };
            n_between += between.count_ones() as usize;
            n_above += _mm256_movemask_ps(is_above).count_ones() as usize;
        }
    }
    Part { all: sum(all), above: sum(above), n_above, n_between }
}

/// For each set of lanes their numbers, first to last; what comes after them does not matter.
static PACKING: [[i32; WIDTH]; 256] = packing();

const fn packing() -> [[i32; WIDTH]; 256] {
    let mut table = [[0; WIDTH]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut n) = (0, 0);
        while lane < WIDTH {
            if set >> lane & 1 == 1 {
                table[set][n] = lane as i32;
                n += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    table
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> (f64, usize) {
    let line = _mm256_set1_ps(line);
    let (mut lanes, mut n) = ([_mm256_setzero_ps(); 4], 0);
    for (logits, weights) in block.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        let vectors = logits.as_chunks::<WIDTH>().0.iter().zip(weights.as_chunks::<WIDTH>().0);
        for (lane, (logits, weights)) in lanes.iter_mut().zip(vectors) {
            let kept = _mm256_cmp_ps::<_CMP_GE_OQ>(load(logits), line);
            *lane = _mm256_add_ps(*lane, _mm256_and_ps(load(weights), kept));
            n += _mm256_movemask_ps(kept).count_ones() as usize;
        }
    }
    (sum(lanes), n)
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn sum(lanes: [__m256; 4]) -> f64 {
    let [a, b, c, d] = lanes;
    // Lanes 0-7 and 16-23, with 8-15 and 24-31.
    let eight = _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
    let lower = _mm256_cvtps_pd(_mm256_castps256_ps128(eight));
    let upper = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(eight));
    let four = _mm256_add_pd(lower, upper);
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}
