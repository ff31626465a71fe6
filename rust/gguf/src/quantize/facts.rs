//! What the mixtures need to know of a model's shape.

use crate::check::Rules;
use crate::error::GgufError;

/// The architecture of projectors for images and sound, whose shape llama.cpp does not read.
pub(super) const PROJECTOR: &str = "clip";

/// Numbers of a model, as llama.cpp's loader gets them from its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) architecture: String,
    /// Layers in all, those of the draft head and repeated ones included.
    pub(super) n_layers: u32,
    /// Experts of a layer; 0 without.
    pub(super) n_experts: u32,
    /// Query heads that share a key head in the first layer; 0 without heads.
    pub(super) n_gqa: u32,
    /// True for the models that llama.cpp counts as of 70 billion parameters.
    pub(super) is_70b: bool,
}

impl Facts {
    pub(super) fn read(rules: &Rules<'_>) -> Result<Self, GgufError> {
        let architecture = rules.architecture.to_owned();
        if architecture == PROJECTOR {
            return Ok(Self { architecture, n_layers: 0, n_experts: 0, n_gqa: 0, is_70b: false });
        }
        let number = |key: &str| Ok::<_, GgufError>(rules.u32(&rules.own(key))?.unwrap_or_default());
        let n_blocks = number("block_count")?;
        let n_regular = n_blocks.saturating_sub(number("nextn_predict_layers")?);
        let n_experts = number("expert_count")?;
        let heads = |key: &str| {
            let counts = rules.per_layer(&rules.own(key), n_blocks)?;
            Ok::<_, GgufError>(counts.and_then(|counts| counts.first().copied()))
        };
        let n_heads = heads("attention.head_count")?.unwrap_or_default();
        let n_kv_heads = heads("attention.head_count_kv")?.unwrap_or(n_heads);
        let is_70b = match architecture.as_str() {
            "llama" | "llama-embed" => n_experts != 8 && n_regular == 80 && n_heads != n_kv_heads,
            "qwen2" | "deci" | "olmo" => n_regular == 80,
            "jais2" => n_regular == 68,
            _ => false,
        };
        let n_layers = match architecture.as_str() {
            // The same layers in a loop.
            "nanbeige" => match number("num_loops")? {
                0 | 1 => n_blocks,
                loops => n_regular.saturating_mul(loops),
            },
            // One more for the router.
            "graniteswitch" => n_regular.saturating_add(1),
            _ => n_blocks,
        };
        let n_gqa = n_heads.checked_div(n_kv_heads).unwrap_or_default();
        Ok(Self { architecture, n_layers, n_experts, n_gqa, is_70b })
    }
}
