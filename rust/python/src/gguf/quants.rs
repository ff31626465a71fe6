//! Number formats of tensors: to floats and back.

use super::tools::ggml_type;
use super::view::Borrowed;
use crate::errors::value_error;
use crate::job;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use tabagent_gguf::{GgmlType, QuantError, quants};

/// Numbers that are worked on where the call is made, in well under a millisecond.
const FEW: usize = 1 << 18;

/// Weights of stored bytes: `float32` as such, `float16` and `bfloat16` as their bits.
#[pyfunction]
pub(crate) fn gguf_dequantize<'py>(
    py: Python<'py>,
    data: PyReadonlyArray1<'py, u8>,
    kind: &str,
    count: usize,
    dtype: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = ggml_type(kind)?;
    let bytes = Borrowed::new(&data)?;
    // Before memory is taken for what cannot be there.
    let expected = kind.n_bytes(count as u64);
    if expected != Some(bytes.len() as u64) {
        let expected = expected.map_or_else(|| "no whole blocks".to_owned(), |n| format!("`{n}` bytes"));
        let found = bytes.len();
        return Err(value_error(format!(
            "`{count}` weights of `{kind}` are {expected}, but the data has `{found}` bytes"
        )));
    }
    Ok(match dtype {
        "float32" => {
            PyArray1::from_vec(py, decoded(py, kind, bytes, count, quants::dequantize_parallel)?).into_any()
        }
        "float16" => {
            PyArray1::from_vec(py, decoded(py, kind, bytes, count, quants::dequantize_f16)?).into_any()
        }
        "bfloat16" => {
            PyArray1::from_vec(py, decoded(py, kind, bytes, count, quants::dequantize_bf16)?).into_any()
        }
        other => return Err(value_error(format!("`{other}` is no float format"))),
    })
}

/// `count` weights of stored bytes, made by `decode`.
fn decoded<T: Default + Clone + Send + 'static>(
    py: Python<'_>,
    kind: GgmlType,
    bytes: Borrowed<u8>,
    count: usize,
    decode: fn(GgmlType, &[u8], &mut [T]) -> Result<(), QuantError>,
) -> PyResult<Vec<T>> {
    let done = job::run_if(py, count > FEW, move |_| {
        let mut out = vec![T::default(); count];
        decode(kind, &bytes, &mut out).map(|()| out)
    })?;
    done.map_err(value_error)
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
    let swapped = job::run_if(py, bytes.len() > FEW, move |_| {
        let mut bytes = bytes.to_vec();
        quants::swap_bytes(kind, &mut bytes).map(|()| bytes)
    })?;
    Ok(PyArray1::from_vec(py, swapped.map_err(value_error)?))
}

/// The stored bytes of rows of `row_length` weights.
#[pyfunction]
pub(crate) fn gguf_quantize<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<'py, f32>,
    row_length: usize,
    kind: &str,
    importance: Option<PyReadonlyArray1<'py, f32>>,
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
    let done = job::run_if(py, values.len() > FEW / 64, move |_| {
        let mut out = vec![0_u8; size as usize];
        quants::quantize_parallel(kind, &values, row_length, importance.as_deref(), &mut out).map(|()| out)
    })?;
    Ok(PyArray1::from_vec(py, done.map_err(value_error)?))
}
