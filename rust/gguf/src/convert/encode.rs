//! Numbers of checkpoints to the number types that a converted file can have.

use half::{bf16, f16};

use crate::ggml_type::GgmlType;

use super::checkpoint::Kind;

/// Widens little-endian numbers of `kind` to F32 and appends them to `out`.
pub(super) fn widen(kind: Kind, bytes: &[u8], out: &mut Vec<f32>) {
    match kind {
        Kind::F32 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        Kind::F16 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
        Kind::Bf16 => {
            out.extend(bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()))
        }
        Kind::U8 => out.extend(bytes.iter().map(|&byte| f32::from(byte))),
    }
}

/// Appends `values`, whole rows, to `out` as blocks of `ggml_type`. The caller proves that rows are multiples of a block and, for
/// block types, that all numbers are finite.
pub(super) fn narrow(ggml_type: GgmlType, values: &[f32], out: &mut Vec<u8>) {
    match ggml_type {
        GgmlType::F16 => out.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
        GgmlType::BF16 => out.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
        GgmlType::Q8_0 => values.chunks_exact(32).for_each(|block| q8_0(block, out)),
        GgmlType::TQ1_0 => values.chunks_exact(256).for_each(|block| tq1_0(block, out)),
        GgmlType::TQ2_0 => values.chunks_exact(256).for_each(|block| tq2_0(block, out)),
        _ => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// As `quantize_row_q8_0_ref` in `ggml/src/ggml-quants.c`.
fn q8_0(block: &[f32], out: &mut Vec<u8>) {
    let scale = largest(block) / 127.0;
    let factor = inverse(scale);
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(block.iter().map(|value| (value * factor).round() as i8 as u8));
}

/// The nearest of −1, 0 and 1, plus 1, of all weights of a block, and its scale.
fn ternary(block: &[f32]) -> ([u8; 256], f32) {
    let scale = largest(block);
    let factor = inverse(scale);
    let mut digits = [0; 256];
    for (digit, value) in digits.iter_mut().zip(block) {
        *digit = ((value * factor).round() as i8 + 1) as u8;
    }
    (digits, scale)
}

/// As `quantize_row_tq1_0_ref`: five weights a byte as base-3 digits, the byte being the fraction of 243 in 256ths, rounded up.
fn tq1_0(block: &[f32], out: &mut Vec<u8>) {
    let (digits, scale) = ternary(block);
    // (first weight, bytes, digits a byte): digit n of byte m is weight first + n · bytes + m.
    for (first, n_bytes, n_digits) in [(0, 32, 5), (160, 16, 5), (240, 4, 4)] {
        for byte in 0..n_bytes {
            let value = (0..5).fold(0_u16, |value, digit| {
                value * 3
                    + if digit < n_digits { u16::from(digits[first + digit * n_bytes + byte]) } else { 0 }
            });
            out.push((value * 256).div_ceil(243) as u8);
        }
    }
    out.extend(f16::from_f32(scale).to_le_bytes());
}

/// As `quantize_row_tq2_0_ref`.
fn tq2_0(block: &[f32], out: &mut Vec<u8>) {
    let (digits, scale) = ternary(block);
    pack_tq2_0(&digits, out);
    out.extend(f16::from_f32(scale).to_le_bytes());
}

/// The 64 bytes of a TQ2_0 block before its scale: byte p of each half holds weights p, 32 + p, 64 + p and 96 + p from its lowest bits up.
pub(super) fn pack_tq2_0(digits: &[u8; 256], out: &mut Vec<u8>) {
    for half in digits.as_chunks::<128>().0 {
        out.extend((0..32).map(|p| half[p] | half[32 + p] << 2 | half[64 + p] << 4 | half[96 + p] << 6));
    }
}
