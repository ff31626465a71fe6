//! One of the two thin matrices of an adapter's tensor.

use crate::ggml_type::GgmlType;
use crate::mmap::SharedBytes;
use crate::quants;

/// A matrix, or one for each expert, in an open file.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// As the adapter calls it.
    pub(super) name: String,
    pub(super) kind: GgmlType,
    /// Little-endian.
    pub(super) bytes: SharedBytes,
    /// Numbers in a stored row.
    row_len: usize,
    /// Stored rows of each matrix.
    n_rows: usize,
    pub(super) n_matrices: usize,
    /// True if the rows of this matrix are the stored columns.
    is_transposed: bool,
}

impl Factor {
    /// The matrices of `dims`, in ggml's order, that `bytes` hold; or the problem with them.
    pub(super) fn new(name: &str, kind: GgmlType, dims: &[u64], bytes: SharedBytes) -> Result<Self, String> {
        let dim = |index: usize| dims.get(index).copied().unwrap_or(1) as usize;
        if dims.len() < 2 || dims.len() > 3 || dims.contains(&0) {
            return Err(format!(
                "tensor `{name}` has shape `{dims:?}`, but a factor is a matrix or a matrix for each expert"
            ));
        }
        if !quants::can_quantize(kind) {
            return Err(format!("tensor `{name}` has type `{kind}`; save the adapter as `F16` or `F32`"));
        }
        let n_bytes = dims
            .iter()
            .try_fold(1_u64, |product, &dim| product.checked_mul(dim))
            .and_then(|n| kind.n_bytes(n));
        if n_bytes != Some(bytes.len() as u64) {
            return Err(format!(
                "tensor `{name}` has `{}` bytes, but its shape `{dims:?}` takes another size",
                bytes.len()
            ));
        }
        quants::check(kind, &bytes).map_err(|error| format!("tensor `{name}`: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            kind,
            bytes,
            row_len: dim(0),
            n_rows: dim(1),
            n_matrices: dim(2),
            is_transposed: false,
        })
    }

    /// The same numbers with rows and columns exchanged.
    pub(super) fn transposed(mut self) -> Self {
        self.is_transposed = !self.is_transposed;
        self
    }

    /// The numbers as they are stored, if that is row after row.
    pub(super) fn stored(&self) -> Option<(GgmlType, &SharedBytes)> {
        (!self.is_transposed).then_some((self.kind, &self.bytes))
    }

    pub(super) fn rows(&self) -> usize {
        if self.is_transposed { self.row_len } else { self.n_rows }
    }

    pub(super) fn columns(&self) -> usize {
        if self.is_transposed { self.n_rows } else { self.row_len }
    }

    /// The numbers of matrix `index`, row after row. A single matrix serves for all experts.
    pub(super) fn numbers(&self, index: usize) -> Vec<f32> {
        let index = if self.n_matrices == 1 { 0 } else { index };
        let n_bytes = self.bytes.len() / self.n_matrices.max(1);
        let bytes = self.bytes.get(index * n_bytes..(index + 1) * n_bytes).unwrap_or_default();
        let mut stored = vec![0.0; self.row_len * self.n_rows];
        // `new` has checked that type, shape and size agree.
        if quants::dequantize_parallel(self.kind, bytes, &mut stored).is_err() || !self.is_transposed {
            return stored;
        }
        (0..self.row_len).flat_map(|row| stored.iter().skip(row).step_by(self.row_len).copied()).collect()
    }
}
