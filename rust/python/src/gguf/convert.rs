//! Converts Hugging Face folders and BitNet files to GGUF.

use super::watch;
use crate::errors::IntoPyErr;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_gguf::{ConvertOptions, OutType, convert};

/// Converts the model at `source`; returns architecture, type of the matrices, tensors and parameters.
#[pyfunction]
pub(crate) fn gguf_convert(
    py: Python<'_>,
    source: PathBuf,
    output: PathBuf,
    out_type: &str,
    pre_tokenizer: Option<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, &'static str, usize, u64)> {
    let out_type: OutType =
        out_type.parse().map_err(|error: tabagent_gguf::UnknownOutType| error.into_py(py))?;
    let options = ConvertOptions::default().with_out_type(out_type).with_pre_tokenizer(pre_tokenizer);
    let done =
        watch::write(py, progress.as_ref(), move |progress| convert(&source, &output, &options, progress))?;
    Ok((done.architecture, done.ggml_type.name(), done.n_tensors, done.n_params))
}
