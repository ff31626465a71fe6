//! Activations in whole numbers.

use crate::packed::BLOCK;

/// Tokens that lie side by side, so that a kernel finds them together.
pub(crate) const GROUP: usize = 8;

/// 32 activations of a token: `value = scale * whole`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Whole numbers from -127 to 127, four in each as its bytes in memory.
    pub(crate) wholes: [i32; BLOCK / 4],
    /// The scale; NaN if any of the values is NaN or infinite.
    pub(crate) scale: f32,
    /// The scale times the sum of all wholes.
    pub(crate) sum: f32,
    /// The same for 16 each.
    pub(crate) sums: [f32; 2],
    /// The sum of all wholes, its sign turned.
    pub(crate) less: i32,
    /// The same for 16 each.
    pub(crate) less16: [i32; 2],
}

impl Entry {
    pub(crate) const ZERO: Self =
        Self { wholes: [0; BLOCK / 4], scale: 0.0, sum: 0.0, sums: [0.0; 2], less: 0, less16: [0; 2] };

    /// Quantizes 32 values; the largest becomes 127.
    #[inline(always)]
    pub(crate) fn new(values: &[f32; BLOCK]) -> Self {
        let mut largest = 0u32;
        for value in values {
            largest = largest.max(value.to_bits() & 0x7fff_ffff);
        }
        let largest = f32::from_bits(largest);
        // Values below the smallest normal number, more or less, count as zero: their reciprocal overflows.
        let factor = if largest > 1e-35 && largest.is_finite() { 127.0 / largest } else { 0.0 };
        let scale = if largest.is_finite() { largest / 127.0 } else { f32::NAN };
        let mut bytes = [0i8; BLOCK];
        for (byte, value) in bytes.iter_mut().zip(values) {
            // Adding and taking off 1.5 * 2^23 rounds to the nearest whole number, ties to even.
            const ROUNDER: f32 = 12_582_912.0;
            let rounded = value * factor + ROUNDER;
            *byte = rounded.to_bits() as i8;
        }
        if factor == 0.0 {
            bytes = [0; BLOCK];
        }
        let sum = |bytes: &[i8]| bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>();
        let (first, second) = (sum(&bytes[..16]), sum(&bytes[16..]));
        let mut wholes = [0; BLOCK / 4];
        for (whole, four) in wholes.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *whole = i32::from_ne_bytes(four.map(i8::cast_unsigned));
        }
        Self {
            wholes,
            scale,
            sum: scale * (first + second) as f32,
            sums: [scale * first as f32, scale * second as f32],
            less: -first - second,
            less16: [-first, -second],
        }
    }
}

/// Rows of quantized activations: groups of up to [`GROUP`] tokens; in a group, block after block, the tokens' entries side by side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quantized {
    pub(crate) n_blocks: usize,
    pub(crate) n_tokens: usize,
    pub(crate) entries: Vec<Entry>,
}

impl Quantized {
    /// The entries of a group and how many tokens it has.
    pub(crate) fn group(&self, group: usize) -> (&[Entry], usize) {
        let width = (self.n_tokens - group * GROUP).min(GROUP);
        (&self.entries[group * GROUP * self.n_blocks..][..width * self.n_blocks], width)
    }
}

/// Quantizes the rows of one group into its entries. A last block that is not full is filled up with zeros.
#[inline(always)]
pub(crate) fn quantize_group(values: &[f32], n_cols: usize, entries: &mut [Entry]) {
    let width = values.len() / n_cols;
    for (token, row) in values.chunks_exact(n_cols).enumerate() {
        let (blocks, rest) = row.as_chunks::<BLOCK>();
        for (block, values) in blocks.iter().enumerate() {
            entries[block * width + token] = Entry::new(values);
        }
        if !rest.is_empty() {
            let mut values = [0.0; BLOCK];
            values[..rest.len()].copy_from_slice(rest);
            entries[blocks.len() * width + token] = Entry::new(&values);
        }
    }
}
