//! The numbers that matrices are multiplied with.

use std::sync::OnceLock;

use crate::packed::BLOCK;
use crate::quantized::{Entry, GROUP, Quantized};
use crate::singles::Singles;
use crate::{KernelError, Pool, simd};

/// Rows of numbers, one a token, prepared once for products with any number of matrices.
///
/// They are quantized to whole numbers of 8 bits with a scale for every 32. The buffer is reused by the next [`Activations::load`].
#[derive(Debug, Clone, Default)]
pub struct Activations {
    n_cols: usize,
    values: Vec<f32>,
    quantized: Quantized,
    /// Laid out for matrices of floats when the first of them asks.
    singles: OnceLock<Singles>,
}

impl Activations {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `values`, which are rows of `n_cols` numbers, one row a token.
    ///
    /// # Errors
    ///
    /// [`KernelError::WrongLength`] if `values` is no whole number of rows, [`KernelError::WrongValue`] for rows of no columns,
    /// [`KernelError::Panicked`].
    pub fn load(&mut self, values: &[f32], n_cols: usize, pool: &Pool) -> Result<(), KernelError> {
        if n_cols == 0 {
            return Err(KernelError::WrongValue { what: "the number of columns", found: n_cols.to_string() });
        }
        let n_tokens = values.len() / n_cols;
        KernelError::check_length("the activations", n_tokens * n_cols, values.len())?;
        self.n_cols = n_cols;
        self.values.clear();
        self.values.extend_from_slice(values);
        self.singles.take();
        let n_blocks = n_cols.div_ceil(BLOCK);
        (self.quantized.n_blocks, self.quantized.n_tokens) = (n_blocks, n_tokens);
        self.quantized.entries.resize(n_tokens * n_blocks, Entry::ZERO);
        let group = GROUP * n_blocks;
        let len = self.quantized.entries.len();
        if len <= group {
            simd::quantize_group(values, n_cols, &mut self.quantized.entries);
            return Ok(());
        }
        pool.each_chunk(&mut self.quantized.entries, group, &|at, entries| {
            let rows = &values[at * GROUP * n_cols..];
            let rows = &rows[..rows.len().min(GROUP * n_cols)];
            simd::quantize_group(rows, n_cols, entries);
        })
    }

    /// Numbers in a row.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Rows.
    pub fn n_tokens(&self) -> usize {
        self.quantized.n_tokens
    }

    pub(crate) fn quantized(&self) -> &Quantized {
        &self.quantized
    }

    pub(crate) fn singles(&self) -> &Singles {
        self.singles.get_or_init(|| Singles::new(&self.values, self.n_cols))
    }
}
