//! The machine and the variants that it can run.

use crate::errors::{IntoPyErr, value_error};
use crate::job;
use pyo3::prelude::*;
use std::ffi::OsStr;
use std::path::PathBuf;
use tabagent_variants::{
    Hardware, LibraryDir, VariantRequest, Verdict, default_threads, discover, rank, select,
};

type Companions = Vec<(String, PathBuf)>;

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
    explicit: Option<PathBuf>,
    environment: Option<String>,
    companions: Companions,
    bundled: Option<PathBuf>,
) -> PyResult<String> {
    let described = job::run(py, move |_| {
        let (dirs, problems) =
            catalogue(explicit.as_ref(), environment.as_deref(), &companions, bundled.as_ref());
        let verdicts = rank(&Hardware::probe(), &dirs);
        Ok(serde_json::json!({ "verdicts": serde_json::to_value(verdicts)?, "problems": problems })
            .to_string())
    })?;
    described.map_err(|e: serde_json::Error| value_error(e))
}

/// The variant that a request stands for, as JSON.
#[pyfunction]
pub(crate) fn select_variant_json(
    py: Python<'_>,
    request: String,
    explicit: Option<PathBuf>,
    environment: Option<String>,
    companions: Companions,
    bundled: Option<PathBuf>,
) -> PyResult<String> {
    let (choice, problems) = job::run(py, move |_| {
        // FromStr of a request never fails: what is no name is a path.
        let request = request.parse::<VariantRequest>().unwrap_or(VariantRequest::Auto);
        let explicit = match &request {
            VariantRequest::Path(path) => Some(path.clone()),
            _ => explicit,
        };
        let (dirs, problems) =
            catalogue(explicit.as_ref(), environment.as_deref(), &companions, bundled.as_ref());
        let verdicts: Vec<Verdict> = rank(&Hardware::probe(), &dirs);
        (select(&request, &verdicts), problems)
    })?;
    let choice = choice.map_err(|e| match problems.first() {
        Some(problem) => crate::errors::raise(py, "VariantError", format!("{e} ({problem})")),
        None => e.into_py(py),
    })?;
    let mut value = serde_json::to_value(&choice).map_err(value_error)?;
    value["problems"] = problems.into();
    Ok(value.to_string())
}

fn catalogue(
    explicit: Option<&PathBuf>,
    environment: Option<&str>,
    companions: &Companions,
    bundled: Option<&PathBuf>,
) -> (Vec<LibraryDir>, Vec<String>) {
    let found = discover(
        explicit.map(PathBuf::as_path),
        environment.map(OsStr::new),
        companions,
        bundled.map(PathBuf::as_path),
    );
    let mut dirs = Vec::new();
    let mut problems = Vec::new();
    for entry in found {
        match entry {
            Ok(dir) => dirs.push(dir),
            Err(error) => problems.push(error.to_string()),
        }
    }
    (dirs, problems)
}
