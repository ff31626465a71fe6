//! How much noise in a tensor matters, by what the tensor does.
//!
//! Small independent errors of the weights add to the divergence of a model's predictions in proportion to their relative squares, with a
//! coefficient for each tensor (Malinovskii et al. 2024, "Pushing the Limits of Large Language Model Quantization via the Linearity
//! Theorem", arXiv 2411.17525, equation 1). Coefficients of a model are found by running it; these here are for all, and were measured on
//! two: SmolLM2 135M (30 layers) and Gemma 3 270M (18 layers), whose weights of one kind at a time went through `Q4_0`, by
//! Kullback-Leibler divergence from the unchanged model over relative error, summed over layers. Relative to `ffn_up` that was:
//!
//! | kind | SmolLM2 | Gemma | here: their geometric mean |
//! | --- | --- | --- | --- |
//! | `attn_q` | 0.29 | 0.36 | 0.32 |
//! | `attn_k` | 0.26 | 0.39 | 0.32 |
//! | `attn_v` | 1.51 | 2.03 | 1.75 |
//! | `attn_output` | 0.32 | 0.99 | 0.56 |
//! | `ffn_gate` | 0.50 | 0.59 | 0.55 |
//! | `ffn_up` | 1 | 1 | 1 |
//! | `ffn_down` | 2.21 | 1.19 | 1.6 |
//! | `token_embd`, also the output | 31.0 = 1.03 × 30 | 22.0 = 1.22 × 18 | 1.1 × layers |
//!
//! What is added to the residual stream in one layer is one part in many; what comes out of the output matrix goes straight to the logits.
//! That is why its coefficient grows with the layers. With an output matrix of its own beside the embeddings SmolLM2 had 12 % of the two
//! together on the embeddings.

use std::collections::HashSet;

/// The coefficient of a model's embeddings and output, for each layer.
const ENDS: f64 = 1.1;

/// The part of it that is the embeddings'.
const EMBEDDINGS: f64 = 0.12;

/// Parts of names and their coefficients; the first that is found counts. Fused matrices have their parts' mean.
const KINDS: [(&str, f64); 9] = [
    ("attn_qkv.", 0.8),
    ("attn_kv_", 1.0),
    ("attn_q", 0.32),
    ("attn_k", 0.32),
    ("attn_v", 1.75),
    ("attn_output", 0.56),
    ("ffn_gate_up", 0.77),
    ("ffn_gate", 0.55),
    ("ffn_down", 1.6),
];

/// What the names of a model's tensors tell about it.
pub(super) struct Sensitivity {
    n_layers: usize,
    has_output: bool,
}

impl Sensitivity {
    /// For a model with tensors of these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut layers = HashSet::new();
        let mut has_output = false;
        for name in names {
            has_output |= name == "output.weight";
            if let Some((number, _)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
                layers.insert(number);
            }
        }
        Self { n_layers: layers.len().max(1), has_output }
    }

    /// The coefficient of the tensor called `name`; that of `ffn_up` and of all that is not known is 1.
    pub(super) fn coefficient(&self, name: &str) -> f64 {
        let ends = ENDS * self.n_layers as f64;
        match name {
            "output.weight" => ends * (1.0 - EMBEDDINGS),
            "token_embd.weight" if self.has_output => ends * EMBEDDINGS,
            "token_embd.weight" => ends,
            _ => KINDS
                .iter()
                .find(|(part, _)| name.contains(part))
                .map_or(1.0, |&(_, coefficient)| coefficient),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_that_are_the_output_count_for_both() {
        let tied = Sensitivity::of(["token_embd.weight", "blk.0.a", "blk.1.a", "blk.1.b"].into_iter());
        let own = Sensitivity::of(["token_embd.weight", "output.weight", "blk.0.a", "blk.11.a"].into_iter());
        let ends = own.coefficient("token_embd.weight") + own.coefficient("output.weight");
        assert!((tied.coefficient("token_embd.weight") - 2.2).abs() < 1e-12);
        assert!((ends - 2.2).abs() < 1e-12);
        assert!(own.coefficient("output.weight") > own.coefficient("token_embd.weight"));
    }

    #[test]
    fn values_count_more_than_queries() {
        let model = Sensitivity::of(std::iter::empty());
        assert!(model.coefficient("blk.3.attn_v.weight") > model.coefficient("blk.3.attn_q.weight"));
        assert!((model.coefficient("blk.3.ssm_in.weight") - 1.0).abs() < 1e-12);
    }
}
