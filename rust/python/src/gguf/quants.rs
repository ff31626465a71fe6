//! Number formats of tensors: to floats and back.

use super::tools::ggml_type;
use super::view::{self, Borrowed, BorrowedMut};
use crate::errors::{IntoPyErr, value_error};
use crate::job;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use std::num::NonZeroUsize;
use tabagent_gguf::{GgmlType, Progress, QuantError, Room, quants, with_threads};

/// The most numbers that the calling thread handles itself, in well under a millisecond.
const FEW: usize = 1 << 18;

/// Writable bytes for a large result, and whether nothing was written to them before; None if a new numpy array serves as well.
#[pyfunction]
pub(crate) fn gguf_room(py: Python<'_>, n_bytes: usize) -> PyResult<Option<(Bound<'_, PyArray1<u8>>, bool)>> {
    if n_bytes < Room::LEAST {
        return Ok(None);
    }
    let room = Room::of(n_bytes).map_err(|error| {
        PyMemoryError::new_err(format!("no memory for `{n_bytes}` bytes of weights: {error}"))
    })?;
    let is_new = room.is_new();
    Ok(Some((view::room(py, room)?, is_new)))
}

/// Decodes stored bytes into `out`: `float32`, or the bits of `float16` or `bfloat16` as `uint16`. `is_new`: `out` was not written to.
#[pyfunction]
pub(crate) fn gguf_dequantize(
    py: Python<'_>,
    data: PyReadonlyArray1<'_, u8>,
    kind: &str,
    out: &Bound<'_, PyAny>,
    dtype: &str,
    threads: Option<NonZeroUsize>,
    is_new: bool,
) -> PyResult<()> {
    let kind = ggml_type(kind)?;
    let bytes = Borrowed::new(&data)?;
    match dtype {
        "float32" if is_new => decode(py, kind, bytes, out, threads, quants::dequantize_with),
        "float32" => decode(py, kind, bytes, out, threads, quants::dequantize_over),
        "float16" => decode(py, kind, bytes, out, threads, quants::dequantize_f16_with),
        "bfloat16" => decode(py, kind, bytes, out, threads, quants::dequantize_bf16_with),
        other => Err(value_error(format!("`{other}` is no float format"))),
    }
}

/// A function of `quants` that decodes.
type Decode<T> = fn(GgmlType, &[u8], &mut [T], Progress<'_>) -> Result<(), QuantError>;

/// Runs `decode` for the array `out`.
fn decode<T: Element + Send + 'static>(
    py: Python<'_>,
    kind: GgmlType,
    bytes: Borrowed<u8>,
    out: &Bound<'_, PyAny>,
    threads: Option<NonZeroUsize>,
    decode: Decode<T>,
) -> PyResult<()> {
    let mut out = BorrowedMut::new(&mut out.extract::<PyReadwriteArray1<'_, T>>()?)?;
    let done = job::run_if(py, out.len() > FEW, move |stop| {
        let goes_on = |_, _| !stop.is_raised();
        // For few numbers, threads of its own cost more than they save.
        let threads = threads.filter(|_| out.len() > FEW);
        with_threads(threads, || decode(kind, &bytes, &mut out, &goes_on))
    })?;
    done.map_err(|error| error.into_py(py))
}

/// A copy of stored bytes with every number turned to the other byte order.
#[pyfunction]
pub(crate) fn gguf_swap_bytes<'py>(
    py: Python<'py>,
    data: PyReadonlyArray1<'py, u8>,
    kind: &str,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let kind = ggml_type(kind)?;
    let bytes = Borrowed::new(&data)?;
    let swapped = job::run_if(py, bytes.len() > FEW, move |stop| {
        let mut bytes = bytes.to_vec();
        quants::swap_bytes_with(kind, &mut bytes, &|_, _| !stop.is_raised()).map(|()| bytes)
    })?;
    Ok(PyArray1::from_vec(py, swapped.map_err(|error| error.into_py(py))?))
}

/// The stored bytes of rows of `row_length` weights.
#[pyfunction]
pub(crate) fn gguf_quantize<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<'py, f32>,
    row_length: usize,
    kind: &str,
    importance: Option<PyReadonlyArray1<'py, f32>>,
    threads: Option<NonZeroUsize>,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let kind = ggml_type(kind)?;
    let values = Borrowed::new(&values)?;
    let importance = importance.as_ref().map(Borrowed::new).transpose()?;
    let size = kind.n_bytes(values.len() as u64).ok_or_else(|| {
        let (n, block) = (values.len(), kind.block_size());
        value_error(format!(
            "`{n}` weights are no whole blocks of `{kind}`, which have `{block}`; choose another type"
        ))
    })?;
    // Searching for scales takes a hundred times as long as decoding.
    let done = job::run_if(py, values.len() > FEW / 64, move |stop| {
        let mut out = vec![0_u8; size as usize];
        let goes_on = |_, _| !stop.is_raised();
        let weights = importance.as_deref();
        with_threads(threads, || {
            quants::quantize_with(kind, &values, row_length, weights, &mut out, &goes_on)
        })
        .map(|()| out)
    })?;
    Ok(PyArray1::from_vec(py, done.map_err(|error| error.into_py(py))?))
}
