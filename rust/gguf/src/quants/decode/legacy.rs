//! Blocks of 32 to 128 weights with one scale, some with an offset.

use super::{bytes_at, f16_at, u32_at};

/// Whole numbers as F32. Bytes widen in one step; a detour over 32-bit numbers would cost a shuffle.
#[inline(always)]
fn float(number: i8) -> f32 {
    f32::from(number)
}

/// One bit a weight: plus or minus the scale.
#[inline(always)]
pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let scale = f16_at(block, 0);
    for (k, weight) in out.iter_mut().enumerate() {
        *weight = if (block[2 + k / 8] >> (k % 8)) & 1 == 1 { scale } else { -scale };
    }
}

/// Two bits a weight: −1 to 2 times the scale.
#[inline(always)]
pub(super) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let scale = f16_at(block, 0);
    for (k, weight) in out.iter_mut().enumerate() {
        *weight = float(((block[2 + k / 4] >> (2 * (k % 4))) & 3).cast_signed() - 1) * scale;
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    let packed: [u8; 16] = bytes_at(block, 2);
    for k in 0..16 {
        out[k] = float((packed[k] & 15).cast_signed() - 8) * scale;
        out[16 + k] = float((packed[k] >> 4).cast_signed() - 8) * scale;
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, offset) = (f16_at(block, 0), f16_at(block, 2));
    let packed: [u8; 16] = bytes_at(block, 4);
    for k in 0..16 {
        out[k] = f32::from(packed[k] & 15) * scale + offset;
        out[16 + k] = f32::from(packed[k] >> 4) * scale + offset;
    }
}

/// The 32 five-bit numbers of 16 bytes of nibbles and a word of fifth bits.
#[inline(always)]
fn five_bits(packed: [u8; 16], fifth: u32) -> [u8; 32] {
    std::array::from_fn(|k| {
        let low = if k < 16 { packed[k] & 15 } else { packed[k - 16] >> 4 };
        low | (((fifth >> k) & 1) << 4) as u8
    })
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    let numbers = five_bits(bytes_at(block, 6), u32_at(block, 2));
    for k in 0..32 {
        out[k] = float(numbers[k].cast_signed() - 16) * scale;
    }
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, offset) = (f16_at(block, 0), f16_at(block, 2));
    let numbers = five_bits(bytes_at(block, 8), u32_at(block, 4));
    for k in 0..32 {
        out[k] = f32::from(numbers[k]) * scale + offset;
    }
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    for k in 0..32 {
        out[k] = float(block[2 + k].cast_signed()) * scale;
    }
}

/// As `Q8_0`; the second scale, of the weights' sum, serves dot products only.
#[inline(always)]
pub(super) fn q8_1(block: &[u8; 36], out: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    for k in 0..32 {
        out[k] = float(block[4 + k].cast_signed()) * scale;
    }
}
