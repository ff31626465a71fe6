//! The numbers that matrices are multiplied with.

use crate::{KernelError, Pool};

/// Rows of numbers, one a token, prepared once for products with any number of matrices.
///
/// The buffer is reused by the next [`Activations::load`].
#[derive(Debug, Clone, Default)]
pub struct Activations {
    n_cols: usize,
    n_tokens: usize,
    values: Vec<f32>,
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
    pub fn load(&mut self, values: &[f32], n_cols: usize, _pool: &Pool) -> Result<(), KernelError> {
        if n_cols == 0 {
            return Err(KernelError::WrongValue { what: "the number of columns", found: n_cols.to_string() });
        }
        let n_tokens = values.len() / n_cols;
        KernelError::check_length("the activations", n_tokens * n_cols, values.len())?;
        self.values.clear();
        self.values.extend_from_slice(values);
        (self.n_cols, self.n_tokens) = (n_cols, n_tokens);
        Ok(())
    }

    /// Numbers in a row.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Rows.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The numbers of one token.
    pub(crate) fn token(&self, token: usize) -> &[f32] {
        &self.values[token * self.n_cols..][..self.n_cols]
    }
}
