//! How much noise in a tensor matters, by what the tensor does.
//!
//! Small independent errors of the weights add to the divergence of a model's predictions in proportion to their relative squares, with a coefficient
//! for each tensor (Malinovskii et al. 2024, "Pushing the Limits of Large Language Model Quantization via the Linearity Theorem", arXiv 2411.17525,
//! equation 1). The coefficients of one model are found by running it. Those here serve for all models, and were measured on two: SmolLM2 135M (30
//! layers) and Gemma 3 270M (18 layers). The weights of one kind at a time went through `Q4_0`; the coefficient is the Kullback-Leibler divergence
//! from the unchanged model over the relative error, summed over layers. Relative to `ffn_up`:
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
//! What is added to the residual stream in one layer is one part in many; what comes out of the output matrix goes straight to the logits. That is
//! why its coefficient grows with the layers. When SmolLM2 was given an output matrix of its own, the embeddings had 12 % of what the two had
//! together.
//!
//! The position of a layer matters less, but the ends of the stack stand out. With all tensors of one layer through `Q4_0`, relative to the middle
//! layers, the first layer had 1.3 (SmolLM2) and 2.7 (Gemma), the last one 6.4 and 1.1. Both get their geometric means.

/// The coefficient of a model's embeddings and output, for each layer.
const ENDS: f64 = 1.1;

/// The embeddings' share of that coefficient.
const EMBEDDINGS: f64 = 0.12;

/// How much more the first layer counts than those in the middle.
const FIRST_LAYER: f64 = 1.9;

/// How much more the last layer counts.
const LAST_LAYER: f64 = 2.7;

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
    n_layers: u64,
    has_output: bool,
}

impl Sensitivity {
    /// For a model with tensors of these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut n_layers = 1;
        let mut has_output = false;
        for name in names {
            has_output |= name == "output.weight";
            n_layers = n_layers.max(layer(name).map_or(0, |layer| u64::from(layer) + 1));
        }
        Self { n_layers, has_output }
    }

    /// The coefficient of the tensor called `name`; 1 for `ffn_up` and for unknown kinds.
    pub(super) fn coefficient(&self, name: &str) -> f64 {
        let ends = ENDS * self.n_layers as f64;
        match name {
            "output.weight" => ends * (1.0 - EMBEDDINGS),
            "token_embd.weight" if self.has_output => ends * EMBEDDINGS,
            "token_embd.weight" => ends,
            _ => {
                let kind =
                    KINDS.iter().find(|(part, _)| name.contains(part)).map_or(1.0, |&(_, value)| value);
                let place = match layer(name).map(u64::from) {
                    Some(0) => FIRST_LAYER,
                    Some(number) if number + 1 == self.n_layers => LAST_LAYER,
                    _ => 1.0,
                };
                kind * place
            }
        }
    }
}

/// The number of the layer that the tensor called `name` belongs to.
fn layer(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_that_are_the_output_count_for_both() {
        let tied = Sensitivity::of(["token_embd.weight", "blk.0.a", "blk.1.a", "blk.1.b"].into_iter());
        let own = Sensitivity::of(["token_embd.weight", "output.weight", "blk.0.a", "blk.1.a"].into_iter());
        let ends = own.coefficient("token_embd.weight") + own.coefficient("output.weight");
        assert!((tied.coefficient("token_embd.weight") - 2.2).abs() < 1e-12);
        assert!((ends - 2.2).abs() < 1e-12);
        assert!(own.coefficient("output.weight") > own.coefficient("token_embd.weight"));
    }

    #[test]
    fn values_count_more_than_queries() {
        let model = Sensitivity::of(["blk.0.a", "blk.7.a"].into_iter());
        assert!(model.coefficient("blk.3.attn_v.weight") > model.coefficient("blk.3.attn_q.weight"));
        assert!((model.coefficient("blk.3.ssm_in.weight") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_ends_of_the_stack_count_more() {
        let model = Sensitivity::of(["blk.0.a", "blk.7.a", "blk.3.a", "blk.4294967296.a"].into_iter());
        let up = |layer: u32| model.coefficient(&format!("blk.{layer}.ffn_up.weight"));
        assert!(up(0) > up(1) && up(1) < up(7));
        assert!((up(1) - up(6)).abs() < 1e-12);
    }
}
