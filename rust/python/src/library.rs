//! The llama.cpp library of this process.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_model::{
    Library, LibraryError, describe_library as describe, open_library as open, set_crash_file,
};

/// Loads llama.cpp and describes it, as JSON. An assertion of it that ends the process leaves a line in `crash_file`.
#[pyfunction]
#[pyo3(signature = (path, module, crash_file=None))]
pub(crate) fn open_library(
    py: Python<'_>,
    path: PathBuf,
    module: Option<String>,
    crash_file: Option<PathBuf>,
) -> PyResult<String> {
    let described = job::run(py, move |_| {
        let library = open(&path, module)?;
        set_crash_file(crash_file.as_deref());
        Ok(describe(&library).to_string())
    })?;
    described.map_err(|e: LibraryError| e.into_py(py))
}

/// What `open_library` said, for the library of this process.
#[pyfunction]
pub(crate) fn loaded_library(py: Python<'_>) -> PyResult<Option<String>> {
    // Waits while another thread loads it.
    job::run(py, |_| Library::current().map(|library| describe(&library).to_string()))
}
