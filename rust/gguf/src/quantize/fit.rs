//! A type for every tensor, chosen so that the file has a given size.

use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::model::GgufModel;
use crate::parser::DEFAULT_ALIGNMENT;
use crate::progress::Progress;
use crate::threads::Crew;
use crate::writer::GgufWriter;

use super::error::QuantizeError;
use super::options::{QuantizeOptions, Target};
use super::plan::{Plan, PlannedTensor, Reason, plan};
use super::records::{self, add_tensor};
use super::target_size::{CandidateTensor, Mix, SizeTarget, candidate_types, choose_types, measure_types};

/// Returns `options` with a type for each tensor of `model`, such that the file is no larger than `size` and its tensors lose least.
///
/// Every tensor's error is measured by quantizing some of its rows to each type in question. What the options ask for single tensors (rules, types of
/// output and embeddings) is kept; their target is ignored. `progress` gets the bytes measured.
///
/// ```no_run
/// use tabagent_gguf::{
///     FileType, GgufModel, QuantizeOptions, SizeTarget, Target, fit_options, no_progress, quantize_model,
/// };
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = GgufModel::open("model-f16.gguf".as_ref())?;
/// let options = QuantizeOptions::new(Target::FileType(FileType::Q8_0));
/// let (options, mix) = fit_options(&model, options, "90MB".parse()?, &no_progress)?;
/// let done = quantize_model(&model, "model-90mb.gguf".as_ref(), &options, &no_progress)?;
/// assert_eq!(std::fs::metadata(&done.paths[0])?.len(), mix.file_bytes);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`plan`]; [`QuantizeError::TargetSize`] where no choice is small enough, [`QuantizeError::Requantized`] for tensors that are
/// quantized already, [`QuantizeError::SplitSize`] for options that keep parts;
/// [`GgufError::Cancelled`](crate::GgufError::Cancelled).
pub fn fit_options(
    model: &GgufModel,
    mut options: QuantizeOptions,
    size: SizeTarget,
    progress: Progress<'_>,
) -> Result<(QuantizeOptions, Mix), QuantizeError> {
    if options.keeps_split {
        return Err(QuantizeError::SplitSize);
    }
    // In a pure plan, a type other than the default is one that the options ask for.
    let is_pure = std::mem::replace(&mut options.is_pure, true);
    options.target = Target::FileType(FileType::Q8_0);
    let fixed = plan(model, &options)?;
    options.is_pure = is_pure;
    let candidates: Result<Vec<_>, _> =
        fixed.tensors.iter().map(|tensor| candidate(model, tensor, &options)).collect();
    let candidates = candidates?;
    let measured = Crew::new(options.threads).install(|| measure_types(&candidates, progress))?;
    let writer = heads(model, &fixed, &options)?;
    let alignment = model.first().metadata().get("general.alignment").and_then(|value| value.as_u64());
    let mix =
        choose_types(&measured, size, writer.head()?.len() as u64, alignment.unwrap_or(DEFAULT_ALIGNMENT))?;
    options.target = Target::Chosen(mix.types.clone());
    Ok((options, mix))
}

/// The types that a tensor may get.
fn candidate<'a>(
    model: &'a GgufModel,
    planned: &PlannedTensor,
    options: &'a QuantizeOptions,
) -> Result<CandidateTensor<'a>, QuantizeError> {
    let tensor = model.tensor(&planned.source_name).ok_or_else(|| records::lost(&planned.source_name))?;
    let importances = match &options.imatrix {
        Some(imatrix) => imatrix.importances_for(tensor.info)?,
        None => None,
    };
    let is_free = matches!(planned.reason, Reason::Default | Reason::Fallback(GgmlType::Q8_0));
    let types = match is_free {
        true if planned.from.is_float() || options.allows_requantizing => {
            candidate_types(planned.from, planned.shape.row_len(), importances.is_some())
        }
        true => {
            let tensor = crate::text::shown(planned.source_name.as_bytes());
            return Err(QuantizeError::Requantized { tensor, from: planned.from });
        }
        false => vec![planned.to],
    };
    Ok(CandidateTensor { tensor, types, importances })
}

/// A writer whose records are as long as those of the result.
fn heads(model: &GgufModel, plan: &Plan, options: &QuantizeOptions) -> Result<GgufWriter, QuantizeError> {
    let writer = records::writer(model.first(), plan, options)?;
    Ok(plan.tensors.iter().fold(writer, |writer, tensor| add_tensor(writer, tensor, |out| out.flush())))
}
