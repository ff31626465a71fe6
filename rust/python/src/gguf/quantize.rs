//! Quantizes whole models.

use super::watch;
use crate::arguments::overrides;
use crate::errors::value_error;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use tabagent_gguf::{
    FileType, GgufModel, Imatrix, Plan, Progress, QuantizeError, QuantizeOptions, Reason, SizeTarget, Target,
    TensorRule, fit_options, plan, quantize_file, quantize_file_to_size, tensor_type,
};

/// A tensor: name, shape in GGUF's order, types before and after, why, whether its rows do not fit the type's blocks, bytes before and after.
type Row = (String, Vec<u64>, &'static str, &'static str, String, bool, u64, u64);

/// Paths written, the number of the file type, the tensors, and for a dry run why the model would be refused.
type Answer = (Vec<PathBuf>, u32, Vec<Row>, Option<String>);

/// Quantizes the model at `source`, or without `destination` tells what it would become.
#[pyfunction]
pub(crate) fn gguf_quantize_model(
    py: Python<'_>,
    source: PathBuf,
    destination: Option<PathBuf>,
    kind: Option<&str>,
    arguments: &Bound<'_, PyDict>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    // With a target size the type is ignored.
    let target: Target = kind.unwrap_or("Q8_0").parse().map_err(value_error)?;
    let (options, size, importances) =
        (options(target, arguments)?, size(arguments)?, Importances::of(arguments)?);
    watch::write(py, progress.as_ref(), move |progress| {
        let options = match importances {
            Some(importances) => importances.read(options)?,
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

/// What the model would become.
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

/// The name of the file type with llama.cpp's number `number`.
#[pyfunction]
pub(crate) fn gguf_file_type_name(number: u32) -> Option<&'static str> {
    FileType::name_of(number)
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

/// An argument of Python's `quantize_model` by its name.
fn argument<'py, T: FromPyObjectOwned<'py>>(arguments: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    arguments.as_any().get_item(name)?.extract().map_err(Into::into)
}

/// The options of the quantizer.
fn options(target: Target, arguments: &Bound<'_, PyDict>) -> PyResult<QuantizeOptions> {
    let kind = |name| -> PyResult<_> {
        let text: Option<String> = argument(arguments, name)?;
        text.map(|text| tensor_type(&text)).transpose().map_err(value_error)
    };
    let mut options = QuantizeOptions::new(target);
    options.is_pure = argument(arguments, "pure")?;
    options.leaves_output = argument(arguments, "leave_output_tensor")?;
    options.output_type = kind("output_tensor_type")?;
    options.embedding_type = kind("token_embedding_type")?;
    for (pattern, kind) in argument::<Vec<(String, String)>>(arguments, "tensor_types")? {
        let rule = tensor_type(&kind).and_then(|kind| TensorRule::new(&pattern, kind));
        options.rules.push(rule.map_err(value_error)?);
    }
    options.allows_requantizing = argument(arguments, "allow_requantize")?;
    options.keeps_split = argument(arguments, "keep_split")?;
    let values: Bound<'_, PyDict> = argument(arguments, "metadata_overrides")?;
    options.overrides = overrides(&values)?.into_iter().map(|(key, value)| (key, value.into())).collect();
    options.pruned_layers = argument(arguments, "prune_layers")?;
    options.threads = argument(arguments, "threads")?;
    if let Some(bytes) = argument::<Option<u64>>(arguments, "max_buffer_bytes")? {
        options.buffer_bytes = options.buffer_bytes.min(bytes);
    }
    Ok(options)
}

/// The size that the file should have, if one is given in place of a type.
fn size(arguments: &Bound<'_, PyDict>) -> PyResult<Option<SizeTarget>> {
    if let Some(text) = argument::<Option<String>>(arguments, "target_size")? {
        return text.parse().map(Some).map_err(value_error);
    }
    Ok(argument::<Option<f64>>(arguments, "target_bits_per_weight")?.map(SizeTarget::BitsPerWeight))
}

/// An importance matrix that is still to be read, and the tensors that it applies to.
struct Importances {
    path: PathBuf,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Importances {
    fn of(arguments: &Bound<'_, PyDict>) -> PyResult<Option<Self>> {
        let Some(path) = argument(arguments, "imatrix")? else { return Ok(None) };
        let include = argument(arguments, "include_weights")?;
        let exclude = argument(arguments, "exclude_weights")?;
        Ok(Some(Self { path, include, exclude }))
    }

    fn read(&self, options: QuantizeOptions) -> Result<QuantizeOptions, QuantizeError> {
        let mut imatrix = Imatrix::open(&self.path)?;
        let has_any = |name: &str, parts: &[String]| parts.iter().any(|part| name.contains(part));
        imatrix.retain(|name| {
            (self.include.is_empty() || has_any(name, &self.include)) && !has_any(name, &self.exclude)
        });
        Ok(options.with_imatrix(imatrix, &self.path.to_string_lossy()))
    }
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
                matches!(tensor.reason, Reason::Fallback(_)),
                tensor.bytes_before,
                tensor.bytes_after,
            )
        })
        .collect();
    (paths, plan.file_type, rows, refusal)
}
