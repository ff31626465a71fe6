//! The weights of a linear map.

use tabagent_gguf::{GgmlType, QuantError};

use crate::KernelError;
use crate::packed::{BLOCK, Floats, FormName, Quants, TILE};

/// The weights of a linear map from `n_cols` values to `n_rows`, packed for [`multiply`](crate::multiply).
///
/// The memory is the matrix's own: the bytes that it was packed from are no longer needed.
#[derive(Debug, Clone)]
pub struct Matrix {
    kind: GgmlType,
    n_cols: usize,
    n_rows: usize,
    weights: Weights,
}

/// Weights in tiles.
#[derive(Debug, Clone)]
pub(crate) enum Weights {
    Quants(Quants),
    Floats(Floats),
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
        let n_weights =
            n_cols.checked_mul(n_rows.next_multiple_of(TILE)).filter(|n| n.checked_mul(8).is_some());
        n_weights.ok_or(KernelError::TooLarge { n_cols, n_rows })?;
        let expected = kind.n_bytes((n_cols * n_rows) as u64);
        if expected != Some(bytes.len() as u64) {
            let expected = expected.unwrap_or(u64::MAX);
            return Err(QuantError::WrongLength {
                ty: kind,
                n_weights: n_cols * n_rows,
                expected,
                found: bytes.len(),
            }
            .into());
        }
        let weights = match FormName::of(kind) {
            Some(form) => Weights::Quants(Quants::pack(form, kind, n_cols / BLOCK, n_rows, bytes)),
            None => Weights::Floats(Floats::pack(kind, n_cols, n_rows, bytes)?),
        };
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
        match &self.weights {
            Weights::Quants(weights) => weights.n_bytes(),
            Weights::Floats(weights) => weights.n_bytes(),
        }
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
        match &self.weights {
            Weights::Quants(weights) => weights.row(row, out),
            Weights::Floats(weights) => weights.row(row, out),
        }
        Ok(())
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Bytes of a tile.
    pub(crate) fn tile_bytes(&self) -> usize {
        match &self.weights {
            Weights::Quants(weights) => weights.tile_bytes(),
            Weights::Floats(weights) => weights.tile_bytes(),
        }
    }
}
