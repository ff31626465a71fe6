//! The definition, in code for any machine; the lanes are arrays, so that the compiler can use what vectors there are.

use super::{Caller, LANES, Lines, Masses, Moments, Part, each_bit, passes};
use crate::row::blocks::{BLOCK, Block, Blocks};
use crate::row::bracketed::{Bracketed, Room};
use crate::row::rank_key::RankKey;
use crate::row::ranked_row::RankedRow;
use crate::row::weight::Scale;

type Lanes = [f32; LANES];

passes!();

fn prefetch(_: &Block) {}

fn maximum(block: &Block) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, x);
        }
    }
    // Adding 0 turns -0 into 0, so that the order of the comparisons cannot be seen.
    lanes.into_iter().fold(f32::NEG_INFINITY, higher) + 0.0
}

/// One bit for each logit of at least `threshold`, the first one's the lowest.
fn mask(block: &Block, threshold: f32) -> u128 {
    let mut bits = 0;
    for (at, chunk) in block.as_chunks::<LANES>().0.iter().enumerate() {
        let n_high: u32 = chunk.iter().map(|&x| u32::from(x >= threshold)).sum();
        if n_high > 0 {
            for (i, &x) in chunk.iter().enumerate() {
                bits |= u128::from(x >= threshold) << (at * LANES + i);
            }
        }
    }
    bits
}

fn weigh_lanes(logits: &Lanes, scale: Scale) -> Lanes {
    if logits.iter().all(|&x| scale.is_far(x)) {
        return logits.map(|x| scale.far_weight(x));
    }
    logits.map(|x| scale.weight(x))
}

fn weigh_block(logits: &Block, scale: Scale, weights: &mut Block) {
    for (out, chunk) in weights.as_chunks_mut::<LANES>().0.iter_mut().zip(logits.as_chunks().0) {
        *out = weigh_lanes(chunk, scale);
    }
}

fn weight<const CALLER: u8>(block: &Block, scale: Scale) -> f64 {
    let mut lanes = [0.0; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        add(&mut lanes, &weigh_lanes(chunk, scale));
    }
    sum(lanes)
}

fn block_moments(block: &Block, scale: Scale) -> Moments {
    let (mut total, mut weighted) = ([0.0; LANES], [0.0; LANES]);
    let mut n = 0;
    for chunk in block.as_chunks::<LANES>().0 {
        let weights = weigh_lanes(chunk, scale);
        add(&mut total, &weights);
        for ((sum, weight), &x) in weighted.iter_mut().zip(weights).zip(chunk) {
            *sum += weight * scale.power(x);
        }
        n += chunk.iter().map(|&x| u32::from(x > f32::NEG_INFINITY)).sum::<u32>();
    }
    Moments { total: sum(total), powers: sum(weighted), n: n as usize }
}

/// The sums of the block, and at the start of `room` the logits whose keys are between the lines.
fn part<const NEAR: bool, const TOTAL: bool>(
    block: &Block,
    scale: Scale,
    centre: f32,
    lines: Lines,
    room: &mut Room,
) -> Part {
    let (mut all, mut above) = ([0.0; LANES], [0.0; LANES]);
    let (mut n_above, mut n_between) = (0, 0);
    let key = if NEAR { RankKey::Near(centre) } else { RankKey::Logit };
    for chunk in block.as_chunks::<LANES>().0 {
        let weights = weigh_lanes(chunk, scale);
        let keys = chunk.map(|x| key.of(x));
        if TOTAL {
            add(&mut all, &weights);
        }
        for ((above, key), weight) in above.iter_mut().zip(keys).zip(weights) {
            *above += if key >= lines.high { weight } else { 0.0 };
        }
        let n_high: u32 = keys.iter().map(|&key| u32::from(key >= lines.high)).sum();
        let n_low: u32 = keys.iter().map(|&key| u32::from(key >= lines.low)).sum();
        n_above += n_high as usize;
        if n_low > n_high {
            for (&x, key) in chunk.iter().zip(keys) {
                room[n_between] = x;
                n_between += usize::from(key >= lines.low) - usize::from(key >= lines.high);
            }
        }
    }
    Part { all: sum(all), above: sum(above), n_above, n_between }
}

/// The sum and the number of the weights whose logit is at least `line`.
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> (f64, usize) {
    let (mut lanes, mut n) = ([0.0; LANES], 0);
    for (logits, weights) in block.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for ((lane, &x), &weight) in lanes.iter_mut().zip(logits).zip(weights) {
            *lane += if x >= line { weight } else { 0.0 };
        }
        n += logits.iter().map(|&x| u32::from(x >= line)).sum::<u32>() as usize;
    }
    (sum(lanes), n)
}

fn add(lanes: &mut Lanes, more: &Lanes) {
    for (lane, x) in lanes.iter_mut().zip(more) {
        *lane += x;
    }
}

fn sum(lanes: Lanes) -> f64 {
    let sixteen: [f32; 16] = std::array::from_fn(|i| lanes[i] + lanes[i + 16]);
    let eight: [f64; 8] = std::array::from_fn(|i| f64::from(sixteen[i] + sixteen[i + 8]));
    let four: [f64; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
