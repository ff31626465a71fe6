//! The definition, in code for any machine; the lanes are arrays, so that the compiler can use what vectors there are.

use super::{LANES, Lines, Masses, each_bit, passes};
use crate::blocks::{BLOCK, Block, Blocks};
use crate::weight::Scale;

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
    logits.map(|x| scale.weight(x))
}

fn weight(block: &Block, scale: Scale) -> f64 {
    let mut lanes = [0.0; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        add(&mut lanes, &weigh_lanes(chunk, scale));
    }
    sum(lanes)
}

/// The weight of all logits and of those of at least `high`.
fn weights(block: &Block, scale: Scale, high: f32) -> (f64, f64) {
    let (mut all, mut above) = ([0.0; LANES], [0.0; LANES]);
    for chunk in block.as_chunks::<LANES>().0 {
        add(&mut all, &weigh_lanes(chunk, scale));
        add(&mut above, &chunk.map(|x| if x >= high { scale.weight(x) } else { 0.0 }));
    }
    (sum(all), sum(above))
}

/// The sum of the weights whose logit is at least `line`.
fn sum_at_least(block: &Block, weights: &Block, line: f32) -> f64 {
    let mut lanes = [0.0; LANES];
    for (logits, weights) in block.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for ((lane, &x), &weight) in lanes.iter_mut().zip(logits).zip(weights) {
            *lane += if x >= line { weight } else { 0.0 };
        }
    }
    sum(lanes)
}

fn add(lanes: &mut Lanes, more: &Lanes) {
    for (lane, x) in lanes.iter_mut().zip(more) {
        *lane += x;
    }
}

fn sum(lanes: Lanes) -> f64 {
    let mut sums = lanes.map(f64::from);
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        let (low, high) = sums.split_at_mut(n);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
    }
    sums[0]
}
