//! Low-rank adapters: merging and converting them.

use super::imatrix::GgufImatrix;
use super::tools::ggml_type;
use super::watch;
use crate::errors::IntoPyErr;
use pyo3::prelude::*;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tabagent_gguf::{LoraOptions, MergeType, convert_adapter, merge_lora};

/// Merges adapters with scales into a model; returns how many tensors there are, how many changed, and which were passed over.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the options of one call")]
pub(crate) fn gguf_merge_lora(
    py: Python<'_>,
    base: PathBuf,
    adapters: Vec<(PathBuf, f64)>,
    output: PathBuf,
    out_type: &str,
    imatrix: Option<&GgufImatrix>,
    threads: Option<NonZeroUsize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(usize, usize, Vec<String>)> {
    let out_type: MergeType =
        out_type.parse().map_err(|error: tabagent_gguf::UnknownOutType| error.into_py(py))?;
    let options = LoraOptions::default()
        .with_out_type(out_type)
        .with_imatrix(imatrix.map(GgufImatrix::shared))
        .with_threads(threads);
    let done = watch::write(py, progress.as_ref(), move |progress| {
        merge_lora(&base, &adapters, &output, &options, progress)
    })?;
    Ok((done.n_tensors, done.n_changed, done.ignored))
}

/// Converts an adapter of the `peft` library to GGUF; returns architecture, tensors, parameters, and what was passed over.
#[pyfunction]
pub(crate) fn gguf_convert_lora(
    py: Python<'_>,
    source: PathBuf,
    output: PathBuf,
    base: Option<PathBuf>,
    out_type: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, usize, u64, Vec<String>)> {
    let out_type = ggml_type(out_type)?;
    let done = watch::write(py, progress.as_ref(), move |progress| {
        convert_adapter(&source, base.as_deref(), &output, out_type, progress)
    })?;
    Ok((done.architecture, done.n_tensors, done.n_params, done.ignored))
}
