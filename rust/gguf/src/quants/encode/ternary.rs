//! Ternary weights: −1, 0 or 1 times the largest size of a block.

use super::put_f16;

/// The scale of a block, and the codes 0, 1 and 2 of its weights.
#[inline(always)]
fn codes(values: &[f32; 256]) -> (f32, [u8; 256]) {
    let scale = values.iter().fold(0.0, |max, value| if max > value.abs() { max } else { value.abs() });
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let code = |value: f32| {
        let level = (value * inverse).round();
        // The inverse of a scale below 2^-128 is infinite; such weights count as zero.
        if level.abs() <= 1.0 { (level + 1.0) as u8 } else { 1 }
    };
    (scale, values.map(code))
}

/// Base-3 digits, the first the most significant of five, as a fraction of 243 in 256 steps, rounded up.
#[inline(always)]
fn digits(codes: impl Iterator<Item = u8>, missing: u8) -> u8 {
    let number =
        codes.fold(0_u16, |number, code| 3 * number + u16::from(code)) * u16::from(3_u8.pow(missing.into()));
    (number * 256).div_ceil(243) as u8
}

#[inline(always)]
pub(super) fn tq1_0(values: &[f32; 256], block: &mut [u8; 54]) {
    let (scale, codes) = codes(values);
    for k in 0..32 {
        block[k] = digits((0..5).map(|digit| codes[32 * digit + k]), 0);
    }
    for k in 0..16 {
        block[32 + k] = digits((0..5).map(|digit| codes[160 + 16 * digit + k]), 0);
    }
    for k in 0..4 {
        block[48 + k] = digits((0..4).map(|digit| codes[240 + 4 * digit + k]), 1);
    }
    put_f16(block, 52, scale);
}

#[inline(always)]
pub(super) fn tq2_0(values: &[f32; 256], block: &mut [u8; 66]) {
    let (scale, codes) = codes(values);
    for (codes, bytes) in codes.as_chunks::<128>().0.iter().zip(block.as_chunks_mut::<32>().0) {
        for k in 0..32 {
            bytes[k] = codes[k] | codes[32 + k] << 2 | codes[64 + k] << 4 | codes[96 + k] << 6;
        }
    }
    put_f16(block, 64, scale);
}
