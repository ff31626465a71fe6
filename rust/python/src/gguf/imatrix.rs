//! Importance matrices.

use super::watch;
use crate::errors::IntoPyErr;
use crate::job;
use numpy::PyArray1;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use tabagent_gguf::Imatrix;

/// An importance matrix, read from a file.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct GgufImatrix {
    matrix: Arc<Imatrix>,
}

impl GgufImatrix {
    /// The matrix, for work on another thread.
    pub(crate) fn shared(&self) -> Arc<Imatrix> {
        Arc::clone(&self.matrix)
    }
}

#[pymethods]
impl GgufImatrix {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let matrix = watch::read(py, None, move |progress| Imatrix::open_with(&path, progress))?;
        Ok(Self { matrix: Arc::new(matrix) })
    }

    #[staticmethod]
    fn from_importances(py: Python<'_>, entries: Vec<(String, Vec<f32>)>) -> PyResult<Self> {
        let matrix =
            job::run(py, move |_| Imatrix::from_importances(entries))?.map_err(|error| error.into_py(py))?;
        Ok(Self { matrix: Arc::new(matrix) })
    }

    #[getter]
    fn names(&self) -> Vec<&str> {
        self.matrix.iter().map(|(name, _)| name).collect()
    }

    #[getter]
    fn datasets(&self) -> Vec<String> {
        self.matrix.datasets().to_vec()
    }

    #[getter]
    fn n_chunks(&self) -> u32 {
        self.matrix.n_chunks()
    }

    #[getter]
    fn chunk_size(&self) -> u32 {
        self.matrix.chunk_size()
    }

    fn importances<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyArray1<f32>>> {
        Some(PyArray1::from_slice(py, self.matrix.importances(name)?))
    }

    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let matrix = self.shared();
        watch::write(py, None, move |progress| matrix.write_with(&path, progress))
    }
}
