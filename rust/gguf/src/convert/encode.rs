//! Converts numbers of checkpoints to the number types that a converted file can have.

use half::{bf16, f16};

use crate::ggml_type::GgmlType;
use crate::quants::{QuantError, quantize_parallel};

use super::checkpoint::Kind;

/// Widens little-endian numbers of `kind` to F32 and appends them to `out`.
pub(super) fn widen(kind: Kind, bytes: &[u8], out: &mut Vec<f32>) {
    let pairs = bytes.as_chunks().0.iter();
    match kind {
        Kind::F32 => out.extend(bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number))),
        Kind::F16 => out.extend(pairs.map(|number| f16::from_le_bytes(*number).to_f32())),
        Kind::Bf16 => out.extend(pairs.map(|number| bf16::from_le_bytes(*number).to_f32())),
        Kind::U8 => out.extend(bytes.iter().map(|&byte| f32::from(byte))),
    }
}

/// Appends `values`, rows of `row_len`, to `out` as `ggml_type`.
pub(super) fn narrow(
    ggml_type: GgmlType,
    values: &[f32],
    row_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), QuantError> {
    let n_bytes = ggml_type.n_bytes(values.len() as u64).unwrap_or_default() as usize;
    let start = out.len();
    out.resize(start + n_bytes, 0);
    quantize_parallel(ggml_type, values, row_len, None, out.get_mut(start..).unwrap_or_default())
}
