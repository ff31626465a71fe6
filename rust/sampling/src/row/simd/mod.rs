//! The loops over whole rows, compiled for the instruction sets of a machine and chosen when the program runs.
//!
//! Every set gives the same bits. A block of 128 logits is worked on as 32 lanes of 4 logits, lane `i` holding the logits
//! `i, i + 32, i + 64, i + 96`; a lane adds up from its first logit to its last in `f32`; then the lanes are added as a tree, the upper half of
//! them to the lower half, twice in `f32` and three times in `f64`. The blocks' sums are added from the first to the last. A weight's polynomial
//! is evaluated with fused multiplications and additions everywhere; a lane may fuse its addition with the product that makes a weight,
//! because that product, by a power of two, is exact. [`plain`] is the definition; on 64-bit ARM, where NEON is always there, the compiler
//! turns its lanes into NEON code.
//!
//! Four vectors at a time go through the polynomial: one alone is a chain of operations that each wait for the one before.
//!
//! It is the only place of the crate with unsafe code: calls of functions that need an instruction set, loads from arrays into vectors,
//! stores of vectors into arrays, and prefetches.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;
#[cfg(test)]
mod tests;

use crate::row::blocks::{Block, Blocks};
use crate::row::bracketed::Bracketed;
use crate::row::goal::Mass;
use crate::row::ranked_row::RankedRow;
use crate::row::weight::Scale;

/// How many sums run side by side.
const LANES: usize = 32;

/// An instruction set that this machine has. Only [`Level::best`] and [`Level::all`] make one, after they looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest one.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self(Set::Avx512);
            }
            if has_avx2() {
                return Self(Set::Avx2);
            }
        }
        Self(Set::Plain)
    }

    /// Every one that this machine has.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let sets = [
            (Set::Plain, true),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx2, has_avx2()),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512, has_avx512()),
        ];
        sets.into_iter().filter(|(_, is_there)| *is_there).map(|(set, _)| Self(set)).collect()
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Where [`split`] draws its two lines, as keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Keys of at least this are above the high line.
    pub(crate) high: f32,
    /// Keys of less than this are below the low line; at most `high`.
    pub(crate) low: f32,
}

/// What [`split`] adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Masses {
    /// The weight of all tokens; nothing if the row's `total` is there already.
    pub(crate) total: f64,
    /// What is above the high line.
    pub(crate) above: Mass,
}

/// What [`moments`] adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    /// The weight of all tokens.
    pub(crate) total: f64,
    /// The sum of weight × power, the power of two that the weight is: the entropy is log2 of the total, less this over the total.
    pub(crate) powers: f64,
    /// How many logits are above negative infinity.
    pub(crate) n: usize,
}

/// Who asks for the weight of a block: each gets code of its own, which the compiler then puts into its loop, with all constants kept in
/// registers. A call for each block takes a fifth longer.
struct Caller;

impl Caller {
    const WEIGH: u8 = 0;
    const SPLIT: u8 = 1;
    const TOTAL: u8 = 2;
}

/// What [`split`] adds up in one block, `all` only where it is asked for.
struct Part {
    all: f64,
    above: f64,
    n_above: usize,
    n_between: usize,
}

/// Makes a function that calls its namesake of the level's module.
macro_rules! dispatched {
    ($($(#[$attribute:meta])* fn $name:ident $(<$closure:ident: $bound:path>)? ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        $(#[$attribute])*
        pub(crate) fn $name $(<$closure: $bound>)? (level: Level, $($argument: $type),*) $(-> $result)? {
            match level.0 {
                Set::Plain => plain::$name($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Level` of this set is made only where the processor was found to have AVX2, FMA, BMI1 and POPCNT.
                Set::Avx2 => unsafe { avx2::$name($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Level` of this set is made only where the processor was found to have AVX-512 F, BW, DQ and VL, BMI1 and POPCNT.
                Set::Avx512 => unsafe { avx512::$name($($argument),*) },
            }
        }
    )*};
}

dispatched! {
    /// Writes the highest logit of each block of `row` to `maxima`, NaN left out; -0 counts as 0.
    fn maxima(row: &[Block], maxima: &mut [f32]);

    /// The highest of all numbers, NaN left out; -0 counts as 0.
    fn highest(numbers: &[Block]) -> f32;

    /// Calls `found` with the index and the value of each number that is at least `threshold`, first to last.
    fn at_least<F: FnMut(usize, f32)>(numbers: &[Block], threshold: f32, found: F);

    /// Calls `found` with the token and the logit for each logit that is at least `threshold`, first to last.
    fn collect<F: FnMut(usize, f32)>(blocks: Blocks<'_>, maxima: &[Block], threshold: f32, found: F);

    /// Writes the sum of the weights of each block to `sums` and returns the sum of all.
    fn weigh(blocks: Blocks<'_>, maxima: &[Block], scale: Scale, sums: &mut [f64]) -> f64;

    /// The sum of the weights of all logits of `row`.
    fn total(row: &[Block], scale: Scale) -> f64;

    /// Writes the weight of each logit to `weights`.
    fn weigh_each(logits: &[f32], scale: Scale, weights: &mut [f32]);

    /// The moments of a whole row.
    fn moments(blocks: Blocks<'_>, maxima: &[Block], scale: Scale) -> Moments;

    /// The weight and the number of those items whose key is at least `line`.
    fn mass(keys: &[f32], weights: &[f32], line: f32) -> (f64, usize);

    /// Calls `found` with the place and the value of each key that is between the lines, first to last.
    fn between<F: FnMut(usize, f32)>(keys: &[f32], lines: Lines, found: F);

    /// Like [`weigh`], but `sums` gets only what is above the high line, and `between` the logits whose keys lie between the lines.
    fn split(row: RankedRow<'_>, lines: Lines, sums: &mut [f64], between: &mut Bracketed) -> Masses;
}

/// Makes the functions of [`dispatched`] for one instruction set out of the functions of the same module that work on one block
macro_rules! passes {
    ($(#[$features:meta])*) => {
        $(#[$features])*
        pub(super) fn maxima(row: &[Block], maxima: &mut [f32]) {
            for (out, block) in maxima.iter_mut().zip(row) {
                prefetch(block);
                *out = maximum(block);
            }
        }

        $(#[$features])*
        pub(super) fn highest(numbers: &[Block]) -> f32 {
            let mut top = f32::NEG_INFINITY;
            for block in numbers {
                let maximum = maximum(block);
                top = if maximum > top { maximum } else { top };
            }
            top
        }

        $(#[$features])*
        pub(super) fn at_least(numbers: &[Block], threshold: f32, mut found: impl FnMut(usize, f32)) {
            for (index, block) in numbers.iter().enumerate() {
                each_bit(mask(block, threshold), |at| found(index * BLOCK + at, block[at]));
            }
        }

        $(#[$features])*
        pub(super) fn collect(
            blocks: Blocks<'_>,
            maxima: &[Block],
            threshold: f32,
            mut found: impl FnMut(usize, f32),
        ) {
            for (group, maxima) in maxima.iter().enumerate() {
                each_bit(mask(maxima, threshold), |at| {
                    let index = group * BLOCK + at;
                    let block = blocks.get(index);
                    each_bit(mask(block, threshold), |at| found(index * BLOCK + at, block[at]));
                });
            }
        }

        $(#[$features])*
        pub(super) fn weigh(blocks: Blocks<'_>, maxima: &[Block], scale: Scale, sums: &mut [f64]) -> f64 {
            let mut total = 0.0;
            for ((index, sum), &maximum) in sums.iter_mut().enumerate().zip(maxima.as_flattened()) {
                let block = blocks.get(index);
                prefetch(block);
                *sum = if scale.is_nothing(maximum) { 0.0 } else { weight::<{ Caller::WEIGH }>(block, scale) };
                total += *sum;
            }
            total
        }

        $(#[$features])*
        pub(super) fn total(row: &[Block], scale: Scale) -> f64 {
            let mut total = 0.0;
            for block in row {
                prefetch(block);
                total += weight::<{ Caller::TOTAL }>(block, scale);
            }
            total
        }

        $(#[$features])*
        pub(super) fn weigh_each(logits: &[f32], scale: Scale, weights: &mut [f32]) {
            let (chunks, rest) = logits.as_chunks::<BLOCK>();
            let (outs, rest_out) = weights.as_chunks_mut::<BLOCK>();
            for (out, chunk) in outs.iter_mut().zip(chunks) {
                weigh_block(chunk, scale, out);
            }
            if !rest.is_empty() {
                let (mut block, mut out) = ([f32::NEG_INFINITY; BLOCK], [0.0; BLOCK]);
                block[..rest.len()].copy_from_slice(rest);
                weigh_block(&block, scale, &mut out);
                rest_out.copy_from_slice(&out[..rest.len()]);
            }
        }

        $(#[$features])*
        pub(super) fn mass(keys: &[f32], weights: &[f32], line: f32) -> (f64, usize) {
            let (chunks, rest) = keys.as_chunks::<BLOCK>();
            let (weight_chunks, rest_weights) = weights.as_chunks::<BLOCK>();
            let (mut mass, mut n) = (0.0, 0);
            for (block, weights) in chunks.iter().zip(weight_chunks) {
                let (more, n_more) = sum_at_least(block, weights, line);
                mass += more;
                n += n_more;
            }
            for (&key, &weight) in rest.iter().zip(rest_weights) {
                mass += if key >= line { f64::from(weight) } else { 0.0 };
                n += usize::from(key >= line);
            }
            (mass, n)
        }

        $(#[$features])*
        pub(super) fn between(keys: &[f32], lines: Lines, mut found: impl FnMut(usize, f32)) {
            let (blocks, rest) = keys.as_chunks::<BLOCK>();
            for (index, block) in blocks.iter().enumerate() {
                let bits = mask(block, lines.low) & !mask(block, lines.high);
                each_bit(bits, |at| found(index * BLOCK + at, block[at]));
            }
            for (at, &x) in rest.iter().enumerate() {
                if x >= lines.low && x < lines.high {
                    found(blocks.len() * BLOCK + at, x);
                }
            }
        }

        $(#[$features])*
        pub(super) fn moments(blocks: Blocks<'_>, maxima: &[Block], scale: Scale) -> Moments {
            let mut moments = Moments::default();
            for (index, &maximum) in (0..blocks.len()).zip(maxima.as_flattened()) {
                if maximum > f32::NEG_INFINITY {
                    let block = blocks.get(index);
                    prefetch(block);
                    let more = block_moments(block, scale);
                    moments.total += more.total;
                    moments.powers += more.powers;
                    moments.n += more.n;
                }
            }
            moments
        }

        $(#[$features])*
        pub(super) fn split(row: RankedRow<'_>, lines: Lines, sums: &mut [f64], between: &mut Bracketed) -> Masses {
            match (row.key, row.total) {
                (RankKey::Logit, None) => split_by::<false, true>(row, 0.0, lines, sums, between),
                (RankKey::Logit, Some(_)) => split_by::<false, false>(row, 0.0, lines, sums, between),
                (RankKey::Near(centre), None) => split_by::<true, true>(row, centre, lines, sums, between),
                (RankKey::Near(centre), Some(_)) => split_by::<true, false>(row, centre, lines, sums, between),
            }
        }

        #[inline]
        $(#[$features])*
        fn split_by<const NEAR: bool, const TOTAL: bool>(
            row: RankedRow<'_>,
            centre: f32,
            lines: Lines,
            sums: &mut [f64],
            between: &mut Bracketed,
        ) -> Masses {
            let RankedRow { blocks, maxima, scale, .. } = row;
            let key = if NEAR { RankKey::Near(centre) } else { RankKey::Logit };
            let mut masses = Masses::default();
            between.clear();
            for ((index, sum), &maximum) in sums.iter_mut().enumerate().zip(maxima.as_flattened()) {
                let block = blocks.get(index);
                prefetch(block);
                *sum = 0.0;
                let mut n_between = 0;
                if key.may_reach(lines.low, maximum) {
                    let part = part::<NEAR, TOTAL>(block, scale, centre, lines, between.room());
                    *sum = part.above;
                    masses.total += part.all;
                    masses.above.weight += part.above;
                    masses.above.n += part.n_above;
                    n_between = part.n_between;
                } else if TOTAL && !scale.is_nothing(maximum) {
                    masses.total += weight::<{ Caller::SPLIT }>(block, scale);
                }
                between.end_block(n_between);
            }
            masses
        }
    };
}

use passes;

/// Calls `found` with the place of each bit that is set, lowest first.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it is part of loops that are compiled for several instruction sets")]
fn each_bit(bits: u128, mut found: impl FnMut(usize)) {
    for (half, from) in [(bits as u64, 0), ((bits >> 64) as u64, 64)] {
        let mut half = half;
        while half != 0 {
            found(from + half.trailing_zeros() as usize);
            half &= half - 1;
        }
    }
}

/// Asks for what lies 4 KiB behind a block, so that it has come from the outer caches when its turn comes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "it is one instruction for each cache line")]
fn prefetch(block: &Block) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    const AHEAD: usize = 1024;
    for line in 0..8 {
        let address = block.as_ptr().wrapping_add(AHEAD + line * 16).cast();
        // SAFETY: a prefetch is a hint that reads nothing for the program and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
}
