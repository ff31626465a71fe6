//! Each family's names in `transformers` and in llama.cpp, of classes and tensors, and the defaults that configurations leave out.
//!
//! The names on the right are those of `src/llama-arch.cpp` in the pinned llama.cpp; those on the left and the defaults are those of
//! the `transformers` library.

use super::error::ConvertError;
use super::json::Object;

/// Which hyperparameters a family has besides the common ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Qwen,
    Gemma2,
    Gemma3,
    Phi3,
    Bert,
    BitNet,
}

/// The rules for one architecture of llama.cpp.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// llama.cpp's name, which also starts the keys of its hyperparameters.
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    /// Classes in `config.json`. Those without a head, in [`BARE`], leave `model.` out of their tensors' names.
    pub(super) classes: &'static [&'static str],
    /// Values for keys that `config.json` lacks.
    pub(super) defaults: &'static [(&'static str, f64)],
    /// Tensors outside of the blocks, without `.weight` or `.bias`.
    globals: &'static [(&'static str, &'static str)],
    /// The text before a block's number in names of tensors.
    block_prefix: &'static str,
    /// Tensors of a block: the part of the name after the block's number.
    blocks: &'static [(&'static str, &'static str)],
    /// Prefixes of the names of tensors that llama.cpp does not use.
    pub(crate) unused: &'static [&'static str],
}

/// Classes of models without a head, whose tensors' names lack `model.`.
const BARE: [&str; 3] = ["LlamaModel", "Qwen2Model", "Qwen3Model"];

const GLOBALS: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

const ATTENTION_AND_GATED_FFN: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const QWEN3_BLOCKS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const GEMMA2_BLOCKS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const GEMMA3_BLOCKS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const PHI3_BLOCKS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const BERT_BLOCKS: &[(&str, &str)] = &[
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];

const BITNET_BLOCKS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.inner_attn_ln", "attn_sub_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.ffn_layernorm", "ffn_sub_norm"),
];

/// All architectures that can be converted.
const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "llama",
        family: Family::Llama,
        classes: &["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "LlamaModel"],
        defaults: &[("rope_theta", 10_000.0), ("rms_norm_eps", 1e-6)],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: ATTENTION_AND_GATED_FFN,
        unused: &[],
    },
    Architecture {
        name: "qwen2",
        family: Family::Qwen,
        classes: &["Qwen2ForCausalLM", "Qwen2Model"],
        defaults: &[("rope_theta", 10_000.0), ("rms_norm_eps", 1e-6)],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: ATTENTION_AND_GATED_FFN,
        unused: &[],
    },
    Architecture {
        name: "qwen3",
        family: Family::Qwen,
        classes: &["Qwen3ForCausalLM", "Qwen3Model"],
        defaults: &[("rope_theta", 10_000.0), ("rms_norm_eps", 1e-6), ("head_dim", 128.0)],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: QWEN3_BLOCKS,
        unused: &[],
    },
    Architecture {
        name: "gemma2",
        family: Family::Gemma2,
        classes: &["Gemma2ForCausalLM"],
        defaults: &[
            ("max_position_embeddings", 8192.0),
            ("head_dim", 256.0),
            ("rms_norm_eps", 1e-6),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
            ("sliding_window", 4096.0),
        ],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: GEMMA2_BLOCKS,
        unused: &["lm_head."],
    },
    Architecture {
        name: "gemma3",
        family: Family::Gemma3,
        classes: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
        defaults: &[
            ("vocab_size", 262_208.0),
            ("max_position_embeddings", 131_072.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("head_dim", 256.0),
            ("rms_norm_eps", 1e-6),
            ("rope_theta", 1_000_000.0),
            ("rope_local_base_freq", 10_000.0),
            ("sliding_window", 4096.0),
        ],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: GEMMA3_BLOCKS,
        unused: &[
            "vision_tower.",
            "model.vision_tower.",
            "multi_modal_projector.",
            "model.multi_modal_projector.",
        ],
    },
    Architecture {
        name: "phi3",
        family: Family::Phi3,
        classes: &["Phi3ForCausalLM"],
        defaults: &[
            ("rope_theta", 10_000.0),
            ("rms_norm_eps", 1e-5),
            ("original_max_position_embeddings", 4096.0),
        ],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: PHI3_BLOCKS,
        unused: &["model.embed_tokens_extend."],
    },
    Architecture {
        name: "bert",
        family: Family::Bert,
        classes: &["BertModel", "BertForMaskedLM"],
        defaults: &[("layer_norm_eps", 1e-12), ("max_position_embeddings", 512.0), ("type_vocab_size", 2.0)],
        globals: &[
            ("embeddings.word_embeddings", "token_embd"),
            ("embeddings.token_type_embeddings", "token_types"),
            ("embeddings.LayerNorm", "token_embd_norm"),
            ("embeddings.position_embeddings", "position_embd"),
        ],
        block_prefix: "encoder.layer.",
        blocks: BERT_BLOCKS,
        unused: &["embeddings.position_ids", "pooler.dense.", "cls."],
    },
    Architecture {
        name: "bitnet",
        family: Family::BitNet,
        classes: &["BitnetForCausalLM", "BitNetForCausalLM"],
        defaults: &[("rope_theta", 10_000.0), ("rms_norm_eps", 1e-6)],
        globals: GLOBALS,
        block_prefix: "model.layers.",
        blocks: BITNET_BLOCKS,
        // Tied: llama.cpp's graph multiplies with the token embeddings.
        unused: &["lm_head."],
    },
];

impl Architecture {
    /// The architecture of the model that `config` describes.
    pub(crate) fn of(config: &Object) -> Result<&'static Self, ConvertError> {
        let class = class(config)?;
        ARCHITECTURES.iter().find(|known| known.classes.contains(&class.as_str())).ok_or_else(|| {
            let names: Vec<String> = ARCHITECTURES
                .iter()
                .flat_map(|known| known.classes)
                .map(|name| format!("`{name}`"))
                .collect();
            ConvertError::Architecture {
                path: config.path().to_owned(),
                architecture: class,
                supported: names.join(", "),
            }
        })
    }

    /// The architecture with llama.cpp's name `name`.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|known| known.name == name)
    }

    /// llama.cpp's names of all architectures, for messages.
    pub(crate) fn names() -> String {
        let names: Vec<String> = ARCHITECTURES.iter().map(|known| format!("`{}`", known.name)).collect();
        names.join(", ")
    }

    /// The tensor's name in GGUF, with its block if it belongs to one of `n_blocks`; `None` if llama.cpp has no such tensor.
    pub(crate) fn tensor_name(&self, source: &str, n_blocks: u32) -> Option<String> {
        let (stem, suffix) = [".weight", ".bias"]
            .into_iter()
            .find_map(|suffix| Some((source.strip_suffix(suffix)?, suffix)))?;
        if let Some((_, name)) = self.globals.iter().find(|(theirs, _)| *theirs == stem) {
            return Some(format!("{name}{suffix}"));
        }
        let (block, rest) = stem.strip_prefix(self.block_prefix)?.split_once('.')?;
        let block: u32 = block.parse().ok().filter(|block| *block < n_blocks)?;
        let (_, name) = self.blocks.iter().find(|(theirs, _)| *theirs == rest)?;
        Some(format!("blk.{block}.{name}{suffix}"))
    }
}

/// The class of the text model that `config` describes.
pub(super) fn class(config: &Object) -> Result<String, ConvertError> {
    let of = |object: &Object| {
        object.items("architectures").first().and_then(|name| name.as_str()).map(str::to_owned)
    };
    config
        .child("text_config")
        .and_then(|text| of(&text))
        .or_else(|| of(config))
        .ok_or_else(|| config.missing(&["architectures"]))
}

/// True for classes whose tensors' names lack `model.`.
pub(super) fn is_bare(class: &str) -> bool {
    BARE.contains(&class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_and_others_are_not() {
        let llama = &ARCHITECTURES[0];
        assert_eq!(llama.tensor_name("model.embed_tokens.weight", 2).unwrap(), "token_embd.weight");
        assert_eq!(
            llama.tensor_name("model.layers.1.self_attn.q_proj.bias", 2).unwrap(),
            "blk.1.attn_q.bias"
        );
        for unknown in [
            "model.layers.2.self_attn.q_proj.weight",
            "model.layers.x.self_attn.q_proj.weight",
            "model.layers.0.self_attn.z_proj.weight",
            "model.layers.0.self_attn.q_proj",
            "layers.0.self_attn.q_proj.weight",
            "",
        ] {
            assert_eq!(llama.tensor_name(unknown, 2), None, "{unknown}");
        }
    }

    #[test]
    fn no_name_stands_for_two_tensors() {
        for architecture in ARCHITECTURES {
            for table in [architecture.globals, architecture.blocks] {
                for side in [
                    |pair: &(&'static str, &'static str)| pair.0,
                    |pair: &(&'static str, &'static str)| pair.1,
                ] {
                    let mut names: Vec<&str> = table.iter().map(side).collect();
                    names.sort_unstable();
                    names.dedup();
                    assert_eq!(names.len(), table.len(), "{}", architecture.name);
                }
            }
        }
    }
}
