//! Whole models to other number formats.

use super::watch;
use crate::arguments::overrides;
use crate::errors::value_error;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tabagent_gguf::{
    FileType, GgufModel, Imatrix, OwnedValue, Plan, Progress, QuantizeError, QuantizeOptions, SizeTarget,
    Target, TensorRule, fit_options, plan, quantize_file, quantize_file_to_size, tensor_type,
};
use tabagent_model::MetadataOverride;

/// What Python's `quantize_model` was told, by the names of its arguments.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Arguments<'py> {
    imatrix: Option<PathBuf>,
    include_weights: Vec<String>,
    exclude_weights: Vec<String>,
    pure: bool,
    leave_output_tensor: bool,
    output_tensor_type: Option<String>,
    token_embedding_type: Option<String>,
    tensor_types: Vec<(String, String)>,
    allow_requantize: bool,
    keep_split: bool,
    metadata_overrides: Bound<'py, PyDict>,
    prune_layers: Vec<u32>,
    threads: Option<NonZeroUsize>,
    max_buffer_bytes: Option<u64>,
    target_size: Option<String>,
    target_bits: Option<f64>,
}

/// A tensor: name, shape in GGUF's order, types before and after, why, bytes before and after.
type Row = (String, Vec<u64>, &'static str, &'static str, String, u64, u64);

/// Paths written, the number of the file type, the tensors, and of a dry run why it would be refused.
type Answer = (Vec<PathBuf>, u32, Vec<Row>, Option<String>);

/// Quantizes the model at `source`, or without `destination` says what would become of it.
#[pyfunction]
pub(crate) fn gguf_quantize_model(
    py: Python<'_>,
    source: PathBuf,
    destination: Option<PathBuf>,
    kind: Option<&str>,
    arguments: Arguments<'_>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    // With a size the type does not count.
    let target: Target = kind.unwrap_or("Q8_0").parse().map_err(value_error)?;
    let size = match (&arguments.target_size, arguments.target_bits) {
        (Some(text), _) => Some(text.parse::<SizeTarget>().map_err(value_error)?),
        (None, Some(bits)) => Some(SizeTarget::BitsPerWeight(bits)),
        (None, None) => None,
    };
    let imatrix = arguments.imatrix.clone();
    let (include, exclude) = (arguments.include_weights.clone(), arguments.exclude_weights.clone());
    let options = options(target, arguments)?;
    watch::write(py, progress.as_ref(), move |progress| {
        let options = match &imatrix {
            Some(path) => with_imatrix(options, path, &include, &exclude)?,
            None => options,
        };
        let Some(path) = destination else { return planned(&source, options, size, progress) };
        let done = match size {
            Some(size) => quantize_file_to_size(&source, &path, options, size, progress)?,
            None => quantize_file(&source, &path, &options, progress)?,
        };
        Ok::<_, QuantizeError>(answer(done.paths, &done.plan, None))
    })
}

/// What would become of the model.
fn planned(
    source: &Path,
    options: QuantizeOptions,
    size: Option<SizeTarget>,
    progress: Progress<'_>,
) -> Result<Answer, QuantizeError> {
    let model = GgufModel::open(source)?;
    let options = match size {
        Some(size) => fit_options(&model, options, size, progress)?.0,
        None => options,
    };
    let plan = plan(&model, &options)?;
    let refusal = plan.check(&options).err().map(|error| error.to_string());
    Ok(answer(Vec::new(), &plan, refusal))
}

/// Every file type: name, number, bits of a weight of its default, and what it is; other names have that of the type they stand for.
#[pyfunction]
pub(crate) fn gguf_file_types() -> Vec<(&'static str, Option<u32>, f64, String)> {
    let plain = FileType::ALL
        .iter()
        .map(|kind| (kind.name(), Some(kind.id()), kind.bits_per_weight(), kind.note().to_owned()));
    let aliases = FileType::ALIASES.iter().map(|(name, kind)| {
        (*name, Some(kind.id()), kind.bits_per_weight(), format!("another name of {kind}"))
    });
    let copy = ("COPY", None, 0.0, "the same types as before; for metadata, parts and layers".to_owned());
    plain.chain(aliases).chain([copy]).collect()
}

fn options(target: Target, arguments: Arguments<'_>) -> PyResult<QuantizeOptions> {
    let kind = |name: Option<String>| name.map(|name| tensor_type(&name)).transpose().map_err(value_error);
    let rules: Result<Vec<_>, QuantizeError> = arguments
        .tensor_types
        .iter()
        .map(|(pattern, kind)| TensorRule::new(pattern, tensor_type(kind)?))
        .collect();
    let mut options = QuantizeOptions::new(target)
        .with_pure(arguments.pure)
        .with_rules(rules.map_err(value_error)?)
        .with_requantizing(arguments.allow_requantize)
        .with_threads(arguments.threads);
    options.leaves_output = arguments.leave_output_tensor;
    options.output_type = kind(arguments.output_tensor_type)?;
    options.embedding_type = kind(arguments.token_embedding_type)?;
    options.keeps_split = arguments.keep_split;
    options.overrides = overrides(&arguments.metadata_overrides)?
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                MetadataOverride::Int(value) => OwnedValue::I64(value),
                MetadataOverride::Float(value) => OwnedValue::F64(value),
                MetadataOverride::Bool(value) => OwnedValue::Bool(value),
                MetadataOverride::Str(text) => OwnedValue::String(text.into_bytes()),
            };
            (key, value)
        })
        .collect();
    options.pruned_layers = arguments.prune_layers;
    if let Some(bytes) = arguments.max_buffer_bytes {
        options.buffer_bytes = options.buffer_bytes.min(bytes);
    }
    Ok(options)
}

fn with_imatrix(
    options: QuantizeOptions,
    path: &Path,
    include: &[String],
    exclude: &[String],
) -> Result<QuantizeOptions, QuantizeError> {
    let mut imatrix = Imatrix::open(path)?;
    let has_any = |name: &str, parts: &[String]| parts.iter().any(|part| name.contains(part));
    imatrix.retain(|name| (include.is_empty() || has_any(name, include)) && !has_any(name, exclude));
    Ok(options.with_imatrix(imatrix, &path.to_string_lossy()))
}

fn answer(paths: Vec<PathBuf>, plan: &Plan, refusal: Option<String>) -> Answer {
    let rows = plan
        .tensors
        .iter()
        .map(|tensor| {
            let shape = tensor.shape.dims().to_vec();
            let (from, to) = (tensor.from.name(), tensor.to.name());
            (
                tensor.name.clone(),
                shape,
                from,
                to,
                tensor.reason.to_string(),
                tensor.bytes_before,
                tensor.bytes_after,
            )
        })
        .collect();
    (paths, plan.file_type, rows, refusal)
}
