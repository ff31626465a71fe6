//! Measures the harm that each type does to each tensor.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::threads::spread;
use rayon::prelude::*;

use super::candidates::CandidateTensor;
use super::sensitivity::Sensitivity;
use crate::byte_swap::swap_blocks;
use crate::error::{GgufError, Subject};
use crate::progress::Progress;
use crate::quants::{self, QuantError};
use crate::{ByteOrder, GgmlType};

/// Weights of a tensor that are tried, in whole rows; smaller tensors are tried whole.
const SAMPLE_WEIGHTS: u64 = 128 * 1024;

/// Rows that are tried at least, however long they are.
const SAMPLE_ROWS: u64 = 32;

/// One type that a tensor may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypeCost {
    /// The type.
    pub ggml_type: GgmlType,
    /// Bytes of the tensor's data.
    pub n_bytes: u64,
    /// The squared error of the weights over their own squares, both weighted by the importances if there are any: the share of noise in what the
    /// tensor computes from inputs of equal strength (or of the strengths that the importances state).
    pub relative_error: f64,
    /// The harm expected: `relative_error` times how sensitive models are to noise in this kind of tensor. Harms add up.
    pub harm: f64,
}

/// A tensor and what each of its types would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredTensor {
    /// The tensor's name.
    pub name: String,
    /// How many weights it has.
    pub n_weights: u64,
    /// Its types, in the order of the candidates; at least one.
    pub costs: Vec<TypeCost>,
    /// True if there were importances.
    pub with_importances: bool,
}

/// Quantizes rows of every tensor to each of its types and back, and returns what each costs, in the order of `tensors`.
///
/// Evenly spaced rows of a tensor are tried, from the first to the last: as many as hold 131,072 weights, but at least 32, or all of them where there
/// are no more. A tensor with one candidate, or none, is not read. Work is spread over the threads of the current `rayon` pool; the result does not
/// depend on them. `progress` gets the bytes of F32 weights tried, and the total.
///
/// # Errors
/// [`GgufError::Cancelled`]; [`GgufError::Unwritable`] for a tensor whose weights are not finite, whose importances have the wrong
/// length or are no importances, or which has a candidate that its rows do not fit.
pub fn measure_types(
    tensors: &[CandidateTensor<'_>],
    progress: Progress<'_>,
) -> Result<Vec<MeasuredTensor>, GgufError> {
    let total = tensors.iter().map(work).sum();
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let sensitivity = Sensitivity::of(tensors.iter().map(|tensor| tensor.tensor.info.name.as_str()));
    let measured = |tensor: &CandidateTensor<'_>| {
        let mut told = |bytes: u64| {
            let before = done.fetch_add(bytes, Ordering::Relaxed);
            if stopped.load(Ordering::Relaxed) || !progress(before + bytes, total) {
                stopped.store(true, Ordering::Relaxed);
                return Err(GgufError::Cancelled);
            }
            Ok(())
        };
        measure(tensor, sensitivity.coefficient(&tensor.tensor.info.name), &mut told)
    };
    spread(|| tensors.par_iter().map(measured).collect())
}

/// Rows, matrices and length of a row of a tensor.
struct Layout {
    row_length: u64,
    n_rows: u64,
    rows_per_matrix: u64,
}

impl Layout {
    fn of(tensor: &CandidateTensor<'_>) -> Self {
        let shape = &tensor.tensor.info.shape;
        let row_length = shape.row_len().max(1);
        Self { row_length, n_rows: shape.n_elements() / row_length, rows_per_matrix: shape.dim(1).max(1) }
    }

    /// The rows to try, as runs of rows that lie in one matrix.
    fn sample(&self) -> impl Iterator<Item = u64> {
        let n = SAMPLE_WEIGHTS.div_ceil(self.row_length).max(SAMPLE_ROWS).min(self.n_rows);
        let last = self.n_rows.saturating_sub(1);
        // 128 bits since the product of two counts may exceed 64.
        (0..n).map(move |k| (u128::from(k) * u128::from(last) / u128::from((n - 1).max(1))) as u64)
    }

    fn n_sampled(&self) -> u64 {
        self.row_length * self.sample().count() as u64
    }
}

/// Bytes of weights that are tried for a tensor.
fn work(tensor: &CandidateTensor<'_>) -> u64 {
    if tensor.types.len() < 2 { 0 } else { 4 * tried(tensor).count() as u64 * Layout::of(tensor).n_sampled() }
}

/// The types that change the tensor.
fn tried<'a>(tensor: &'a CandidateTensor<'_>) -> impl Iterator<Item = GgmlType> + 'a {
    tensor.types.iter().copied().filter(|&ty| ty != tensor.tensor.info.ggml_type)
}

fn measure(
    candidate: &CandidateTensor<'_>,
    coefficient: f64,
    told: &mut dyn FnMut(u64) -> Result<(), GgufError>,
) -> Result<MeasuredTensor, GgufError> {
    let info = candidate.tensor.info;
    let fail = |problem| GgufError::Unwritable { subject: Subject::tensor(info.name.as_bytes()), problem };
    let n_weights = info.shape.n_elements();
    let own = [info.ggml_type];
    let types = if candidate.types.is_empty() { &own[..] } else { &candidate.types[..] };
    let sample = if types.len() < 2 { None } else { Some(Sample::read(candidate).map_err(fail)?) };
    let mut costs = Vec::with_capacity(types.len());
    for &ty in types {
        let fits = ty.n_bytes(info.shape.row_len()).and_then(|_| ty.n_bytes(n_weights));
        let Some(n_bytes) = fits else {
            let row = info.shape.row_len();
            return Err(fail(format!("has rows of `{row}` weights, which are not whole blocks of `{ty}`")));
        };
        let relative_error = match &sample {
            Some(sample) if ty != info.ggml_type => {
                let error = sample.relative_error(ty).map_err(|error| fail(problem(&error)))?;
                told(4 * sample.values.len() as u64)?;
                error
            }
            _ => 0.0,
        };
        costs.push(TypeCost { ggml_type: ty, n_bytes, relative_error, harm: coefficient * relative_error });
    }
    let with_importances = candidate.importances.is_some();
    Ok(MeasuredTensor { name: info.name.clone(), n_weights, costs, with_importances })
}

fn problem(error: &QuantError) -> String {
    format!("cannot be quantized: {error}")
}

/// Some rows of a tensor.
struct Sample<'a> {
    row_length: usize,
    values: Vec<f32>,
    /// Rows of `values` that lie in one matrix, and the importances of that matrix.
    groups: Vec<(Range<usize>, Option<&'a [f32]>)>,
}

impl<'a> Sample<'a> {
    fn read(candidate: &CandidateTensor<'a>) -> Result<Self, String> {
        let (info, layout) = (candidate.tensor.info, Layout::of(candidate));
        let row_length = layout.row_length as usize;
        let n_matrices = layout.n_rows / layout.rows_per_matrix;
        if let Some(importances) = candidate.importances {
            let found = importances.len() as u64;
            if found != layout.row_length && Some(found) != layout.row_length.checked_mul(n_matrices) {
                return Err(format!(
                    "has rows of `{row_length}` weights in `{n_matrices}` matrices, but `{found}` importances; use an importance matrix of this model"
                ));
            }
        }
        let row_bytes = info.ggml_type.n_bytes(layout.row_length).unwrap_or_default() as usize;
        let data = candidate.tensor.data();
        let order = candidate.tensor.file.byte_order();
        let mut values = Vec::with_capacity(layout.n_sampled() as usize);
        let mut groups: Vec<(Range<usize>, Option<&[f32]>)> = Vec::new();
        let mut matrix_before = None;
        for (number, row) in layout.sample().enumerate() {
            let start = row as usize * row_bytes;
            let stored = data.get(start..start + row_bytes).ok_or("has no data here")?;
            let at = values.len();
            values.resize(at + row_length, 0.0);
            let result = if order == ByteOrder::Little {
                quants::dequantize(info.ggml_type, stored, &mut values[at..])
            } else {
                let mut swapped = stored.to_vec();
                swap_blocks(info.ggml_type, &mut swapped);
                quants::dequantize(info.ggml_type, &swapped, &mut values[at..])
            };
            result.map_err(|error| problem(&error))?;
            let matrix = row / layout.rows_per_matrix;
            match groups.last_mut() {
                Some((rows, _)) if matrix_before == Some(matrix) => rows.end = number + 1,
                _ => {
                    let start = if candidate.importances.is_some_and(|all| all.len() > row_length) {
                        matrix as usize * row_length
                    } else {
                        0
                    };
                    let importances =
                        candidate.importances.and_then(|all| all.get(start..start + row_length));
                    groups.push((number..number + 1, importances));
                }
            }
            matrix_before = Some(matrix);
        }
        Ok(Self { row_length, values, groups })
    }

    /// Weighted squared error over weighted squares; 0 for weights that are all zero or have no importance.
    fn relative_error(&self, ty: GgmlType) -> Result<f64, QuantError> {
        let mut back = Vec::new();
        let mut stored = Vec::new();
        let (mut error, mut square) = (0.0, 0.0);
        for (rows, importances) in &self.groups {
            let values = &self.values[rows.start * self.row_length..rows.end * self.row_length];
            back.resize(values.len(), 0.0);
            stored.resize(values.len() / ty.block_size() as usize * ty.block_bytes() as usize, 0);
            quants::quantize(ty, values, self.row_length, *importances, &mut stored)?;
            quants::dequantize(ty, &stored, &mut back)?;
            for (values, back) in values.chunks(self.row_length).zip(back.chunks(self.row_length)) {
                let (e, s) = match importances {
                    None => sums(values, back),
                    Some(importances) => weighted_sums(values, back, importances),
                };
                error += e;
                square += s;
            }
        }
        Ok(if square > 0.0 { error / square } else { 0.0 })
    }
}

/// Squared error and squares of a row.
fn sums(values: &[f32], back: &[f32]) -> (f64, f64) {
    values.iter().zip(back).fold((0.0, 0.0), |(error, square), (value, back)| {
        let difference = f64::from(value - back);
        (error + difference * difference, square + f64::from(*value) * f64::from(*value))
    })
}

fn weighted_sums(values: &[f32], back: &[f32], importances: &[f32]) -> (f64, f64) {
    values.iter().zip(back).zip(importances).fold(
        (0.0, 0.0),
        |(error, square), ((value, back), importance)| {
            let (difference, importance) = (f64::from(value - back), f64::from(*importance));
            (
                error + importance * difference * difference,
                square + importance * f64::from(*value) * f64::from(*value),
            )
        },
    )
}
