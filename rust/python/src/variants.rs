//! The machine and the variants that it can run.

use crate::errors::{IntoPyErr, value_error};
use crate::job;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_model::LibraryPlaces;
use tabagent_variants::{Hardware, SelectError, VariantRequest, default_threads};

/// Facts about the machine, as JSON.
#[pyfunction]
pub(crate) fn hardware_json(py: Python<'_>) -> PyResult<String> {
    let described = job::run(py, |_| {
        let hardware = Hardware::probe();
        let mut value = serde_json::to_value(&hardware)?;
        value["default_threads"] = default_threads(&hardware).into();
        Ok(value.to_string())
    })?;
    described.map_err(|e: serde_json::Error| value_error(e))
}

/// Every known variant, best first, as JSON: `{"verdicts": [...], "problems": [...]}`.
#[pyfunction]
pub(crate) fn variants_json(
    py: Python<'_>,
    environment: Option<String>,
    companions: Vec<(String, PathBuf)>,
    bundled: Option<PathBuf>,
) -> PyResult<String> {
    let places = LibraryPlaces { environment, companions, bundled };
    let (verdicts, problems) = job::run(py, move |_| places.verdicts())?;
    let verdicts = serde_json::to_value(verdicts).map_err(value_error)?;
    Ok(serde_json::json!({ "verdicts": verdicts, "problems": problems }).to_string())
}

/// The variant that a request stands for, as JSON.
#[pyfunction]
pub(crate) fn select_variant_json(
    py: Python<'_>,
    request: &str,
    environment: Option<String>,
    companions: Vec<(String, PathBuf)>,
    bundled: Option<PathBuf>,
) -> PyResult<String> {
    let request: VariantRequest = request.parse().map_err(|e: SelectError| e.into_py(py))?;
    let places = LibraryPlaces { environment, companions, bundled };
    let (choice, problems) = job::run(py, move |_| places.select(&request))?.map_err(|e| e.into_py(py))?;
    let mut value = serde_json::to_value(&choice).map_err(value_error)?;
    value["problems"] = problems.into();
    Ok(value.to_string())
}
