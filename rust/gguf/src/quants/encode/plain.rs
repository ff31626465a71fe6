//! Plain floating-point numbers.

use super::super::half::{f32_to_bf16, f32_to_f16};

#[inline(always)]
pub(super) fn f32(value: &[f32; 1], out: &mut [u8; 4]) {
    *out = value[0].to_le_bytes();
}

#[inline(always)]
pub(super) fn f16(value: &[f32; 1], out: &mut [u8; 2]) {
    *out = f32_to_f16(value[0]).to_le_bytes();
}

#[inline(always)]
pub(super) fn bf16(value: &[f32; 1], out: &mut [u8; 2]) {
    *out = f32_to_bf16(value[0]).to_le_bytes();
}
