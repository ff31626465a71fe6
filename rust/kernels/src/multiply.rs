//! Products of matrices and activations.

use crate::{Activations, KernelError, Matrix, Pool};

/// Multiplies `matrix` with every token of `input`: `out` has `n_tokens` rows of [`Matrix::n_rows`] values, all overwritten.
///
/// # Errors
///
/// [`KernelError::WrongLength`] if the columns of `input` or the length of `out` do not fit, [`KernelError::Panicked`].
pub fn multiply(
    matrix: &Matrix,
    input: &Activations,
    out: &mut [f32],
    pool: &Pool,
) -> Result<(), KernelError> {
    multiply_all(&[matrix], input, &mut [out], pool)
}

/// As [`multiply`], for several matrices of the same input (query, key and value; gate and up) in one parallel step.
///
/// # Errors
///
/// As for [`multiply`]; [`KernelError::WrongLength`] also if there are not as many `outs` as `matrices`.
pub fn multiply_all(
    matrices: &[&Matrix],
    input: &Activations,
    outs: &mut [&mut [f32]],
    pool: &Pool,
) -> Result<(), KernelError> {
    KernelError::check_length("the list of outputs", matrices.len(), outs.len())?;
    for (matrix, out) in matrices.iter().zip(outs.iter()) {
        KernelError::check_length("a row of the activations", matrix.n_cols(), input.n_cols())?;
        KernelError::check_length("the output", input.n_tokens() * matrix.n_rows(), out.len())?;
    }
    for (matrix, out) in matrices.iter().zip(outs) {
        pool.each_chunk(out, matrix.n_rows().max(1), &|token, out| {
            let values = input.token(token);
            for (row, out) in out.iter_mut().enumerate() {
                *out = matrix.plain_row(row).iter().zip(values).map(|(w, v)| w * v).sum();
            }
        })?;
    }
    Ok(())
}
