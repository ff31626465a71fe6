//! Plain numbers, one a block.

use super::super::half::{bf16_to_f32, f16_to_f32};

#[inline(always)]
pub(super) fn f32(bytes: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = f32::from_le_bytes(*bytes);
}

#[inline(always)]
pub(super) fn f16(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f16_to_f32(u16::from_le_bytes(*bytes));
}

#[inline(always)]
pub(super) fn bf16(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = bf16_to_f32(u16::from_le_bytes(*bytes));
}

#[inline(always)]
pub(super) fn f64(bytes: &[u8; 8], out: &mut [f32; 1]) {
    out[0] = f64::from_le_bytes(*bytes) as f32;
}

#[inline(always)]
pub(super) fn i8(bytes: &[u8; 1], out: &mut [f32; 1]) {
    out[0] = f32::from(bytes[0].cast_signed());
}

#[inline(always)]
pub(super) fn i16(bytes: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f32::from(i16::from_le_bytes(*bytes));
}

#[inline(always)]
pub(super) fn i32(bytes: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = i32::from_le_bytes(*bytes) as f32;
}

#[inline(always)]
pub(super) fn i64(bytes: &[u8; 8], out: &mut [f32; 1]) {
    out[0] = i64::from_le_bytes(*bytes) as f32;
}
