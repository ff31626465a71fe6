//! The architectures of the pinned llama.cpp, and those whose layers or embeddings follow other rules.

/// The names that llama.cpp loads as `general.architecture` (`LLM_ARCH_NAMES` in `src/llama-arch.cpp`), sorted.
/// `clip` is not among them: it is in that table for quantizing only.
pub const ARCHITECTURES: &[&str] = &[
    "afmoe",
    "apertus",
    "arcee",
    "arctic",
    "arwkv7",
    "baichuan",
    "bailingmoe",
    "bailingmoe2",
    "bailingmoe3",
    "bert",
    "bitnet",
    "bloom",
    "chameleon",
    "chatglm",
    "codeshell",
    "cogvlm",
    "cohere2",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deci",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "dflash",
    "dots1",
    "dots3note",
    "dream",
    "eagle3",
    "ernie4_5",
    "ernie4_5-moe",
    "eurobert",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "falcon-h1",
    "gemma",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4-assistant",
    "glm-dsa",
    "glm4",
    "glm4moe",
    "glm5-next",
    "gpt-oss",
    "gpt2",
    "gptj",
    "gptneox",
    "granite",
    "granite_swa",
    "granitehybrid",
    "granitemoe",
    "graniteswitch",
    "grok",
    "grovemoe",
    "hrm_text",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "hy_v4",
    "internlm2",
    "jais",
    "jais2",
    "jamba",
    "jina-bert-v2",
    "jina-bert-v3",
    "kimi-k3",
    "kimi-linear",
    "laguna",
    "lfm2",
    "lfm2moe",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mamba",
    "mamba2",
    "maple",
    "mellum",
    "mimo2",
    "minicpm",
    "minicpm3",
    "minimax-01",
    "minimax-m2",
    "minimax-m3",
    "mistral3",
    "mistral4",
    "modern-bert",
    "mpt",
    "muse-glimmer",
    "nanbeige",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "olmo",
    "olmo2",
    "olmoe",
    "openelm",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plamo2",
    "plamo3",
    "plm",
    "pockettts",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "qwen3tts",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen4exp",
    "refact",
    "rnd1",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "spark2_5",
    "stablelm",
    "starcoder",
    "starcoder2",
    "step35",
    "t5",
    "t5encoder",
    "talkie",
    "wavtokenizer-dec",
    "xverse",
];

/// Recurrent, hybrid and pruned architectures, in which layers without attention have 0 heads
/// (`llm_arch_is_recurrent` and `llm_arch_is_hybrid` in `src/llama-arch.cpp`; `deci` in `src/models/deci.cpp`), sorted.
const LAYERS_WITHOUT_ATTENTION: &[&str] = &[
    "arwkv7",
    "bailingmoe3",
    "deci",
    "deepseek4",
    "falcon-h1",
    "glm5-next",
    "granitehybrid",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "mamba",
    "mamba2",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "wavtokenizer-dec",
];

/// Architectures whose token embedding is not `embedding_length` wide or does not have a row for each token of `tokenizer.ggml.tokens`: draft models
/// that borrow the target's vocabulary, and audio models.
const OTHER_TOKEN_EMBEDDING: &[&str] =
    &["dflash", "eagle3", "gemma4-assistant", "pockettts", "qwen3tts", "wavtokenizer-dec"];

/// True if the pinned llama.cpp loads models of this architecture.
pub(crate) fn is_known(architecture: &str) -> bool {
    ARCHITECTURES.binary_search(&architecture).is_ok()
}

/// True if a layer of this architecture may have 0 attention heads.
pub(crate) fn allows_layers_without_attention(architecture: &str) -> bool {
    LAYERS_WITHOUT_ATTENTION.binary_search(&architecture).is_ok()
}

/// True if `token_embd.weight` is `[embedding_length, tokens]`.
pub(crate) fn has_plain_token_embedding(architecture: &str) -> bool {
    OTHER_TOKEN_EMBEDDING.binary_search(&architecture).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_name_known_architectures() {
        for table in [ARCHITECTURES, LAYERS_WITHOUT_ATTENTION, OTHER_TOKEN_EMBEDDING] {
            assert!(table.is_sorted(), "{table:?}");
            assert!(table.iter().all(|name| is_known(name)), "{table:?}");
        }
    }
}
