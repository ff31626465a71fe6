//! Products of matrices and activations.

use crate::matrix::Weights;
use crate::packed::TILE;
use crate::pool::Windows;
use crate::quantized::GROUP;
use crate::{Activations, Isa, KernelError, Matrix, Pool, simd};

/// Bytes of weights in a piece of work: so much that claiming it costs nothing beside it.
const PIECE_BYTES: usize = 64 << 10;

/// Tokens of a piece of work: their entries stay in the second cache while the weights pass.
const PIECE_TOKENS: usize = 8 * GROUP;

/// Multiplies `matrix` with every token of `input`: `out` has `n_tokens` rows of [`Matrix::n_rows`] values, all overwritten.
///
/// Quantized weights meet activations in whole numbers with a scale for every 32, so a result differs from that of exact activations by up to
/// `sum(|w|) * max(|x|) / 254` over each 32 columns. The whole numbers are the same on all instruction sets; the rounding of F32 lets results differ
/// by up to `3e-6 * sum(|w|) * max(|x|)`.
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
    multiply_with(Isa::best(), matrices, input, outs, pool)
}

/// As [`multiply_all`], with the instructions given: for comparisons.
///
/// # Errors
///
/// As for [`multiply_all`]; [`KernelError::WrongValue`] if this processor has no such instructions.
pub fn multiply_with(
    isa: Isa,
    matrices: &[&Matrix],
    input: &Activations,
    outs: &mut [&mut [f32]],
    pool: &Pool,
) -> Result<(), KernelError> {
    isa.check()?;
    KernelError::check_length("the list of outputs", matrices.len(), outs.len())?;
    for (matrix, out) in matrices.iter().zip(outs.iter()) {
        KernelError::check_length("a row of the activations", matrix.n_cols(), input.n_cols())?;
        KernelError::check_length("the output", input.n_tokens() * matrix.n_rows(), out.len())?;
    }
    let works = matrices.iter().zip(outs).filter(|(_, out)| !out.is_empty());
    let works: Vec<(&Matrix, Windows<'_, f32>)> = works
        .map(|(matrix, out)| {
            let cols = piece_cols(matrix, pool.n_threads());
            (*matrix, Windows::new(out, matrix.n_rows(), PIECE_TOKENS, cols))
        })
        .collect();
    let n_pieces = works.iter().map(|(_, windows)| windows.len()).sum();
    pool.run(n_pieces, &|mut at| {
        for (matrix, windows) in &works {
            if at >= windows.len() {
                at -= windows.len();
                continue;
            }
            let Some(mut window) = windows.take(at) else { return };
            match matrix.weights() {
                Weights::Quants(weights) => simd::quants(isa, weights, input.quantized(), &mut window),
                Weights::Floats(weights) => simd::floats(isa, weights, input.singles(), &mut window),
            }
            return;
        }
    })
}

/// Rows of the matrix in a piece: whole tiles, [`PIECE_BYTES`] or so, but several pieces for each thread.
fn piece_cols(matrix: &Matrix, n_threads: usize) -> usize {
    let n_tiles = matrix.n_rows().div_ceil(TILE);
    if n_threads == 1 {
        return n_tiles * TILE;
    }
    let by_bytes = PIECE_BYTES.div_ceil(matrix.tile_bytes());
    by_bytes.min(n_tiles.div_ceil(4 * n_threads)).max(1) * TILE
}
