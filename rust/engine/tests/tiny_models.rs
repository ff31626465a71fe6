//! Every architecture beside llama.cpp, as tiny random models in F32.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::tiny::{FEED, HEAD, HEADS, KV_HEADS, Random, Tiny, WIDTH};
use common::{
    best, context, decoder, distance, lead, library, our_logits, our_logits_singly, ours, their_logits,
    their_logits_singly, theirs,
};

/// Tokens of a text: more than a page holds, and than the windows below.
const N_TOKENS: usize = 70;

/// Compares both engines on a model. Logits may be as far apart as those of llama.cpp for the same tokens in one batch and one by one.
fn compare(tiny: &Tiny, seed: u64) {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = tiny.write(folder.path(), seed);
    let tokens = Random(seed).tokens(N_TOKENS);
    let model = theirs(&library, &path);
    let mut context = context(&model, 256);
    let expected = their_logits(&mut context, &tokens);
    let noise = distance(&their_logits_singly(&mut context, &tokens), &expected);
    let loaded = ours(&path);
    let mut decoder = decoder(&loaded, 256);
    let together = our_logits(&mut decoder, 0, &tokens);
    let singly = our_logits_singly(&mut decoder, 1, 0, &tokens);
    for (found, shape) in [(&together, "together"), (&singly, "singly")] {
        let error = distance(found, &expected);
        assert!(error.relative <= noise.relative, "{shape}: {error:?}, llama.cpp's own noise {noise:?}");
        for (position, (ours, theirs)) in found.iter().zip(&expected).enumerate() {
            let lead = lead(theirs, best(ours));
            assert!(lead <= 2.0 * noise.most, "{shape}: another token at {position}, behind by {lead}");
        }
    }
    let spread = expected[0].iter().copied().fold(f32::MIN, f32::max)
        - expected[0].iter().copied().fold(f32::MAX, f32::min);
    assert!(spread > 1.0, "the model says nothing: {spread}");
}

/// A test for each model: its name, and how it is made.
macro_rules! models {
    ($($name:ident: $tiny:expr;)+) => {$(
        #[test]
        fn $name() {
            compare(&$tiny, 1);
        }
    )+};
}

fn gemma(name: &'static str) -> Tiny {
    Tiny::new(name).head(32).tied()
}

models! {
    llama: Tiny::new("llama");
    llama_with_biases: Tiny::new("llama")
        .qkv_biases()
        .tensor("attn_output.bias", &[WIDTH])
        .tensor("ffn_gate.bias", &[FEED])
        .tensor("ffn_up.bias", &[FEED])
        .tensor("ffn_down.bias", &[WIDTH]);
    llama_3_with_frequency_factors: Tiny::new("llama")
        .tied()
        .float("rope.freq_base", 500_000.0)
        .outer("rope_freqs.weight", &[HEAD / 2]);
    llama_with_linear_scaling: Tiny::new("llama").float("rope.scaling.factor", 4.0);
    llama_with_yarn: Tiny::new("llama")
        .key("rope.scaling.type", "yarn")
        .float("rope.scaling.factor", 8.0)
        .number("rope.scaling.original_context_length", 32)
        .float("rope.scaling.attn_factor", 1.1);
    mixtral: Tiny::new("llama").experts(FEED);
    smollm3: Tiny::new("smollm3").layers(5).tied();
    qwen2: Tiny::new("qwen2").qkv_biases().float("rope.freq_base", 1e6);
    qwen3: Tiny::new("qwen3")
        .head(32)
        .tensor("attn_q_norm.weight", &[32])
        .tensor("attn_k_norm.weight", &[32]);
    qwen3moe: Tiny::new("qwen3moe")
        .experts(FEED / 2)
        .number("expert_feed_forward_length", FEED as u32 / 2)
        .tensor("attn_q_norm.weight", &[HEAD])
        .tensor("attn_k_norm.weight", &[HEAD]);
    gemma_1: gemma("gemma");
    gemma_2: gemma("gemma2")
        .layers(4)
        .norms_after()
        .number("attention.sliding_window", 12)
        .float("attn_logit_softcapping", 4.0)
        .float("final_logit_softcapping", 6.0);
    gemma_3: gemma("gemma3")
        .layers(7)
        .norms_after()
        .tensor("attn_q_norm.weight", &[32])
        .tensor("attn_k_norm.weight", &[32])
        .number("attention.sliding_window", 12)
        .float("rope.freq_base", 1e6)
        .float("rope.scaling.factor", 8.0);
    gemma_3_with_a_pattern: gemma("gemma3")
        .norms_after()
        .tensor("attn_q_norm.weight", &[32])
        .tensor("attn_k_norm.weight", &[32])
        .number("attention.sliding_window", 5)
        .key("attention.sliding_window_pattern", vec![false, true, false]);
    phi3: Tiny::new("phi3")
        .fused_qkv()
        .without(&["ffn_gate.weight"])
        .tensor("ffn_up.weight", &[WIDTH, 2 * FEED]);
    phi3_with_a_long_context: Tiny::new("phi3")
        .fused_qkv()
        .without(&["ffn_gate.weight"])
        .tensor("ffn_up.weight", &[WIDTH, 2 * FEED])
        .number("rope.scaling.original_context_length", 64)
        .float("rope.scaling.attn_factor", 1.2)
        .outer("rope_factors_long.weight", &[HEAD / 2])
        .outer("rope_factors_short.weight", &[HEAD / 2]);
    granite: Tiny::new("granite")
        .tied()
        .float("logit_scale", 3.0)
        .float("residual_scale", 0.6)
        .float("embedding_scale", 4.0)
        .float("attention.scale", 0.1);
    granite_with_experts: Tiny::new("granitemoe")
        .experts(FEED)
        .float("logit_scale", 2.0)
        .float("residual_scale", 0.8)
        .float("embedding_scale", 4.0)
        .number("expert_shared_feed_forward_length", 32)
        .tensor("ffn_gate_shexp.weight", &[WIDTH, 32])
        .tensor("ffn_up_shexp.weight", &[WIDTH, 32])
        .tensor("ffn_down_shexp.weight", &[32, WIDTH]);
    olmo2: Tiny::new("olmo2")
        .without(&["attn_norm.weight", "ffn_norm.weight"])
        .norms_after()
        .tensor("attn_q_norm.weight", &[WIDTH])
        .tensor("attn_k_norm.weight", &[KV_HEADS * HEAD]);
    olmo3_with_windows: Tiny::new("olmo2")
        .layers(5)
        .without(&["attn_norm.weight", "ffn_norm.weight"])
        .norms_after()
        .tensor("attn_q_norm.weight", &[WIDTH])
        .tensor("attn_k_norm.weight", &[KV_HEADS * HEAD])
        .number("attention.sliding_window", 20);
    olmoe: Tiny::new("olmoe")
        .kv_heads(HEADS)
        .experts(FEED)
        .tensor("attn_q_norm.weight", &[WIDTH])
        .tensor("attn_k_norm.weight", &[WIDTH]);
    starcoder2: Tiny::new("starcoder2")
        .tied()
        .norm_biases()
        .qkv_biases()
        .without(&["ffn_gate.weight"])
        .tensor("attn_output.bias", &[WIDTH])
        .tensor("ffn_up.bias", &[FEED])
        .tensor("ffn_down.bias", &[WIDTH]);
    stablelm: Tiny::new("stablelm").norm_biases().number("rope.dimension_count", 4);
    stablelm_12b: Tiny::new("stablelm")
        .without(&["ffn_norm.weight"])
        .norm_biases()
        .number("rope.dimension_count", 4)
        .tensor("attn_q_norm.weight", &[HEAD, HEADS])
        .tensor("attn_k_norm.weight", &[HEAD, KV_HEADS]);
    gpt2: Tiny::new("gpt2")
        .kv_heads(HEADS)
        .fused_qkv()
        .norm_biases()
        .without(&["ffn_gate.weight"])
        .tensor("attn_qkv.bias", &[3 * WIDTH])
        .tensor("attn_output.bias", &[WIDTH])
        .tensor("ffn_up.bias", &[FEED])
        .tensor("ffn_down.bias", &[WIDTH])
        .outer("position_embd.weight", &[WIDTH, 256]);
    falcon_7b: Tiny::new("falcon")
        .kv_heads(1)
        .fused_qkv()
        .without(&["ffn_norm.weight", "ffn_gate.weight"])
        .norm_biases();
    falcon_40b: Tiny::new("falcon")
        .fused_qkv()
        .without(&["ffn_norm.weight", "ffn_gate.weight"])
        .norm_biases()
        .tensor("attn_norm_2.weight", &[WIDTH])
        .tensor("attn_norm_2.bias", &[WIDTH]);
    bitnet: Tiny::new("bitnet")
        .tied()
        .tensor("attn_sub_norm.weight", &[WIDTH])
        .tensor("ffn_sub_norm.weight", &[FEED])
        .tensor("attn_q.scale", &[1])
        .tensor("ffn_down.scale", &[1]);
}

/// Both engines round activations to 8 bits for most of these, in blocks of 32; llama.cpp's kernels for batches and for single tokens do so differently, too.
#[test]
fn number_types_are_multiplied_as_in_llama_cpp() {
    use tabagent_gguf::GgmlType::{BF16, F16, IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    let Some(library) = library() else { return };
    for ggml_type in [F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL, MXFP4] {
        let folder = tempfile::tempdir().unwrap();
        let path = Tiny::new("llama").of_type(ggml_type).write(folder.path(), 2);
        let tokens = Random(2).tokens(N_TOKENS);
        let expected = their_logits(&mut context(&theirs(&library, &path), 256), &tokens);
        let found = our_logits(&mut decoder(&ours(&path), 256), 0, &tokens);
        let error = distance(&found, &expected);
        assert!(error.relative < 0.03, "{ggml_type}: {error:?}");
    }
}

#[test]
fn there_is_a_tiny_model_of_each_architecture() {
    let source = include_str!("tiny_models.rs");
    for name in tabagent_engine::architectures() {
        let is_made = |maker| source.contains(&format!("{maker}(\"{name}\")"));
        assert!(is_made("Tiny::new") || is_made("gemma"), "there is no tiny model of `{name}`");
    }
}
