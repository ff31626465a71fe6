//! The machine and the variants that it can run.

use crate::errors::{IntoPyErr, value_error};
use crate::job;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_model::{LibraryPlaces, Probe};
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

/// A companion package: its name, its directory, and libraries that its modules need.
type Companion = (String, PathBuf, Vec<PathBuf>);

/// Every known variant, best first, as JSON: `{"verdicts": [...], "problems": [...]}`.
///
/// `packages` are the directories of libraries of other installed packages, by name. `probe` is the program of child processes, which tries libraries and tells what GPUs there are, and the folder that keeps what it said.
#[pyfunction]
#[pyo3(signature = (environment, companions, bundled, probe=None, packages=None))]
pub(crate) fn variants_json(
    py: Python<'_>,
    environment: Option<String>,
    companions: Vec<Companion>,
    bundled: Option<PathBuf>,
    probe: Option<(PathBuf, Option<PathBuf>)>,
    packages: Option<Vec<(String, PathBuf)>>,
) -> PyResult<String> {
    let places = places(environment, companions, bundled, probe, packages);
    let (verdicts, problems) = job::run(py, move |_| places.verdicts())?;
    let verdicts = serde_json::to_value(verdicts).map_err(value_error)?;
    Ok(serde_json::json!({ "verdicts": verdicts, "problems": problems }).to_string())
}

/// The variant that a request stands for, as JSON. With `allow_unverified`, it may be a build that is not known.
#[pyfunction]
#[pyo3(signature = (request, environment, companions, bundled, probe=None, packages=None, allow_unverified=false))]
#[expect(clippy::too_many_arguments, reason = "they are Python's")]
pub(crate) fn select_variant_json(
    py: Python<'_>,
    request: &str,
    environment: Option<String>,
    companions: Vec<Companion>,
    bundled: Option<PathBuf>,
    probe: Option<(PathBuf, Option<PathBuf>)>,
    packages: Option<Vec<(String, PathBuf)>>,
    allow_unverified: bool,
) -> PyResult<String> {
    let request: VariantRequest = request.parse().map_err(|e: SelectError| e.into_py(py))?;
    let places = places(environment, companions, bundled, probe, packages);
    let (choice, problems) =
        job::run(py, move |_| places.select(&request, allow_unverified))?.map_err(|e| e.into_py(py))?;
    let mut value = serde_json::to_value(&choice).map_err(value_error)?;
    value["problems"] = problems.into();
    Ok(value.to_string())
}

fn places(
    environment: Option<String>,
    companions: Vec<Companion>,
    bundled: Option<PathBuf>,
    probe: Option<(PathBuf, Option<PathBuf>)>,
    packages: Option<Vec<(String, PathBuf)>>,
) -> LibraryPlaces {
    let needed = companions.iter().map(|(name, _, needed)| (name.clone(), needed.clone())).collect();
    LibraryPlaces {
        environment,
        companions: companions.into_iter().map(|(name, directory, _)| (name, directory)).collect(),
        bundled,
        packages: packages.unwrap_or_default(),
        needed,
        probe: probe.map(|(program, reports)| Probe { program, reports }),
    }
}
