//! Ternary weights: −1, 0 or 1 times a scale.

use super::f16_at;

/// The `digit`-th of the five base-3 digits that a byte holds as a fraction of 243, less one.
#[inline(always)]
fn trit(byte: u8, digit: usize) -> i8 {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let shifted = byte.wrapping_mul(POWERS[digit]);
    ((u16::from(shifted) * 3) >> 8) as i8 - 1
}

/// Five weights a byte: 32 bytes for 160 weights, 16 for 80, then 4 bytes with four weights each.
#[inline(always)]
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let scale = f16_at(block, 52);
    for digit in 0..5 {
        for k in 0..32 {
            out[32 * digit + k] = f32::from(trit(block[k], digit)) * scale;
        }
        for k in 0..16 {
            out[160 + 16 * digit + k] = f32::from(trit(block[32 + k], digit)) * scale;
        }
    }
    for digit in 0..4 {
        for k in 0..4 {
            out[240 + 4 * digit + k] = f32::from(trit(block[48 + k], digit)) * scale;
        }
    }
}

/// Two bits a weight, four weights a byte; the fourth code stands for 2.
#[inline(always)]
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = f16_at(block, 64);
    for (row, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (k, weight) in weights.iter_mut().enumerate() {
            let code = (block[32 * (row / 4) + k] >> (2 * (row % 4))) & 3;
            *weight = f32::from(code.cast_signed() - 1) * scale;
        }
    }
}

/// Two bits a weight, the first of four in the upper bits; one scale for the tensor. The fourth code, which no file
/// should hold, counts as zero as in the fork's `dequantize_row_i2_s`.
#[inline(always)]
pub(super) fn i2_s(block: &[u8; 32], scale: f32, out: &mut [f32; 128]) {
    const VALUES: [f32; 4] = [-1.0, 0.0, 1.0, 0.0];
    for (row, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = scale * VALUES[usize::from((block[k] >> (6 - 2 * row)) & 3)];
        }
    }
}
