//! One tensor of a model with the changes of adapters, computed a piece at a time when it is written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::ggml_type::GgmlType;
use crate::mmap::SharedBytes;
use crate::quants;
use crate::tensor::TensorInfo;
use crate::threads::spread;

use super::error::LoraError;
use super::low_rank::{LowRank, Numbers};

/// Numbers that are computed at a time, but at least one row.
const PIECE: usize = 1 << 20;

/// The first error while tensors were computed; the writer itself passes on only errors of the system.
pub(super) type Failure = Arc<Mutex<Option<LoraError>>>;

/// A tensor to be changed.
pub(super) struct ChangedTensor {
    pub(super) info: TensorInfo,
    /// The model's numbers.
    pub(super) bytes: SharedBytes,
    /// The type to be written.
    pub(super) kind: GgmlType,
    /// Importances for the columns of each matrix.
    pub(super) importances: Option<Vec<f32>>,
    /// What is added, with the adapter's scale.
    pub(super) changes: Vec<(LowRank, f64)>,
    /// The model, as errors call it.
    pub(super) model: String,
    pub(super) failure: Failure,
}

impl ChangedTensor {
    /// Bytes that will be written; `None` if the type cannot hold the rows.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        self.kind.n_bytes(self.info.shape.row_len())?;
        self.kind.n_bytes(self.info.shape.n_elements())
    }

    /// Computes and writes the tensor.
    pub(super) fn emit(&self, out: &mut dyn Write) -> io::Result<()> {
        let n_matrices = (self.info.shape.dim(2) * self.info.shape.dim(3)) as usize;
        for matrix in 0..n_matrices {
            self.emit_matrix(matrix, n_matrices, out)?;
        }
        Ok(())
    }

    fn emit_matrix(&self, matrix: usize, n_matrices: usize, out: &mut dyn Write) -> io::Result<()> {
        let (row_len, rows) = (self.info.shape.row_len() as usize, self.info.shape.dim(1) as usize);
        let source = self.info.ggml_type;
        let row_bytes = source.n_bytes(row_len as u64).unwrap_or_default() as usize;
        let kept_bytes = self.kind.n_bytes(row_len as u64).unwrap_or_default() as usize;
        let changes: Vec<Numbers> =
            self.changes.iter().map(|(change, scale)| change.numbers(matrix, *scale)).collect();
        let importances = self.importances.as_deref().and_then(|all| {
            all.get(matrix * (all.len() / n_matrices)..(matrix + 1) * (all.len() / n_matrices))
        });
        let rows_at_once = (PIECE / row_len.max(1)).clamp(1, rows.max(1));
        let mut numbers = vec![0.0; rows_at_once * row_len];
        let mut packed = vec![0; rows_at_once * kept_bytes];
        for first in (0..rows).step_by(rows_at_once) {
            let n_rows = rows_at_once.min(rows - first);
            let numbers = &mut numbers[..n_rows * row_len];
            let packed = &mut packed[..n_rows * kept_bytes];
            let start = (matrix * rows + first) * row_bytes;
            let stored = self.bytes.get(start..start + n_rows * row_bytes).unwrap_or_default();
            quants::dequantize_parallel(source, stored, numbers)
                .map_err(|error| self.failed(&error.to_string()))?;
            add(&changes, first, row_len, numbers);
            if let Some(index) = first_too_large(self.kind, numbers) {
                let (index, kind) = ((matrix * rows + first) * row_len + index, self.kind);
                return Err(self.failed(&format!(
                    "weight `{index}` becomes a number that `{kind}` cannot hold; the model or the adapter is damaged, or its scale too large"
                )));
            }
            quants::quantize_parallel(self.kind, numbers, row_len, importances, packed)
                .map_err(|error| self.failed(&error.to_string()))?;
            out.write_all(packed)?;
        }
        Ok(())
    }

    /// Keeps the error for the caller and stops the writer.
    fn failed(&self, problem: &str) -> io::Error {
        let error = LoraError::model(&self.model, format!("tensor `{}`: {problem}", self.info.name));
        let text = error.to_string();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// Adds all changes to rows from number `first` on.
fn add(changes: &[Numbers], first: usize, row_len: usize, numbers: &mut [f32]) {
    let add_to = |sums: &mut Vec<f32>, (row, weights): (usize, &mut [f32])| {
        // Summed separately from the weights, which may be much larger.
        sums.fill(0.0);
        for change in changes {
            change.add_row(first + row, sums);
        }
        for (weight, sum) in weights.iter_mut().zip(sums) {
            *weight += *sum;
        }
    };
    spread(|| {
        numbers.par_chunks_mut(row_len.max(1)).enumerate().for_each_init(|| vec![0.0_f32; row_len], add_to);
    });
}

/// The first number that would not be finite as `kind`.
fn first_too_large(kind: GgmlType, numbers: &[f32]) -> Option<usize> {
    // From here on numbers are rounded to infinity: half a step above the largest one.
    let limit = match kind {
        GgmlType::F16 => 65_520.0,
        GgmlType::BF16 => f32::from_bits(0x7f7f_8000),
        _ => f32::INFINITY,
    };
    numbers.iter().position(|number| number.is_nan() || number.abs() >= limit)
}
