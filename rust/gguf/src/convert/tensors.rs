//! All tensors of a model, from checkpoint to writer.

use std::collections::BTreeSet;

use crate::text::shown;

use super::architecture::{Architecture, Family, class, is_bare};
use super::checkpoint::{Checkpoint, Kind, SourceTensor};
use super::encode::widen;
use super::error::ConvertError;
use super::hyperparameters::{BLOCK_COUNT, HEADS, KV_HEADS};
use super::json::Object;
use super::tensor_plan::{Edit, TensorPlan};

/// Buffers that are recomputed when the model runs.
const COMPUTED: [&str; 3] = [".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];

/// Plans every tensor of `checkpoint`; `n_vocab` is the number of tokens of the vocabulary.
pub(super) fn plan(
    architecture: &Architecture,
    config: &Object,
    checkpoint: &Checkpoint,
    n_vocab: usize,
) -> Result<Vec<TensorPlan>, ConvertError> {
    let n_blocks = config.need_count(BLOCK_COUNT)?;
    let heads = config.need_count(HEADS)? as usize;
    let kv_heads = config.count(KV_HEADS)?.map_or(heads, |heads| heads as usize);
    let is_bare = is_bare(&class(config)?);
    let is_packed = packing(config)?;
    let mut plans = Vec::new();
    for (source_name, source) in &checkpoint.tensors {
        let name = canonical(architecture, source_name, is_bare);
        let is_unused = COMPUTED.iter().any(|end| name.ends_with(end))
            || architecture.unused.iter().any(|start| name.starts_with(start))
            || (is_packed && name.ends_with(".weight_scale"));
        if is_unused {
            continue;
        }
        let Some(gguf_name) = architecture.tensor_name(&name, n_blocks) else {
            let (source_name, of) = (shown(source_name.as_bytes()), architecture.name);
            let problem = format!(
                "tensor `{source_name}` has no place in architecture `{of}` with `{n_blocks}` blocks"
            );
            return Err(ConvertError::source(&source.path, problem));
        };
        let permuted_heads = permuted_heads(architecture.family, &name, heads, kv_heads);
        let trims = architecture.family == Family::Gemma3 && gguf_name == "token_embd.weight";
        let plan = TensorPlan {
            edit: edit(architecture, &gguf_name, &name, source, checkpoint, source_name)?,
            name: gguf_name,
            source_name: source_name.clone(),
            source: source.clone(),
            permuted_heads,
            max_rows: (trims && source.shape.first().is_some_and(|rows| *rows > n_vocab)).then_some(n_vocab),
        };
        plan.check()?;
        plans.push(plan);
    }
    check_rows(&plans, n_vocab)?;
    check_blocks(&plans, config, n_blocks)?;
    Ok(plans)
}

/// Checks that tables with a row for each token have as many rows as the vocabulary has tokens (`llama_model_base::load_tensors` in
/// `src/llama-model.cpp`).
fn check_rows(plans: &[TensorPlan], n_vocab: usize) -> Result<(), ConvertError> {
    for plan in
        plans.iter().filter(|plan| matches!(plan.name.as_str(), "token_embd.weight" | "output.weight"))
    {
        let rows = plan.dims().last().copied().unwrap_or_default();
        if rows != n_vocab as u64 {
            let name = shown(plan.source_name.as_bytes());
            let problem = format!(
                "tensor `{name}` has `{rows}` rows, but the vocabulary has `{n_vocab}` tokens; correct `vocab_size`, the tokenizer, or resize the embeddings"
            );
            return Err(ConvertError::source(&plan.source.path, problem));
        }
    }
    Ok(())
}

/// Checks that all blocks have the same tensors: llama.cpp loads no model that lacks one of them.
fn check_blocks(plans: &[TensorPlan], config: &Object, n_blocks: u32) -> Result<(), ConvertError> {
    let names: BTreeSet<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    let fail = |name: &str| {
        Err(ConvertError::source(config.path(), format!("the model has no tensor for `{name}`")))
    };
    let kinds: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("blk.")?.split_once('.'))
        .map(|(_, kind)| kind)
        .collect();
    for block in 0..n_blocks {
        for kind in &kinds {
            let name = format!("blk.{block}.{kind}");
            if !names.contains(name.as_str()) {
                return fail(&name);
            }
        }
    }
    Ok(())
}

/// The number of heads whose rows GGUF orders differently in the tensor called `name`; `None` if it keeps the order.
pub(crate) fn permuted_heads(family: Family, name: &str, heads: usize, kv_heads: usize) -> Option<usize> {
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    match family {
        Family::Llama if stem.ends_with("q_proj") => Some(heads),
        Family::Llama if stem.ends_with("k_proj") => Some(kv_heads),
        _ => None,
    }
}

/// `name` as the family's text-only model with a head calls it.
pub(crate) fn canonical(architecture: &Architecture, name: &str, is_bare: bool) -> String {
    let mut name = name.replace("language_model.", "");
    if is_bare {
        name = format!("model.{name}");
    }
    if architecture.family == Family::Bert {
        name = name.strip_prefix("bert.").unwrap_or(&name).to_owned();
        // Names of the first BERT models, which came from TensorFlow.
        if let Some(stem) = name.strip_suffix(".gamma") {
            name = format!("{stem}.weight");
        } else if let Some(stem) = name.strip_suffix(".beta") {
            name = format!("{stem}.bias");
        }
    }
    name
}

/// True if the checkpoint's matrices are packed ternary weights; other quantizations are refused.
fn packing(config: &Object) -> Result<bool, ConvertError> {
    let Some(quantization) = config.child("quantization_config") else { return Ok(false) };
    match quantization.text("quant_method") {
        None => Ok(false),
        Some("bitnet") => Ok(true),
        Some(method) => Err(ConvertError::source(
            config.path(),
            format!(
                "key `quantization_config` has method `{method}`; only `bitnet` can be unpacked, use the original model"
            ),
        )),
    }
}

fn edit(
    architecture: &Architecture,
    gguf_name: &str,
    name: &str,
    source: &SourceTensor,
    checkpoint: &Checkpoint,
    source_name: &str,
) -> Result<Edit, ConvertError> {
    if source.kind == Kind::U8 {
        let scale_name = format!("{source_name}_scale");
        let scale = checkpoint.get(&scale_name).and_then(|tensor| {
            let mut values = Vec::new();
            widen(tensor.kind, &tensor.bytes, &mut values);
            <[f32; 1]>::try_from(values).ok()
        });
        return match scale {
            Some([scale]) if scale.is_normal() => Ok(Edit::Unpack { scale }),
            _ => Err(ConvertError::source(
                &source.path,
                format!(
                    "tensor `{}` must hold one number that is not 0 or infinite",
                    shown(scale_name.as_bytes())
                ),
            )),
        };
    }
    let is_gemma = matches!(architecture.family, Family::Gemma2 | Family::Gemma3);
    if is_gemma && name.ends_with("norm.weight") {
        return Ok(Edit::AddOne);
    }
    let stem = gguf_name.strip_suffix(".weight").and_then(|stem| stem.rsplit('.').next()).unwrap_or_default();
    let is_ternary =
        matches!(stem, "attn_q" | "attn_k" | "attn_v" | "attn_output" | "ffn_up" | "ffn_down" | "ffn_gate");
    Ok(if architecture.family == Family::BitNet && is_ternary { Edit::Ternarize } else { Edit::Nothing })
}
