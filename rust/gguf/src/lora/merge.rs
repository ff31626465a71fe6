//! Merging adapters into a model.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use crate::ggml_type::GgmlType;
use crate::imatrix::Imatrix;
use crate::input::Inputs;
use crate::model::{GgufModel, ModelTensor};
use crate::progress::{Progress, go_on};
use crate::quants;
use crate::reader::ByteOrder;
use crate::threads::with_threads;
use crate::writer::{GgufWriter, TensorData};

use super::adapter::Adapter;
use super::error::LoraError;
use super::opening;
use super::out_type::MergeType;
use super::peft_config::CONFIG;
use super::tensor::{ChangedTensor, Failure};

/// Keys in which a merged model says what was merged: names of adapters, and their scales.
const NAMES: &str = "tabagent.lora.names";
const SCALES: &str = "tabagent.lora.scales";

/// How adapters are merged.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct LoraOptions {
    /// The type of the tensors that change.
    pub out_type: MergeType,
    /// Importances for quantizing the changed tensors again.
    pub imatrix: Option<Arc<Imatrix>>,
    /// How many threads compute; `None` for all of the current `rayon` pool.
    pub threads: Option<NonZeroUsize>,
}

impl LoraOptions {
    /// Sets the type of the tensors that change.
    #[must_use]
    pub fn with_out_type(mut self, out_type: MergeType) -> Self {
        self.out_type = out_type;
        self
    }

    /// Sets the importances for quantizing the changed tensors again.
    #[must_use]
    pub fn with_imatrix(mut self, imatrix: Option<Arc<Imatrix>>) -> Self {
        self.imatrix = imatrix;
        self
    }

    /// Sets how many threads compute.
    #[must_use]
    pub fn with_threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }
}

/// What was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// How many tensors the model has.
    pub n_tensors: usize,
    /// How many of them changed.
    pub n_changed: usize,
    /// Tensors of the adapters that were passed over, as llama.cpp does: those of norms and of parts that it does not use.
    pub ignored: Vec<String>,
}

/// Merges adapters, each with its scale, into the model at `base` (of a split model any part), and writes the result as the file `out`,
/// which appears whole or not at all.
///
/// An adapter is a GGUF file of type `lora`, or a folder (or the safetensors file in it) that the `peft` library wrote. Each changed tensor
/// becomes `W + Σ scale · strength · B · A`: it is decoded to F32, changed, and packed again as [`LoraOptions::out_type`] says. The strength
/// is alpha divided by the rank, or by its root where a `peft` configuration says so; a GGUF adapter without an alpha has 1.
///
/// All other tensors and all metadata stay as they are. The keys `tabagent.lora.names` and `tabagent.lora.scales` list what was merged.
/// Memory holds the adapters' matrices for one tensor, and a piece of that tensor. `progress` gets the bytes of tensors written.
///
/// ```no_run
/// use tabagent_gguf::{LoraOptions, MergeType, merge_lora, no_progress};
/// # fn main() -> Result<(), tabagent_gguf::LoraError> {
/// let options = LoraOptions::default().with_out_type(MergeType::F16);
/// let adapters = [("style.gguf".into(), 1.0), ("peft/facts".into(), 0.5)];
/// merge_lora("model.gguf".as_ref(), &adapters, "merged.gguf".as_ref(), &options, &no_progress)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`LoraError::Read`] where an adapter cannot be read, [`LoraError::Adapter`] for one that breaks a rule or belongs to another model,
/// [`LoraError::Model`] where the result cannot be stored as asked, [`LoraError::NoAdapter`], [`LoraError::Scale`],
/// [`LoraError::Gguf`] where a file breaks a rule, writing fails, or `progress` says stop.
pub fn merge_lora(
    base: &Path,
    adapters: &[(PathBuf, f64)],
    out: &Path,
    options: &LoraOptions,
    progress: Progress<'_>,
) -> Result<Merged, LoraError> {
    with_threads(options.threads, || merge(base, adapters, out, options, progress))
}

fn merge(
    base: &Path,
    adapters: &[(PathBuf, f64)],
    out: &Path,
    options: &LoraOptions,
    progress: Progress<'_>,
) -> Result<Merged, LoraError> {
    if adapters.is_empty() {
        return Err(LoraError::NoAdapter);
    }
    if let Some((path, scale)) = adapters.iter().find(|(_, scale)| !(*scale as f32).is_finite()) {
        return Err(LoraError::Scale { path: path.clone(), scale: *scale });
    }
    let model = GgufModel::open(base)?;
    let mut inputs = model.inputs();
    if let Some(imatrix) = &options.imatrix {
        inputs.extend(imatrix.inputs());
    }
    for (path, _) in adapters {
        add_adapter(&mut inputs, path);
    }
    inputs.refuse(out)?;
    let opened: Vec<(Adapter, f64)> = adapters
        .iter()
        .map(|(path, scale)| {
            go_on(progress)?;
            Ok((opening::open_to_merge(path, &model)?, *scale))
        })
        .collect::<Result<_, LoraError>>()?;
    let failure = Failure::default();
    let writer = GgufWriter::of_model(&model).without_tensors().with_inputs(&inputs);
    let mut writer = noted(writer, &model, &opened, options.out_type);
    let mut n_changed = 0;
    for tensor in model.tensors() {
        let ModelTensor { file, info } = tensor;
        let dims = info.shape.dims();
        if let Some(changed) = changed(&tensor, &opened, options, &failure)? {
            n_changed += 1;
            let (kind, n_bytes) = (changed.kind, changed.n_bytes().unwrap_or_default());
            writer = writer.add_tensor(
                &info.name,
                kind,
                dims,
                TensorData::made(n_bytes, move |out| changed.emit(out)),
            );
        } else {
            let data = TensorData::Shared(file.shared_data(info), file.byte_order());
            writer = writer.add_tensor(&info.name, info.ggml_type, dims, data);
        }
    }
    let written = writer.write_with(out, progress);
    if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    written?;
    let ignored: BTreeSet<String> = opened.into_iter().flat_map(|(adapter, _)| adapter.ignored).collect();
    Ok(Merged { n_tensors: model.n_tensors(), n_changed, ignored: ignored.into_iter().collect() })
}

/// The files of the adapter at `path`: a GGUF file, a folder, or a safetensors file beside its configuration.
fn add_adapter(inputs: &mut Inputs, path: &Path) {
    inputs.add_path(path);
    if path.extension().is_some_and(|end| end == "safetensors") {
        inputs.add_path(&path.with_file_name(CONFIG));
    }
}

/// The plan for `tensor`; `None` if no adapter changes it.
fn changed(
    tensor: &ModelTensor<'_>,
    adapters: &[(Adapter, f64)],
    options: &LoraOptions,
    failure: &Failure,
) -> Result<Option<ChangedTensor>, LoraError> {
    let ModelTensor { file, info } = tensor;
    let changes: Vec<_> = adapters
        .iter()
        .filter_map(|(adapter, scale)| Some((adapter.changes.get(&info.name)?.clone(), *scale)))
        .collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let (name, from) = (&info.name, info.ggml_type);
    let fail = |problem: String| Err(LoraError::model(file.file_name(), problem));
    if file.byte_order() != ByteOrder::Little {
        return fail("it is big-endian; use the little-endian file".to_owned());
    }
    if !quants::can_quantize(from) && from != GgmlType::F64 {
        let how = if from == GgmlType::I2_S {
            "rewrite the file with `tabagent convert` first"
        } else {
            "no adapter can change it"
        };
        return fail(format!("tensor `{name}` has type `{from}`; {how}"));
    }
    let kind = options.out_type.choose(from, info.shape.row_len());
    if !quants::can_quantize(kind) {
        return fail(format!(
            "tensor `{name}` has type `{from}`, which cannot be packed again; choose output type `f32`"
        ));
    }
    let importances = match &options.imatrix {
        Some(imatrix) if !kind.is_float() => imatrix.importances_for(info)?.map(<[f32]>::to_vec),
        _ => None,
    };
    if importances.is_none() && quants::needs_imatrix(kind) {
        return fail(format!(
            "tensor `{name}` has type `{kind}`, which needs an importance matrix to be packed again; give one, or choose output type `f16`"
        ));
    }
    Ok(Some(ChangedTensor {
        info: (*info).clone(),
        bytes: file.shared_data(info),
        kind,
        importances,
        changes,
        model: file.file_name().to_owned(),
        failure: Arc::clone(failure),
    }))
}

/// The metadata with the merged adapters added to those of earlier merges.
fn noted(
    writer: GgufWriter,
    model: &GgufModel,
    adapters: &[(Adapter, f64)],
    out_type: MergeType,
) -> GgufWriter {
    let (mut names, mut scales) = (Vec::new(), Vec::new());
    let array = |key: &str| model.metadata().get(key).and_then(|value| value.as_array());
    if let (Some(old_names), Some(old_scales)) = (array(NAMES), array(SCALES))
        && let Some(texts) = old_names.strings()
        && old_names.len() == old_scales.len()
    {
        names.extend(texts.map(|text| text.to_string_lossy().into_owned()));
        scales.extend(old_scales.iter().map(|value| value.as_f64().unwrap_or_default() as f32));
    }
    for (adapter, scale) in adapters {
        names.push(adapter.name.clone());
        scales.push(*scale as f32);
    }
    let writer = writer.set(NAMES, names).set(SCALES, scales);
    match out_type.file_type() {
        Some(kind) => writer.set("general.file_type", kind.id()),
        None => writer,
    }
}
