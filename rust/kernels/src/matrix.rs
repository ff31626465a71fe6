//! The weights of a linear map.

use tabagent_gguf::{GgmlType, quants};

use crate::KernelError;

/// The weights of a linear map from `n_cols` values to `n_rows`, packed for [`multiply`](crate::multiply).
///
/// The memory is the matrix's own: the bytes that it was packed from are no longer needed.
#[derive(Debug, Clone)]
pub struct Matrix {
    kind: GgmlType,
    n_cols: usize,
    n_rows: usize,
    weights: Vec<f32>,
}

impl Matrix {
    /// Packs a tensor's `bytes`, which are `n_rows` rows of `n_cols` weights of type `kind` as GGUF has them (ggml's `ne[0]` is
    /// `n_cols`, `ne[1]` is `n_rows`).
    ///
    /// # Errors
    ///
    /// [`KernelError::NotAWeightType`], [`KernelError::PartialBlock`], [`KernelError::TooLarge`], and [`KernelError::Quant`] if `bytes` has
    /// another length than the shape asks for.
    pub fn pack(kind: GgmlType, n_cols: usize, n_rows: usize, bytes: &[u8]) -> Result<Self, KernelError> {
        use GgmlType::{F64, I8, I16, I32, I64};
        if matches!(kind, I8 | I16 | I32 | I64 | F64) {
            return Err(KernelError::NotAWeightType { kind });
        }
        if n_cols == 0 || !(n_cols as u64).is_multiple_of(kind.block_size()) {
            return Err(KernelError::PartialBlock { kind, n_cols, block_size: kind.block_size() });
        }
        let n_weights = n_cols.checked_mul(n_rows).filter(|n| n.checked_mul(8).is_some());
        let n_weights = n_weights.ok_or(KernelError::TooLarge { n_cols, n_rows })?;
        let mut weights = vec![0.0; n_weights];
        quants::dequantize(kind, bytes, &mut weights)?;
        Ok(Self { kind, n_cols, n_rows, weights })
    }

    /// The type that the weights were packed from.
    pub fn kind(&self) -> GgmlType {
        self.kind
    }

    /// How many values the map takes.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// How many values the map gives.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Bytes of memory that the packed weights take.
    pub fn n_bytes(&self) -> usize {
        self.weights.len() * size_of::<f32>()
    }

    /// Decodes row `row` into `out`, which has [`Self::n_cols`] values: the look-up of an embedding.
    ///
    /// # Errors
    ///
    /// [`KernelError::WrongValue`] if there is no such row, [`KernelError::WrongLength`] for another length of `out`.
    pub fn row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        if row >= self.n_rows {
            return Err(KernelError::WrongValue { what: "the row of a matrix", found: row.to_string() });
        }
        KernelError::check_length("the row's buffer", self.n_cols, out.len())?;
        out.copy_from_slice(self.plain_row(row));
        Ok(())
    }

    pub(crate) fn plain_row(&self, row: usize) -> &[f32] {
        &self.weights[row * self.n_cols..][..self.n_cols]
    }
}
