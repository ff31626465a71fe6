//! The loops over whole rows, compiled for the instruction sets of a machine and chosen when the program runs.
//!
//! Every set gives the same bits. A block of 128 logits is worked on as 16 lanes of 8 logits, lane `i` holding the logits
//! `i, i + 16, i + 32, …`; a lane adds up from its first logit to its last in `f32`; then the lanes are added as a tree in `f64`, the upper
//! half of them to the lower half, four times. The blocks' sums are added from the first to the last. No set fuses a multiplication
//! with an addition. [`plain`] is the definition; on 64-bit ARM, where NEON is always there, the compiler turns its lanes into NEON code.
//!
//! It is the only place of the crate with unsafe code: calls of functions that need an instruction set, loads from arrays into vectors, and
//! prefetches.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;
#[cfg(test)]
mod tests;

use crate::blocks::{Block, Blocks};
use crate::weight::Scale;

/// How many sums run side by side.
const LANES: usize = 16;

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
        let mut levels = vec![Self(Set::Plain)];
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx2() {
                levels.push(Self(Set::Avx2));
            }
            if has_avx512() {
                levels.push(Self(Set::Avx512));
            }
        }
        levels
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Where [`split`] draws its two lines, as logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Logits of at least this are above the high line.
    pub(crate) high: f32,
    /// Logits of less than this are below the low line; at most `high`.
    pub(crate) low: f32,
}

/// What [`split`] adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Masses {
    /// The weight of all tokens.
    pub(crate) total: f64,
    /// The weight of the tokens above the high line.
    pub(crate) above: f64,
    /// How many tokens are above the high line.
    pub(crate) n_above: usize,
}

/// Makes a function that calls its namesake of the level's module.
macro_rules! dispatched {
    ($($(#[$attribute:meta])* fn $name:ident $(<$closure:ident: $bound:path>)? ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        $(#[$attribute])*
        pub(crate) fn $name $(<$closure: $bound>)? (level: Level, $($argument: $type),*) $(-> $result)? {
            match level.0 {
                Set::Plain => plain::$name($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Level` of this set is made only where the processor was found to have AVX2, BMI1 and POPCNT.
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

    /// Writes the weight of each logit to `weights`.
    fn weigh_each(logits: &[f32], scale: Scale, weights: &mut [f32]);

    /// The weight and the number of those logits that are at least `line`.
    fn mass(logits: &[f32], weights: &[f32], line: f32) -> (f64, usize);

    /// Like [`weigh`], but `sums` gets only what is above the high line, and `found` is called with the token and the logit for each logit
    /// that lies between the lines, first to last.
    fn split<F: FnMut(usize, f32)>(blocks: Blocks<'_>, maxima: &[Block], scale: Scale, lines: Lines, sums: &mut [f64], found: F) -> Masses;
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
                let empty = scale.weight(maximum) == 0.0;
                *sum = if empty { 0.0 } else { weight(blocks.get(index), scale) };
                total += *sum;
            }
            total
        }

        $(#[$features])*
        pub(super) fn weigh_each(logits: &[f32], scale: Scale, weights: &mut [f32]) {
            let (chunks, rest) = logits.as_chunks::<LANES>();
            let (outs, rest_out) = weights.as_chunks_mut::<LANES>();
            for (out, chunk) in outs.iter_mut().zip(chunks) {
                *out = weigh_lanes(chunk, scale);
            }
            for (out, &logit) in rest_out.iter_mut().zip(rest) {
                *out = scale.weight(logit);
            }
        }

        $(#[$features])*
        pub(super) fn mass(logits: &[f32], weights: &[f32], line: f32) -> (f64, usize) {
            let (chunks, rest) = logits.as_chunks::<BLOCK>();
            let (weight_chunks, rest_weights) = weights.as_chunks::<BLOCK>();
            let (mut mass, mut n) = (0.0, 0);
            for (block, weights) in chunks.iter().zip(weight_chunks) {
                mass += sum_at_least(block, weights, line);
                n += mask(block, line).count_ones() as usize;
            }
            for (&logit, &weight) in rest.iter().zip(rest_weights) {
                mass += if logit >= line { f64::from(weight) } else { 0.0 };
                n += usize::from(logit >= line);
            }
            (mass, n)
        }

        $(#[$features])*
        pub(super) fn split(
            blocks: Blocks<'_>,
            maxima: &[Block],
            scale: Scale,
            lines: Lines,
            sums: &mut [f64],
            mut found: impl FnMut(usize, f32),
        ) -> Masses {
            let mut masses = Masses::default();
            for ((index, sum), &maximum) in sums.iter_mut().enumerate().zip(maxima.as_flattened()) {
                *sum = 0.0;
                if maximum < lines.low {
                    let empty = scale.weight(maximum) == 0.0;
                    masses.total += if empty { 0.0 } else { weight(blocks.get(index), scale) };
                    continue;
                }
                let block = blocks.get(index);
                let above = mask(block, lines.high);
                let between = mask(block, lines.low) & !above;
                let (all, high) = weights(block, scale, lines.high);
                *sum = high;
                masses.total += all;
                masses.above += high;
                masses.n_above += above.count_ones() as usize;
                each_bit(between, |at| found(index * BLOCK + at, block[at]));
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

/// Asks for what lies 2 KiB behind a block, so that it has come from the outer caches when its turn comes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "it is one instruction for each cache line")]
fn prefetch(block: &Block) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    const AHEAD: usize = 512;
    for line in 0..8 {
        let address = block.as_ptr().wrapping_add(AHEAD + line * LANES).cast();
        // SAFETY: a prefetch is a hint that reads nothing for the program and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
}
