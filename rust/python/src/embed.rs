//! What goes into embedding and ranking, and what comes out.

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyList;
use tabagent_model::{AbortFlag, PromptInput, Vectors};

use crate::errors::value_error;
use crate::model::prompt_input;

/// Ends work that runs in another thread.
#[pyclass(frozen, module = "tabagent._native")]
#[derive(Default)]
pub(crate) struct Stop {
    pub(crate) flag: AbortFlag,
}

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&self) {
        self.flag.raise();
    }
}

/// Texts and token lists.
pub(crate) fn inputs(texts: &Bound<'_, PyList>) -> PyResult<Vec<PromptInput<PyBackedStr>>> {
    texts.iter().map(|text| Ok(prompt_input(&text)?.0)).collect()
}

/// An array with a row for each vector, over the same memory.
pub(crate) fn to_array(py: Python<'_>, vectors: Vectors) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let rows = vectors.values.len().checked_div(vectors.width).unwrap_or(0);
    let array = Array2::from_shape_vec((rows, vectors.width), vectors.values).map_err(value_error)?;
    Ok(array.into_pyarray(py))
}

/// The part that `done` of `total` is.
pub(crate) fn part(done: usize, total: usize) -> f32 {
    done as f32 / total.max(1) as f32
}
