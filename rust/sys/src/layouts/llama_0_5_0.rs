//! llama.cpp 0.5.0 (commit 0c1e570, ggml 0.25.3), the pinned build.
//!
//! Offsets are those of the compiled `include/llama.h`, which `tests/headers.rs` checks; defaults are those of
//! `llama_model_default_params` (`src/llama-model.cpp`) and `llama_context_default_params` (`src/llama-context.cpp`).

use crate::abi::{AbiLayout, Field, FieldKind, StructLayout};

const fn int(name: &'static str, offset: usize, default: i32) -> Field {
    Field { name, offset, kind: FieldKind::Int, default: default as u32 as u64 }
}

const fn float(name: &'static str, offset: usize, default: f32) -> Field {
    Field { name, offset, kind: FieldKind::Float, default: default.to_bits() as u64 }
}

const fn word(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Word, default: 0 }
}

const fn boolean(name: &'static str, offset: usize, default: bool) -> Field {
    Field { name, offset, kind: FieldKind::Bool, default: default as u64 }
}

pub(super) const LAYOUT: AbiLayout = AbiLayout {
    name: "llama.cpp 0.5.0",
    versions: &["0.5.0-dev", "0.5.0"],
    symbols: include_str!("llama_0_5_0.symbols"),
    model_params: StructLayout {
        name: "llama_model_params",
        size: 80,
        fields: &[
            word("devices", 0),
            word("tensor_buft_overrides", 8),
            int("n_gpu_layers", 16, -1),
            int("split_mode", 20, 1),
            int("load_mode", 24, -1),
            int("lazy_mode", 28, 1),
            int("main_gpu", 32, 0),
            word("tensor_split", 40),
            word("progress_callback", 48),
            word("progress_callback_user_data", 56),
            word("kv_overrides", 64),
            boolean("vocab_only", 72, false),
            boolean("check_tensors", 73, false),
            boolean("use_extra_bufts", 74, true),
            boolean("no_host", 75, false),
            boolean("no_alloc", 76, false),
            boolean("load_mtp", 77, false),
        ],
    },
    context_params: StructLayout {
        name: "llama_context_params",
        size: 160,
        fields: &[
            int("n_ctx", 0, 512),
            int("n_batch", 4, 2048),
            int("n_ubatch", 8, 512),
            int("n_seq_max", 12, 1),
            int("n_rs_seq", 16, 0),
            int("n_outputs_max", 20, 0),
            int("n_outputs_max_per_seq", 24, 1),
            int("n_threads", 28, 4),
            int("n_threads_batch", 32, 4),
            int("ctx_type", 36, 0),
            int("rope_scaling_type", 40, -1),
            int("pooling_type", 44, -1),
            int("attention_type", 48, -1),
            int("flash_attn_type", 52, -1),
            float("rope_freq_base", 56, 0.0),
            float("rope_freq_scale", 60, 0.0),
            float("yarn_ext_factor", 64, -1.0),
            float("yarn_attn_factor", 68, -1.0),
            float("yarn_beta_fast", 72, -1.0),
            float("yarn_beta_slow", 76, -1.0),
            int("yarn_orig_ctx", 80, 0),
            float("defrag_thold", 84, -1.0),
            word("cb_eval", 88),
            word("cb_eval_user_data", 96),
            int("type_k", 104, 1),
            int("type_v", 108, 1),
            word("abort_callback", 112),
            word("abort_callback_data", 120),
            boolean("embeddings", 128, false),
            boolean("offload_kqv", 129, true),
            boolean("no_perf", 130, true),
            boolean("op_offload", 131, true),
            boolean("swa_full", 132, true),
            boolean("kv_unified", 133, false),
            word("samplers", 136),
            word("n_samplers", 144),
            word("ctx_other", 152),
        ],
    },
};
