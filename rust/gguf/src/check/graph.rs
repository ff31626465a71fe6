//! What single architectures assert when their layers are loaded or their graph is built (`src/models/*.cpp`).

use crate::array::Array;
use crate::error::GgufError;
use crate::value::Value;

use super::rules::Rules;

/// Architectures without a dense form: `GGML_ASSERT(n_expert > 0)`.
const NEEDS_EXPERTS: &[&str] = &["bailingmoe2", "glm4moe", "grovemoe", "llada-moe", "smallthinker"];

/// Numbers that single architectures assert to be positive, by which they divide or loop.
const POSITIVE: &[(&str, &str)] = &[
    ("ernie4_5-moe", "interleave_moe_layer_step"),
    ("llama4", "interleave_moe_layer_step"),
    ("hrm_text", "hrm.layers_per_stack"),
    ("hrm_text", "hrm.h_cycles"),
    ("hrm_text", "hrm.l_cycles"),
    ("minimax-m3", "attention.indexer.block_size"),
    ("nanbeige", "num_loops"),
];

/// Numbers for which single architectures accept one value only.
const FIXED: &[(&str, &str, u32)] = &[("glm5-next", "hyper_connection.count", 4)];

/// Architectures whose rotary embedding is always split into sections (`llama_model_rope_type` in `src/llama-model.cpp`); without any,
/// `ggml_compute_forward_rope` in `ggml/src/ggml-cpu/ops.cpp` aborts.
const NEEDS_SECTIONS: &[&str] =
    &["paddleocr", "qwen2vl", "qwen35", "qwen35moe", "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp"];

/// Architectures all of whose graphs assert `n_embd_head == n_rot`, sorted.
const ROTATES_WHOLE_HEADS: &[&str] = &[
    "apertus",
    "arcee",
    "arctic",
    "baichuan",
    "chameleon",
    "codeshell",
    "cogvlm",
    "cohere2moe",
    "dbrx",
    "deci",
    "deepseek",
    "dots1",
    "dream",
    "ernie4_5",
    "ernie4_5-moe",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "granite",
    "granite_swa",
    "graniteswitch",
    "grok",
    "grovemoe",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "internlm2",
    "jais2",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mellum",
    "mistral3",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "plamo",
    "pockettts",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3tts",
    "qwen3vl",
    "qwen3vlmoe",
    "rnd1",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "starcoder2",
    "talkie",
    "xverse",
];

/// Further architectures all of whose graphs assert that key and value heads have one size, sorted; those of `ROTATES_WHOLE_HEADS` assert it, too.
const EQUAL_HEADS: &[&str] = &[
    "afmoe",
    "bailingmoe2",
    "bert",
    "bitnet",
    "bloom",
    "chatglm",
    "cohere2",
    "command-r",
    "eurobert",
    "glm4",
    "glm4moe",
    "gpt2",
    "gptneox",
    "jais",
    "laguna",
    "maple",
    "minimax-m2",
    "minimax-m3",
    "modern-bert",
    "mpt",
    "muse-glimmer",
    "nanbeige",
    "nemotron",
    "neo-bert",
    "openelm",
    "phi2",
    "phi3",
    "qwen",
    "refact",
    "spark2_5",
    "stablelm",
    "starcoder",
    "t5",
];

/// Architectures that rotate no heads (`llama_model_rope_type` in `src/llama-model.cpp` and those with learned positions), or by sections of their own,
/// sorted.
const ROTATES_NOTHING: &[&str] = &[
    "arwkv7",
    "bert",
    "bloom",
    "gemma4-assistant",
    "glm5-next",
    "gpt2",
    "gptj",
    "granitehybrid",
    "graniteswitch",
    "jais",
    "jamba",
    "jina-bert-v2",
    "kimi-k3",
    "kimi-linear",
    "mamba",
    "mamba2",
    "mpt",
    "nemotron_h",
    "nemotron_h_moe",
    "refact",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "starcoder",
    "t5",
    "t5encoder",
    "wavtokenizer-dec",
];

/// Whether the graphs rotate some values of a head.
pub(crate) fn rotates(architecture: &str) -> bool {
    ROTATES_NOTHING.binary_search(&architecture).is_err()
}

/// Checks what the file's architecture asserts beyond the rules for all architectures.
pub(crate) fn check(rules: &Rules<'_>) -> Result<(), GgufError> {
    if rules.is_vocabulary_only() {
        return Ok(());
    }
    let key = rules.own("expert_count");
    if NEEDS_EXPERTS.contains(&rules.architecture) && rules.u32(&key)?.unwrap_or_default() == 0 {
        return Err(rules.unusable(&key, "is `0` or missing, but this architecture is made of experts"));
    }
    for (_, suffix) in POSITIVE.iter().filter(|(name, _)| *name == rules.architecture) {
        let key = rules.own(suffix);
        if rules.u32(&key)? == Some(0) {
            return Err(rules.unusable(&key, "is `0`, but it must be at least `1`"));
        }
    }
    for (_, suffix, only) in FIXED.iter().filter(|(name, ..)| *name == rules.architecture) {
        let key = rules.own(suffix);
        if let Some(found) = rules.u32(&key)?.filter(|found| found != only) {
            return Err(rules.unusable(&key, format!("is `{found}`, but llama.cpp takes only `{only}`")));
        }
    }
    check_state_space(rules)?;
    if NEEDS_SECTIONS.contains(&rules.architecture) {
        check_sections(rules)?;
    }
    Ok(())
}

/// Jamba and Granite's hybrids assert that the inner width of their state-space layers is twice the embedding's.
fn check_state_space(rules: &Rules<'_>) -> Result<(), GgufError> {
    if !matches!(rules.architecture, "jamba" | "granitehybrid") {
        return Ok(());
    }
    let key = rules.own("ssm.inner_size");
    let (inner, width) = (rules.u32(&key)?, rules.u32(&rules.own("embedding_length"))?);
    match (inner, width) {
        (Some(inner), Some(width)) if u64::from(inner) != 2 * u64::from(width) => {
            let problem = format!("is `{inner}`, but it must be twice the embedding of `{width}`");
            Err(rules.unusable(&key, problem))
        }
        _ => Ok(()),
    }
}

/// Checks that one of the first three sections rotates something.
fn check_sections(rules: &Rules<'_>) -> Result<(), GgufError> {
    let key = rules.own("rope.dimension_sections");
    let positive = |item: Value<'_>| match item {
        Value::U32(size) => size.cast_signed() > 0,
        Value::I32(size) => size > 0,
        _ => false,
    };
    let some = |array: Array<'_>| array.iter().take(3).any(positive);
    match rules.get(&key) {
        None => Err(rules.missing(&key)),
        Some(Value::Array(array)) if some(array) => Ok(()),
        Some(scalar @ Value::U32(_)) if positive(scalar) => Ok(()),
        Some(_) => Err(rules.unusable(&key, "has no positive number among its first three")),
    }
}

/// Whether the graphs rotate all values of a head.
pub(crate) fn rotates_whole_heads(architecture: &str) -> bool {
    ROTATES_WHOLE_HEADS.binary_search(&architecture).is_ok()
}

/// Whether the graphs need keys and values of one size.
pub(crate) fn needs_equal_heads(architecture: &str) -> bool {
    rotates_whole_heads(architecture) || EQUAL_HEADS.binary_search(&architecture).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::architecture::is_known;
    use super::*;

    #[test]
    fn tables_are_sorted_and_name_known_architectures() {
        for table in [NEEDS_EXPERTS, NEEDS_SECTIONS, ROTATES_WHOLE_HEADS, EQUAL_HEADS, ROTATES_NOTHING] {
            assert!(table.is_sorted(), "{table:?}");
            assert!(table.iter().all(|name| is_known(name)), "{table:?}");
        }
        assert!(POSITIVE.iter().all(|(name, _)| is_known(name)));
        assert!(FIXED.iter().all(|(name, ..)| is_known(name)));
    }
}
