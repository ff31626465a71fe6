//! How much memory a context may take.
//!
//! llama.cpp allocates the KV cache at once and touches all of it. Linux promises memory that it does not have, so a cache that is
//! too large does not fail: the system kills the process.

use crate::context_config::{ContextConfig, FlashAttention, KvType, Resolved};
use crate::context_error::ContextConfigError;
use crate::model::Model;
use crate::model_facts::ModelFacts;
use std::collections::BTreeMap;

/// Bytes that llama.cpp keeps about each cell: position, its extension, shift and a bit for each of 256 sequences
/// (`llama_kv_cells` in `src/llama-kv-cells.h`).
const CELL_BYTES: u64 = 52;

/// Bytes that grow with the context size: the KV cache, what is kept about its cells, and the masks. Estimated low so that what
/// fits is not refused.
pub(crate) fn context_bytes(
    facts: &ModelFacts,
    metadata: &BTreeMap<String, String>,
    resolved: &Resolved,
    config: &ContextConfig,
) -> u64 {
    if facts.recurrent || facts.heads == 0 {
        return 0;
    }
    let cells = CELL_BYTES.saturating_mul(u64::from(resolved.cells(config)));
    kv_bytes(facts, metadata, resolved, config).saturating_add(cells).saturating_add(mask_bytes(
        facts,
        resolved,
        config.flash_attention,
    ))
}

/// Bytes of a context that gives vectors: what [`context_bytes`] says, where the model has a cache at all, and the outputs. llama.cpp makes room for
/// the logits of each token, too (`llama_context::output_reserve` in `src/llama-context.cpp`).
pub(crate) fn vector_bytes(model: &Model, resolved: &Resolved, config: &ContextConfig) -> u64 {
    let embedding = model.embedding_facts();
    let outputs = (model.vocab().len() as u64).saturating_add(u64::from(embedding.width));
    let outputs = outputs.saturating_mul(4).saturating_mul(u64::from(resolved.n_batch));
    let cached = if embedding.looks_forward {
        // The batch attends to itself.
        mask_bytes(model.facts(), &Resolved { n_ctx: resolved.n_batch, ..*resolved }, config.flash_attention)
    } else {
        context_bytes(model.facts(), model.metadata(), resolved, config)
    };
    outputs.saturating_add(cached)
}

/// Bytes of the KV cache.
///
/// Layers with a sliding window keep only the window. How many there are depends on the architecture; one layer in six, as in Gemma 3, is
/// assumed to keep the whole context.
fn kv_bytes(
    facts: &ModelFacts,
    metadata: &BTreeMap<String, String>,
    resolved: &Resolved,
    config: &ContextConfig,
) -> u64 {
    let compressed = metadata.contains_key(&format!("{}.attention.kv_lora_rank", facts.architecture));
    if facts.hybrid || compressed {
        return 0;
    }
    let head = |key: &str| -> u64 {
        let key = format!("{}.attention.{key}", facts.architecture);
        let stated = metadata.get(&key).and_then(|v| v.parse::<u64>().ok());
        stated.unwrap_or(u64::from(facts.embedding_dim / facts.heads))
    };
    let windowed = facts.sliding_window > 0 && !config.full_sliding_window;
    // Heads of all layers that keep the whole context.
    let heads = heads_of_layers(facts, metadata);
    let heads = if windowed { heads.div_ceil(6) } else { heads };
    let (keys, values) = config.kv_types();
    let bytes = |kind: KvType, length: u64| {
        let numbers = heads.saturating_mul(length).saturating_mul(u64::from(resolved.cells(config)));
        (numbers / 32).saturating_mul(kind.bytes_of_32())
    };
    bytes(keys, head("key_length")).saturating_add(bytes(values, head("value_length")))
}

/// The key-value heads of all layers together. Files whose layers differ have a list of them.
fn heads_of_layers(facts: &ModelFacts, metadata: &BTreeMap<String, String>) -> u64 {
    let stated = metadata.get(&format!("{}.attention.head_count_kv", facts.architecture));
    let list = stated.and_then(|text| text.strip_prefix('[')?.strip_suffix(']'));
    let sum =
        list.map(|list| list.split(',').filter_map(|item| item.trim().parse::<u64>().ok()).sum::<u64>());
    sum.unwrap_or(u64::from(facts.layers).saturating_mul(u64::from(facts.kv_heads)))
}

/// Refuses number formats of the KV cache in which llama.cpp cannot store this model's heads, at all or without fused attention
/// (`llama_init_from_model` in `src/llama-context.cpp`).
pub(crate) fn check_kv_type(
    facts: &ModelFacts,
    metadata: &BTreeMap<String, String>,
    config: &ContextConfig,
) -> Result<(), ContextConfigError> {
    let (keys, values) = config.kv_types();
    let architecture = || facts.architecture.clone();
    let is_latent = metadata.contains_key(&format!("{}.attention.kv_lora_rank", facts.architecture));
    if keys != values && (is_latent || facts.architecture == "deepseek4") {
        let (keys, values) = (keys.name(), values.name());
        return Err(ContextConfigError::KvTypesDiffer { keys, values, architecture: architecture() });
    }
    if values.block().is_some() {
        let kv_type = values.name();
        if config.flash_attention == FlashAttention::Off {
            return Err(ContextConfigError::KvTypeNeedsFlashAttention { kv_type });
        }
        if facts.architecture == "grok" {
            return Err(ContextConfigError::KvTypeWithoutFlashAttention {
                kv_type,
                architecture: architecture(),
            });
        }
    }
    let default = facts.embedding_dim.checked_div(facts.heads);
    for (kind, of, default) in [
        (keys, "key_length", default),
        (values, "value_length", default),
        (keys, "key_length_swa", None),
        (values, "value_length_swa", None),
    ] {
        let Some(block) = kind.block() else { continue };
        let stated = metadata.get(&format!("{}.attention.{of}", facts.architecture));
        let size = stated.and_then(|text| text.parse::<u32>().ok()).or(default);
        if let Some(size) = size.filter(|size| !size.is_multiple_of(block)) {
            return Err(ContextConfigError::KvTypeBlocks { kv_type: kind.name(), block, size });
        }
    }
    Ok(())
}

/// Bytes of the attention mask, which has a number for each cell and token of a micro-batch (`build_attn_inp_kq_mask` in `src/llama-graph.cpp`).
/// Without fused attention also of the scores of one layer, which have such a number for each head.
///
/// `llama_context::graph_reserve` allocates them for the whole context at once; they are touched as it fills.
fn mask_bytes(facts: &ModelFacts, resolved: &Resolved, flash_attention: FlashAttention) -> u64 {
    let bytes = match flash_attention {
        FlashAttention::Off => 4 * (1 + u64::from(facts.heads)),
        FlashAttention::Auto | FlashAttention::On => 2,
    };
    let numbers = u64::from(resolved.n_ctx).saturating_mul(u64::from(resolved.n_ubatch));
    numbers.saturating_mul(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ModelFacts {
        ModelFacts {
            description: String::new(),
            architecture: "llama".to_owned(),
            name: None,
            quantization: String::new(),
            parameters: 0,
            size: 0,
            context_train_size: 2048,
            embedding_dim: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            sliding_window: 0,
            has_encoder: false,
            has_decoder: true,
            recurrent: false,
            hybrid: false,
            layers_on_gpu: 0,
        }
    }

    fn resolved(n_ctx: u32, n_ubatch: u32) -> Resolved {
        Resolved {
            n_ctx,
            n_batch: n_ubatch,
            n_ubatch,
            n_seq_max: 1,
            n_outputs_max: 1,
            n_threads: 1,
            n_threads_batch: 1,
        }
    }

    #[test]
    fn smollm2_takes_what_llama_cpp_reports() {
        let (none, size) = (BTreeMap::new(), resolved(2048, 512));
        let f16 = ContextConfig::new();
        // llama.cpp says "45.00 MiB" for 2,048 cells in F16.
        assert_eq!(kv_bytes(&facts(), &none, &size, &f16), 45 << 20);
        let metadata = BTreeMap::from([("llama.attention.key_length".to_owned(), "128".to_owned())]);
        let f32 = ContextConfig { kv_type: KvType::F32, ..ContextConfig::new() };
        assert_eq!(kv_bytes(&facts(), &metadata, &size, &f32), (3 * 45) << 20);
        let hybrid = ModelFacts { hybrid: true, ..facts() };
        assert_eq!(kv_bytes(&hybrid, &none, &size, &f16), 0);
    }

    #[test]
    fn layers_may_have_different_heads() {
        let size = resolved(2048, 512);
        let metadata = BTreeMap::from([("llama.attention.head_count_kv".to_owned(), "[3, 0, 6]".to_owned())]);
        // 9 heads in place of 90.
        assert_eq!(kv_bytes(&facts(), &metadata, &size, &ContextConfig::new()), (45 << 20) / 10);
    }

    #[test]
    fn kv_types_must_divide_the_heads() {
        let none = BTreeMap::new();
        let q8_0 = ContextConfig { kv_type: KvType::Q8_0, ..ContextConfig::new() };
        assert_eq!(check_kv_type(&facts(), &none, &q8_0), Ok(()));
        let odd = BTreeMap::from([("llama.attention.value_length".to_owned(), "80".to_owned())]);
        let text = check_kv_type(&facts(), &odd, &q8_0).unwrap_err().to_string();
        assert_eq!(
            text,
            "`kv_type` `q8_0` stores blocks of 32 numbers, and this model has heads of 80; take `f16`, `bf16` or `f32`"
        );
        assert_eq!(check_kv_type(&facts(), &odd, &ContextConfig::new()), Ok(()));
        let without = ContextConfig { flash_attention: FlashAttention::Off, ..q8_0 };
        let text = check_kv_type(&facts(), &none, &without).unwrap_err().to_string();
        assert!(text.starts_with("`kv_type` `q8_0` needs fused attention"), "{text}");
    }

    #[test]
    fn masks_and_cells_count() {
        let (none, config) = (BTreeMap::new(), ContextConfig::new());
        let size = resolved(1 << 20, 512);
        // llama.cpp reserves 1,024 MiB and, with 4 heads and without fused attention, 10,240 MiB for 2^20 cells and 512 tokens.
        let four = ModelFacts { heads: 4, ..facts() };
        assert_eq!(mask_bytes(&four, &size, FlashAttention::Auto), 1024 << 20);
        assert_eq!(mask_bytes(&four, &size, FlashAttention::Off), 10_240 << 20);
        let hybrid = ModelFacts { hybrid: true, ..facts() };
        assert_eq!(context_bytes(&hybrid, &none, &size, &config), (1024 + 52) << 20);
        let recurrent = ModelFacts { recurrent: true, ..facts() };
        assert_eq!(context_bytes(&recurrent, &none, &size, &config), 0);
    }
}
