//! The llama.cpp library of this process.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_model::{
    AddedBackends, Library, LibraryError, describe_library as describe, open_library_adding,
    open_library_unverified, set_crash_file,
};

/// Loads llama.cpp, with the modules `backends` and no others from elsewhere, and describes it, as JSON. `needed` are libraries that these modules
/// need. With `allow_unverified`, it may be a build that is not known. An assertion of it that ends the process leaves a line in `crash_file`.
#[pyfunction]
#[pyo3(signature = (path, module, crash_file=None, backends=None, needed=None, allow_unverified=false))]
pub(crate) fn open_library(
    py: Python<'_>,
    path: PathBuf,
    module: Option<String>,
    crash_file: Option<PathBuf>,
    backends: Option<Vec<PathBuf>>,
    needed: Option<Vec<PathBuf>>,
    allow_unverified: bool,
) -> PyResult<String> {
    let added = AddedBackends { needed: needed.unwrap_or_default(), modules: backends.unwrap_or_default() };
    let described = job::run(py, move |_| {
        let open = if allow_unverified { open_library_unverified } else { open_library_adding };
        let library = open(&path, module, &added)?;
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
