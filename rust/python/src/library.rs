//! The llama.cpp library of this process.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;
use tabagent_model::{Library, open_library as open};

/// Loads llama.cpp and describes it, as JSON.
#[pyfunction]
pub(crate) fn open_library(py: Python<'_>, path: PathBuf, module: Option<String>) -> PyResult<String> {
    let described = job::run(py, move |_| open(&path, module).map(|library| describe(&library).to_string()))?;
    described.map_err(|e| e.into_py(py))
}

/// What `open_library` said, for the library of this process.
#[pyfunction]
pub(crate) fn loaded_library(py: Python<'_>) -> PyResult<Option<String>> {
    // Waits while another thread loads it.
    job::run(py, |_| Library::current().map(|library| describe(&library).to_string()))
}

fn describe(library: &Library) -> Value {
    let info = library.info();
    let devices: Vec<Value> = library
        .devices()
        .into_iter()
        .map(|d| {
            json!({
                "name": d.name,
                "description": d.description,
                "kind": d.kind.to_string(),
                "memory_free": d.memory_free,
                "memory_total": d.memory_total,
            })
        })
        .collect();
    json!({
        "directory": info.directory.to_string_lossy(),
        "build": info.build,
        "ggml_version": info.ggml_version,
        "cpu_module": info.cpu_module,
        "cpu_module_file": info.cpu_module_file.as_ref().map(|f| f.to_string_lossy()),
        "devices": devices,
    })
}
