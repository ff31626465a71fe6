//! Carries out a plan: writes the quantized model.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::convert::bitnet_file::{self, Rewritten};
use crate::error::{GgufError, Subject};
use crate::ggml_type::GgmlType;
use crate::input::Inputs;
use crate::model::GgufModel;
use crate::progress::Progress;
use crate::split::part_path;
use crate::threads::Crew;
use crate::writer::GgufWriter;

use super::error::QuantizeError;
use super::fit::fit_options;
use super::options::QuantizeOptions;
use super::plan::{Plan, PlannedTensor, plan};
use super::records::{self, add_tensor};
use super::rows::{Rows, Workshop};
use super::target_size::SizeTarget;

/// What was quantized.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quantized {
    /// What became of every tensor.
    pub plan: Plan,
    /// The files written: one, or with `keeps_split` one for each part.
    pub paths: Vec<PathBuf>,
}

/// Quantizes the model of which `source` is the file or any part, and writes it at `out`, which appears whole or not at all.
///
/// The bytes are those that llama.cpp's quantizer writes, except where that writes a broken file (it ignores `general.alignment`, and cuts strings at
/// a NUL); this file is whole. Parts become one file, unless they are to be kept: then `out` is the beginning of their names. Memory holds the
/// metadata and some rows of one tensor. `progress` gets the bytes of tensors written.
///
/// ```no_run
/// use tabagent_gguf::{FileType, QuantizeOptions, Target, no_progress, quantize_file};
/// # fn main() -> Result<(), tabagent_gguf::QuantizeError> {
/// let options = QuantizeOptions::new(Target::FileType(FileType::Q4_K_M));
/// let done = quantize_file("model-f16.gguf".as_ref(), "model-q4.gguf".as_ref(), &options, &no_progress)?;
/// println!("{} bytes of tensors", done.plan.bytes_after());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`plan`] and [`GgufModel::open`]; [`QuantizeError::SameFile`], [`QuantizeError::Requantized`], [`QuantizeError::ImatrixMissing`],
/// [`QuantizeError::Data`], [`GgufError::Unwritable`] for an importance matrix of another model,
/// [`GgufError::Cancelled`](crate::GgufError::Cancelled) where `progress` returns false.
pub fn quantize_file(
    source: &Path,
    out: &Path,
    options: &QuantizeOptions,
    progress: Progress<'_>,
) -> Result<Quantized, QuantizeError> {
    let model = GgufModel::open(source)?;
    quantize_model(&model, out, options, progress)
}

/// [`quantize_file`] to a file of a given size, with the types by which tensors lose least ([`fit_options`](super::fit_options)).
///
/// `progress` gets the bytes measured and written so far, and the total of both.
///
/// # Errors
/// As [`quantize_file`] and [`fit_options`](super::fit_options).
pub fn quantize_file_to_size(
    source: &Path,
    out: &Path,
    options: QuantizeOptions,
    size: SizeTarget,
    progress: Progress<'_>,
) -> Result<Quantized, QuantizeError> {
    let model = GgufModel::open(source)?;
    inputs(&model, out, &options)?;
    // The size of the result is unknown until everything is measured; until then the model's own size stands in for it.
    let (measured, written) = (AtomicU64::new(0), model.file_size());
    let measuring = |done: u64, total: u64| {
        measured.store(total, Ordering::Relaxed);
        progress(done, total.saturating_add(written))
    };
    let (options, _) = fit_options(&model, options, size, &measuring)?;
    let before = measured.load(Ordering::Relaxed);
    let writing = |done: u64, total: u64| progress(before.saturating_add(done), before.saturating_add(total));
    quantize_model(&model, out, &options, &writing)
}

/// The files that are read. Refuses results that would replace one of them, before anything is measured.
fn inputs(model: &GgufModel, out: &Path, options: &QuantizeOptions) -> Result<Inputs, QuantizeError> {
    let mut inputs = model.inputs();
    let results = result_paths(model, out, options);
    if let Some(path) = results.iter().find(|path| inputs.refuse(path).is_err()) {
        return Err(QuantizeError::SameFile { path: path.clone() });
    }
    if let Some(imatrix) = &options.imatrix {
        inputs.extend(imatrix.inputs());
    }
    results.iter().try_for_each(|path| inputs.refuse(path))?;
    Ok(inputs)
}

/// As [`quantize_file`] for a model that is open already.
///
/// # Errors
/// As [`quantize_file`].
pub fn quantize_model(
    model: &GgufModel,
    out: &Path,
    options: &QuantizeOptions,
    progress: Progress<'_>,
) -> Result<Quantized, QuantizeError> {
    let inputs = inputs(model, out, options)?;
    let plan = plan(model, options)?;
    plan.check(options)?;
    let workshop = workshop(options);
    let mut writer = records::writer(model.first(), &plan, options)?.with_inputs(&inputs);
    let mut counts = vec![0; model.parts().len()];
    let repacking = bitnet_file::Failure::default();
    for tensor in &plan.tensors {
        if let Some(count) = counts.get_mut(tensor.part) {
            *count += if repacks(model, tensor) { 2 } else { 1 };
        }
        if repacks(model, tensor) {
            writer = add_repacked(writer, model, tensor, &repacking)?;
            continue;
        }
        if tensor.from == GgmlType::I2_S && tensor.is_quantized() {
            return Err(QuantizeError::ForkType { tensor: shown(&tensor.source_name) });
        }
        let rows = rows(model, tensor, options)?;
        let for_rows = workshop.clone();
        writer = add_tensor(writer, tensor, move |out| rows.write(&for_rows, out));
    }
    let paths = result_paths(model, out, options);
    let written = write(&writer, &counts, &paths, progress);
    if let Some(problem) = repacking.take() {
        return Err(unwritable(problem));
    }
    let failure = workshop.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (written, failure) {
        (Ok(()), _) => Ok(Quantized { plan, paths }),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(error.into()),
    }
}

/// True for ternary weights with one scale that keep both exactly: the weights in `TQ2_0` or `Q4_0`, the scale in a tensor that llama.cpp multiplies with.
fn repacks(model: &GgufModel, tensor: &PlannedTensor) -> bool {
    tensor.from == GgmlType::I2_S
        && tensor.is_quantized()
        && model.first().architecture().is_some_and(bitnet_file::multiplies_scales)
        && bitnet_file::scale_name(&tensor.name).is_some()
}

/// Adds such a tensor, and its scale.
fn add_repacked(
    writer: GgufWriter,
    model: &GgufModel,
    tensor: &PlannedTensor,
    failure: &bitnet_file::Failure,
) -> Result<GgufWriter, QuantizeError> {
    let found = model.tensor(&tensor.source_name).ok_or_else(|| records::lost(&tensor.source_name))?;
    let made = Rewritten::of(found.file, found.info, failure).map_err(unwritable)?;
    let scale_name = bitnet_file::scale_name(&tensor.name).unwrap_or(made.scale_name);
    let writer = writer.add_tensor(&tensor.name, made.ggml_type, tensor.shape.dims(), made.weights);
    Ok(bitnet_file::add_scale(writer, &scale_name, made.scale))
}

fn unwritable(problem: String) -> QuantizeError {
    QuantizeError::Gguf(GgufError::Unwritable { subject: Subject::Header, problem })
}

/// Writes one file, or the parts, with so many tensors each.
fn write(
    writer: &GgufWriter,
    counts: &[usize],
    paths: &[PathBuf],
    progress: Progress<'_>,
) -> Result<(), GgufError> {
    if let [only] = paths {
        return writer.write_with(only, progress);
    }
    writer.write_counted_parts(paths, counts, progress)
}

/// The files that will be written.
fn result_paths(model: &GgufModel, out: &Path, options: &QuantizeOptions) -> Vec<PathBuf> {
    if !options.keeps_split {
        return vec![out.to_owned()];
    }
    let is_named = out.extension().is_some_and(|extension| extension == "gguf");
    let prefix = if is_named { out.with_extension("") } else { out.to_owned() };
    let count = u32::try_from(model.parts().len()).unwrap_or(u32::MAX);
    (1..=count).map(|number| part_path(&prefix, number, count)).collect()
}

fn workshop(options: &QuantizeOptions) -> Workshop {
    let buffer_bytes = usize::try_from(options.buffer_bytes).unwrap_or(usize::MAX);
    Workshop { crew: Arc::new(Crew::new(options.threads)), failure: Arc::new(Mutex::new(None)), buffer_bytes }
}

/// The work on one tensor.
fn rows(model: &GgufModel, tensor: &PlannedTensor, options: &QuantizeOptions) -> Result<Rows, QuantizeError> {
    let found = model.tensor(&tensor.source_name).ok_or_else(|| records::lost(&tensor.source_name))?;
    let mut importances = None;
    if let (Some(imatrix), true) = (&options.imatrix, tensor.is_quantized())
        && imatrix.importances_for(found.info)?.is_some()
    {
        importances = Some((Arc::clone(imatrix), tensor.source_name.clone()));
    }
    if importances.is_none() && tensor.is_quantized() && crate::quants::needs_imatrix(tensor.to) {
        return Err(QuantizeError::ImatrixMissing { tensor: shown(&tensor.source_name), to: tensor.to });
    }
    Ok(Rows {
        name: shown(&tensor.source_name),
        data: found.file.shared_data(found.info),
        from: tensor.from,
        to: tensor.to,
        row_len: tensor.shape.row_len() as usize,
        rows_an_expert: tensor.shape.dim(1).max(1) as usize,
        importances,
    })
}

fn shown(name: &str) -> String {
    crate::text::shown(name.as_bytes())
}
