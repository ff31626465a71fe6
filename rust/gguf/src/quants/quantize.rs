//! Encodes whole tensors and rows.

use crate::threads::spread;
use rayon::prelude::*;

use super::error::QuantError;
use super::simd::{self, Instructions};
use super::watch::Watch;
use crate::GgmlType;
use crate::progress::{Progress, no_progress};

/// Weights that a task of a parallel run encodes, but at least one row.
const TASK: usize = 16 * 1024;

/// True if [`quantize`] can make `ty`: all block types except `I2_S`, and the floating-point types but F64.
pub const fn can_quantize(ty: GgmlType) -> bool {
    !matches!(
        ty,
        GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 | GgmlType::F64 | GgmlType::I2_S
    )
}

/// True if [`quantize`] makes `ty` only with an importance matrix (`ggml_quantize_requires_imatrix`).
pub const fn needs_imatrix(ty: GgmlType) -> bool {
    matches!(ty, GgmlType::IQ2_XXS | GgmlType::IQ2_XS | GgmlType::IQ1_S)
}

/// Packs `values`, rows of `row_length` weights, into `out` as blocks of type `ty`, on this thread.
///
/// The bytes are those of ggml's `ggml_quantize_chunk` as compiled for plain x86-64 (for `Q8_1` and `Q8_K`, which that function refuses, those of
/// `from_float_ref`). `imatrix` holds the importance of each of a row's weights, the mean square of what it is multiplied with; types that have no
/// use for it ignore it. F16 and BF16 tensors are widened to F32 first.
///
/// F32, F16 and BF16 take any number. The block types take finite numbers only: a block cannot hold NaN or infinity, and ggml would silently write
/// garbage, or abort.
///
/// ```
/// use tabagent_gguf::{GgmlType, quants};
/// let weights: Vec<f32> = (0..64).map(|k| k as f32 / 8.0 - 4.0).collect();
/// let mut blocks = [0; 2 * 34];
/// quants::quantize(GgmlType::Q8_0, &weights, 64, None, &mut blocks)?;
/// let mut back = [0.0; 64];
/// quants::dequantize(GgmlType::Q8_0, &blocks, &mut back)?;
/// assert!(weights.iter().zip(back).all(|(weight, back)| (weight - back).abs() < 0.02));
/// # Ok::<(), tabagent_gguf::QuantError>(())
/// ```
///
/// # Errors
///
/// [`QuantError::NotAQuantizer`] for types without one; [`QuantError::PartialBlock`], [`QuantError::PartialRow`] and
/// [`QuantError::WrongLength`] for lengths that do not agree; [`QuantError::ImatrixMissing`],
/// [`QuantError::ImatrixLength`], [`QuantError::ImatrixValue`] and [`QuantError::NotFinite`] for the numbers.
pub fn quantize(
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    check_arguments(ty, values, row_length, imatrix, out)?;
    if let Some(index) = first_not_finite(ty, values) {
        return Err(QuantError::NotFinite { ty, index });
    }
    simd::encode(Instructions::best(), ty, values, row_length, imatrix, out);
    Ok(())
}

/// As [`quantize`], spread over the threads of the current `rayon` pool; the bytes are the same.
///
/// # Errors
///
/// As for [`quantize`].
pub fn quantize_parallel(
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    quantize_with(ty, values, row_length, imatrix, out, &no_progress)
}

/// As [`quantize_parallel`]; `progress` gets the bytes made and can stop the work.
///
/// # Errors
///
/// As for [`quantize`]; [`QuantError::Cancelled`].
pub fn quantize_with(
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    check_arguments(ty, values, row_length, imatrix, out)?;
    let watch = Watch::new(out.len(), progress);
    let not_finite = spread(|| {
        values.par_chunks(TASK).enumerate().find_map_first(|(task, values)| {
            first_not_finite(ty, values).map(|index| QuantError::NotFinite { ty, index: task * TASK + index })
        })
    });
    if let Some(error) = not_finite {
        return Err(error);
    }
    let rows = (TASK / row_length.max(1)).max(1);
    let row_bytes = row_length / ty.block_size() as usize * ty.block_bytes() as usize;
    let level = Instructions::best();
    spread(|| {
        out.par_chunks_mut((rows * row_bytes).max(1))
            .zip(values.par_chunks((rows * row_length).max(1)))
            .try_for_each(|(out, values)| {
                simd::encode(level, ty, values, row_length, imatrix, out);
                watch.tell(out.len())
            })
    })
}

fn check_arguments(
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    out: &[u8],
) -> Result<(), QuantError> {
    if !can_quantize(ty) {
        return Err(QuantError::NotAQuantizer { ty });
    }
    if ty.n_bytes(row_length as u64).is_none() {
        return Err(QuantError::PartialBlock {
            ty,
            n_weights: row_length as u64,
            block_size: ty.block_size(),
        });
    }
    if !values.len().is_multiple_of(row_length) {
        return Err(QuantError::PartialRow { n_weights: values.len(), row_length });
    }
    let expected = values.len() as u64 / ty.block_size() * ty.block_bytes();
    if out.len() as u64 != expected {
        return Err(QuantError::WrongLength { ty, n_weights: values.len(), expected, found: out.len() });
    }
    match imatrix {
        None if needs_imatrix(ty) => Err(QuantError::ImatrixMissing { ty }),
        None => Ok(()),
        Some(imatrix) if imatrix.len() != row_length => {
            Err(QuantError::ImatrixLength { expected: row_length, found: imatrix.len() })
        }
        Some(imatrix) => match imatrix.iter().position(|value| !value.is_finite() || *value < 0.0) {
            Some(index) => Err(QuantError::ImatrixValue { index }),
            None => Ok(()),
        },
    }
}

fn first_not_finite(ty: GgmlType, values: &[f32]) -> Option<usize> {
    if matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16) {
        return None;
    }
    if simd::largest_magnitude(Instructions::best(), values) < 0x7f80_0000 {
        return None;
    }
    values.iter().position(|value| !value.is_finite())
}
