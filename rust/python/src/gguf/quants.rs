//! Number formats of tensors: to floats and back.

use super::tools::ggml_type;
use crate::errors::value_error;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use tabagent_gguf::quants;

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
    let bytes = data.as_slice()?;
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
            let mut out = vec![0.0_f32; count];
            py.detach(|| quants::dequantize_parallel(kind, bytes, &mut out)).map_err(value_error)?;
            PyArray1::from_vec(py, out).into_any()
        }
        "float16" => {
            let mut out = vec![0_u16; count];
            py.detach(|| quants::dequantize_f16(kind, bytes, &mut out)).map_err(value_error)?;
            PyArray1::from_vec(py, out).into_any()
        }
        "bfloat16" => {
            let mut out = vec![0_u16; count];
            py.detach(|| quants::dequantize_bf16(kind, bytes, &mut out)).map_err(value_error)?;
            PyArray1::from_vec(py, out).into_any()
        }
        other => return Err(value_error(format!("`{other}` is no float format"))),
    })
}

/// A copy of stored bytes with every number turned to the other byte order.
#[pyfunction]
pub(crate) fn gguf_swap_bytes<'py>(
    py: Python<'py>,
    data: PyReadonlyArray1<'py, u8>,
    kind: &str,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let kind = ggml_type(kind)?;
    let mut bytes = data.as_slice()?.to_vec();
    py.detach(|| quants::swap_bytes(kind, &mut bytes)).map_err(value_error)?;
    Ok(PyArray1::from_vec(py, bytes))
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
    let values = values.as_slice()?;
    let importance = importance.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
    let size = kind.n_bytes(values.len() as u64).ok_or_else(|| {
        let (n, block) = (values.len(), kind.block_size());
        value_error(format!(
            "`{n}` weights are no whole blocks of `{kind}`, which have `{block}`; choose another type"
        ))
    })?;
    let mut out = vec![0_u8; size as usize];
    py.detach(|| quants::quantize_parallel(kind, values, row_length, importance, &mut out))
        .map_err(value_error)?;
    Ok(PyArray1::from_vec(py, out))
}
