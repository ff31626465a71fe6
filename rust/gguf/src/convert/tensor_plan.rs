//! One tensor on its way from a checkpoint to GGUF: the order of its rows, the edit of its numbers, and its type.

use std::io::{self, Write};

use half::f16;

use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::reader::ByteOrder;
use crate::tensor::{MAX_DIMS, Shape};
use crate::text::shown;
use crate::writer::TensorData;

use super::checkpoint::{Kind, SourceTensor};
use super::encode::{narrow, widen};
use super::error::ConvertError;

/// Numbers that are converted at a time, but at least one row.
const PIECE: usize = 1 << 18;

/// How a tensor's numbers are edited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Edit {
    Nothing,
    /// Adds the 1 that Gemma subtracts from the weights of its norms.
    AddOne,
    /// The nearest of −1, 0 and 1 times the mean magnitude, as BitNet does when it runs.
    Ternarize,
    /// Unpacks four ternary weights from each byte, a fourth of the rows apart, and divides them by the scale.
    Unpack {
        scale: f32,
    },
}

/// A tensor to be converted.
#[derive(Debug, Clone)]
pub(super) struct TensorPlan {
    pub(super) name: String,
    pub(super) source_name: String,
    pub(super) source: SourceTensor,
    pub(super) edit: Edit,
    /// The number of heads whose rows are sorted from Hugging Face's halves to llama.cpp's pairs.
    pub(super) permuted_heads: Option<usize>,
    /// How many rows are kept, counted from the first.
    pub(super) max_rows: Option<usize>,
}

impl TensorPlan {
    /// Sizes of the result, row-major.
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.source.shape.clone();
        if let Some(rows) = shape.first_mut() {
            if matches!(self.edit, Edit::Unpack { .. }) {
                *rows = rows.saturating_mul(4);
            }
            *rows = self.max_rows.map_or(*rows, |max| (*rows).min(max));
        }
        shape
    }

    /// Sizes of the result in GGUF's order.
    pub(super) fn dims(&self) -> Vec<u64> {
        self.shape().iter().rev().map(|&size| size as u64).collect()
    }

    /// How many numbers the result has.
    pub(super) fn n_elements(&self) -> u64 {
        self.shape().iter().map(|&size| size as u64).product()
    }

    fn wrong(&self, problem: &str) -> ConvertError {
        let name = shown(self.source_name.as_bytes());
        ConvertError::source(&self.source.path, format!("tensor `{name}` {problem}"))
    }

    /// Proves that the numbers can be read as planned.
    pub(super) fn check(&self) -> Result<(), ConvertError> {
        let shape = &self.source.shape;
        let dims: Vec<u64> = self.dims();
        if shape.is_empty() || shape.len() > MAX_DIMS || Shape::new(&dims).is_none() || self.n_elements() == 0
        {
            return Err(self.wrong(&format!("has shape `{shape:?}`, which GGUF cannot hold")));
        }
        let is_packed = matches!(self.edit, Edit::Unpack { .. });
        if is_packed != (self.source.kind == Kind::U8) {
            return Err(self.wrong("has packed weights and no `weight_scale`, or the reverse"));
        }
        let n_bytes = shape.iter().product::<usize>() * self.source.kind.size();
        if self.source.bytes.len() != n_bytes {
            return Err(self.wrong(&format!(
                "has `{}` bytes, but its shape takes `{n_bytes}`",
                self.source.bytes.len()
            )));
        }
        let rows = self.shape().first().copied().unwrap_or_default();
        if let Some(heads) = self.permuted_heads
            && (heads == 0 || !rows.is_multiple_of(2 * heads))
        {
            return Err(
                self.wrong(&format!("has `{rows}` rows, which `{heads}` heads of pairs do not divide"))
            );
        }
        Ok(())
    }

    /// The type in GGUF, as the pinned converter chooses it (`prepare_tensors` in `conversion/base.py`).
    pub(super) fn ggml_type(&self, file_type: FileType) -> GgmlType {
        let name = self.name.as_str();
        let is_vector = self.source.shape.len() <= 1 || name.ends_with("_norm.weight");
        let is_table = matches!(name, "position_embd.weight" | "token_types.weight");
        if is_vector || is_table || !name.ends_with(".weight") {
            return GgmlType::F32;
        }
        if matches!(file_type, FileType::TQ1_0 | FileType::TQ2_0)
            && matches!(name, "token_embd.weight" | "output.weight")
        {
            return GgmlType::F16;
        }
        let row = self.source.shape.last().copied().unwrap_or_default() as u64;
        let wanted = file_type.default_type();
        if row.is_multiple_of(wanted.block_size()) { wanted } else { GgmlType::F16 }
    }

    /// The data as `ggml_type`, computed when it is written; `None` only if [`TensorPlan::check`] was not called before.
    pub(super) fn data(self, ggml_type: GgmlType) -> Option<TensorData> {
        let n_bytes = ggml_type.n_bytes(self.n_elements())?;
        let is_same = matches!(
            (self.source.kind, ggml_type),
            (Kind::F32, GgmlType::F32) | (Kind::F16, GgmlType::F16) | (Kind::Bf16, GgmlType::BF16)
        );
        if is_same && self.edit == Edit::Nothing && self.permuted_heads.is_none() && self.max_rows.is_none() {
            return Some(TensorData::Shared(self.source.bytes, ByteOrder::Little));
        }
        Some(TensorData::made(n_bytes, move |out| self.emit(ggml_type, out)))
    }

    fn emit(&self, ggml_type: GgmlType, out: &mut dyn Write) -> io::Result<()> {
        let shape = self.shape();
        let rows = shape.first().copied().unwrap_or_default();
        let row_len = shape.iter().skip(1).product::<usize>().max(1);
        let scale = if self.edit == Edit::Ternarize { self.mean_magnitude() } else { 1.0 };
        // Vectors are encoded whole; a row of anything else is a multiple of a block.
        let rows_at_once = (PIECE / row_len).max(1);
        let (mut values, mut bytes) = (Vec::new(), Vec::new());
        let mut row = 0;
        while row < rows {
            let end = (row + rows_at_once).min(rows);
            values.clear();
            for row in row..end {
                self.append_row(row, rows, row_len, scale, &mut values);
            }
            bytes.clear();
            narrow(ggml_type, &values, row_len, &mut bytes).map_err(|error| {
                let (name, path) = (shown(self.source_name.as_bytes()), self.source.path.display());
                io::Error::new(io::ErrorKind::InvalidData, format!("tensor `{name}` of `{path}`: {error}"))
            })?;
            out.write_all(&bytes)?;
            row = end;
        }
        Ok(())
    }

    /// Appends row `row` of the result's `rows`.
    fn append_row(&self, row: usize, rows: usize, row_len: usize, scale: f32, values: &mut Vec<f32>) {
        let row = self.permuted_heads.map_or(row, |heads| source_row(row, rows / heads));
        let packed_rows = self.source.shape.first().copied().unwrap_or_default().max(1);
        let (stored_row, shift) = if matches!(self.edit, Edit::Unpack { .. }) {
            (row % packed_rows, row / packed_rows * 2)
        } else {
            (row, 0)
        };
        let row_bytes = row_len * self.source.kind.size();
        let bytes =
            self.source.bytes.get(stored_row * row_bytes..(stored_row + 1) * row_bytes).unwrap_or_default();
        let start = values.len();
        widen(self.source.kind, bytes, values);
        for value in values.iter_mut().skip(start) {
            *value = match self.edit {
                Edit::Nothing => *value,
                Edit::AddOne => self.rounded(*value + 1.0),
                Edit::Ternarize => {
                    self.rounded((*value * (1.0 / scale)).round_ties_even().clamp(-1.0, 1.0) / (1.0 / scale))
                }
                Edit::Unpack { scale } => (f32::from((*value as u8 >> shift) & 3) - 1.0) / scale,
            };
        }
    }

    /// `value` as the source's type holds it: half-precision sources are computed with in half precision.
    fn rounded(&self, value: f32) -> f32 {
        if self.source.kind == Kind::F16 { f16::from_f32(value).to_f32() } else { value }
    }

    /// Mean magnitude of all numbers, at least 1e-5.
    fn mean_magnitude(&self) -> f32 {
        let (mut sum, mut values) = (0.0_f64, Vec::new());
        for piece in self.source.bytes.chunks(PIECE) {
            values.clear();
            widen(self.source.kind, piece, &mut values);
            sum += values.iter().map(|value| f64::from(value.abs())).sum::<f64>();
        }
        ((sum / self.n_elements() as f64) as f32).max(1e-5)
    }
}

/// The checkpoint's row for GGUF's row `row`, where a head has `head` rows: the checkpoint has the first halves of all pairs of a head, then the
/// second halves; GGUF has pair after pair.
pub(crate) fn source_row(row: usize, head: usize) -> usize {
    let (start, within) = (row / head * head, row % head);
    start + within % 2 * (head / 2) + within / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_head_become_pairs() {
        let rows: Vec<usize> = (0..8).map(|row| source_row(row, 4)).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
