//! What a model is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Facts of a model, read once when it is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// llama.cpp's one-line description, such as `llama 135M Q4_1`.
    pub description: String,
    /// The architecture's name in the file, such as `llama`.
    pub architecture: String,
    /// The name of the model in the file.
    pub name: Option<String>,
    /// Quantization, as in the description's last words, such as `Q4_1`.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub size: u64,
    /// Context length in tokens that it was trained with.
    pub context_train_size: u32,
    /// Width of its embeddings.
    pub embedding_dim: u32,
    /// Layers.
    pub layers: u32,
    /// Attention heads of the first layer.
    pub heads: u32,
    /// Key-value heads of the first layer.
    pub kv_heads: u32,
    /// Tokens that sliding-window layers look back; 0 without such layers.
    pub sliding_window: u32,
    /// It has an encoder that must run before the decoder (T5).
    pub has_encoder: bool,
    /// It has a decoder.
    pub has_decoder: bool,
    /// Its memory is a recurrent state, not a KV cache (Mamba, RWKV).
    pub recurrent: bool,
    /// It has both.
    pub hybrid: bool,
    /// Layers that run on GPUs.
    pub layers_on_gpu: u32,
}

impl ModelFacts {
    /// Fills in, from the file's metadata, the facts that llama.cpp does not read for a vocabulary-only model.
    pub(crate) fn complete(&mut self, metadata: &BTreeMap<String, String>) {
        let fields = [
            ("context_length", &mut self.context_train_size),
            ("embedding_length", &mut self.embedding_dim),
            ("block_count", &mut self.layers),
            ("attention.head_count", &mut self.heads),
            ("attention.head_count_kv", &mut self.kv_heads),
            ("attention.sliding_window", &mut self.sliding_window),
        ];
        for (key, field) in fields {
            let stated = metadata.get(&format!("{}.{key}", self.architecture));
            if *field == 0
                && let Some(value) = stated.and_then(|text| text.parse().ok())
            {
                *field = value;
            }
        }
    }
}
