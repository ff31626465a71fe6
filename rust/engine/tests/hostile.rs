//! Files that are wrong, and what is said about them.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::tiny::{FEED, Random, Tiny, WIDTH};
use common::{Tokens, batch};
use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder, LoadError, LoadedModel};
use tabagent_gguf::{GgufFile, GgufModel};
use tabagent_runtime::Decoder;

fn load_bytes(bytes: Vec<u8>) -> Result<LoadedModel<Cpu>, LoadError> {
    let file = GgufModel::from_parts(vec![GgufFile::from_bytes(bytes)?])?;
    LoadedModel::load(&file, &Cpu::new(2).unwrap(), &|_, _| true)
}

fn load(tiny: &Tiny) -> Result<LoadedModel<Cpu>, LoadError> {
    load_bytes(tiny.to_bytes(1))
}

/// The error about a model names `subject` and says what can be done.
fn assert_refused(tiny: &Tiny, subject: &str, problem: &str) {
    let error = load(tiny).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("`{subject}`")), "{text}");
    assert!(text.contains(problem), "{text}");
    assert!(text.contains("engine='llama.cpp'"), "{text}");
}

#[test]
fn errors_name_the_key_or_tensor_and_what_it_may_be() {
    let llama = || Tiny::new("llama");
    for (tiny, subject, problem) in [
        (Tiny::new("mamba"), "mamba", "`llama`"),
        (llama().without_key("embedding_length"), "llama.embedding_length", "is missing"),
        (
            llama().number("embedding_length", 0),
            "llama.embedding_length",
            "is `0`, but must be a whole number from `1`",
        ),
        (llama().key("embedding_length", -5_i32), "llama.embedding_length", "but must be"),
        (llama().key("embedding_length", "many"), "llama.embedding_length", "is `many`"),
        (llama().layers(0), "llama.block_count", "is `0`"),
        (llama().layers(9000), "llama.block_count", "is `9000`"),
        (llama().number("attention.head_count", 0), "llama.attention.head_count", "is `0`"),
        (llama().number("attention.head_count", 1), "llama.attention.head_count_kv", "must divide"),
        (llama().number("attention.value_length", 8), "llama.attention.value_length", "must be that of"),
        (
            llama().float("attention.layer_norm_rms_epsilon", f32::NAN),
            "llama.attention.layer_norm_rms_epsilon",
            "is `NaN`",
        ),
        (
            llama().float("attention.layer_norm_rms_epsilon", -1.0),
            "llama.attention.layer_norm_rms_epsilon",
            "is `-1`",
        ),
        (llama().float("rope.freq_base", f32::INFINITY), "llama.rope.freq_base", "is `inf`"),
        (llama().number("rope.dimension_count", 7), "llama.rope.dimension_count", "must be even"),
        (llama().number("rope.dimension_count", 700), "llama.rope.dimension_count", "is `700`"),
        (llama().key("rope.scaling.type", "other"), "llama.rope.scaling.type", "`yarn`"),
        (llama().key("feed_forward_length", vec![96_u32, 96]), "llama.feed_forward_length", "`2` items"),
        (llama().experts(FEED).number("expert_used_count", 5), "llama.expert_used_count", "is `5`"),
        (llama().without(&["attn_q.weight"]), "blk.0.attn_q.weight", "is missing"),
        (llama().tensor("ffn_down.weight", &[WIDTH, FEED]), "blk.0.ffn_down.weight", "must have `[96, 64]`"),
        (llama().tensor("attn_norm.weight", &[WIDTH, 2]), "blk.0.attn_norm.weight", "must have `[64]`"),
        (llama().outer("token_embd.weight", &[WIDTH, 7]), "token_embd.weight", "`7` rows"),
        (llama().outer("rope_freqs.weight", &[3]), "rope_freqs.weight", "must have `[8]`"),
        (Tiny::new("stablelm").norm_biases().tied(), "output.weight", "is missing"),
        (Tiny::new("granite"), "granite.logit_scale", "is missing"),
        (Tiny::new("qwen3moe"), "qwen3moe.expert_count", "at least `1`"),
    ] {
        assert_refused(&tiny, subject, problem);
    }
}

#[test]
fn weights_that_are_no_numbers_are_found() {
    let bytes = Tiny::new("llama").to_bytes(1);
    let file = GgufFile::from_bytes(bytes.clone()).unwrap();
    for name in ["blk.1.ffn_up.weight", "blk.2.attn_norm.weight", "token_embd.weight"] {
        let start = file.data_start(file.tensor(name).unwrap()) as usize;
        let mut spoiled = bytes.clone();
        spoiled[start + 40..start + 44].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = load_bytes(spoiled).unwrap_err();
        assert!(matches!(error, LoadError::Gguf(_)), "{error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn loading_tells_how_far_it_is_and_stops_when_told() {
    let bytes = Tiny::new("llama").to_bytes(1);
    let file = GgufModel::from_parts(vec![GgufFile::from_bytes(bytes).unwrap()]).unwrap();
    let (most, calls) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |done: u64, total: u64| {
        assert!(done <= total && total > 0);
        most.fetch_max(done * 1000 / total, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
        true
    };
    let cpu = Cpu::new(2).unwrap();
    let model = LoadedModel::load(&file, &cpu, &progress).unwrap();
    assert!(model.n_bytes() > 0 && model.n_vocab() == 263);
    assert_eq!(most.load(Ordering::Relaxed), 1000);
    for at in 0..calls.load(Ordering::Relaxed) {
        let called = AtomicU64::new(0);
        let stopped = LoadedModel::load(&file, &cpu, &|_, _| called.fetch_add(1, Ordering::Relaxed) < at);
        assert!(matches!(stopped, Err(LoadError::Cancelled)), "{at}");
    }
}

/// Metadata with bits flipped: an error, or a model that decodes.
#[test]
fn damaged_metadata_never_panics() {
    let tinies = [
        Tiny::new("llama").experts(FEED),
        Tiny::new("gemma3")
            .head(32)
            .tied()
            .norms_after()
            .tensor("attn_q_norm.weight", &[32])
            .tensor("attn_k_norm.weight", &[32])
            .number("attention.sliding_window", 12)
            .float("rope.scaling.factor", 2.0),
    ];
    let (mut n_loaded, mut n_refused) = (0, 0);
    for tiny in tinies {
        let bytes = tiny.to_bytes(1);
        let file = GgufFile::from_bytes(bytes.clone()).unwrap();
        // The vocabulary is not this engine's.
        let end = file.metadata().offset("tokenizer.ggml.tokens").unwrap() as usize;
        let mut random = Random(6);
        for _ in 0..100 {
            let mut spoiled = bytes.clone();
            for _ in 0..=((random.next() + 1.0) as usize) {
                let place = ((random.next() + 1.0) * 0.5 * end as f32) as usize;
                spoiled[place.min(end - 1)] ^= 1 << (((random.next() + 1.0) * 4.0) as u32).min(7);
            }
            let Ok(model) = load_bytes(spoiled) else {
                n_refused += 1;
                continue;
            };
            n_loaded += 1;
            let vocabulary = Arc::new(Tokens(model.n_vocab()));
            let made = EngineDecoder::new(
                Arc::new(model),
                Cpu::new(1).unwrap(),
                vocabulary,
                DecoderOptions::new(64),
            );
            if let Ok(mut decoder) = made {
                let _ = decoder.decode(&batch(0, 0, &[5, 6, 7]), &|| false);
            }
        }
    }
    assert!(n_loaded > 10 && n_refused > 10, "{n_loaded} loaded, {n_refused} refused");
}
