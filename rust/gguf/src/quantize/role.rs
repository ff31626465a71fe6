//! What a tensor does in the model, by its name.

use std::fmt;

/// The kinds of tensors that the mixtures tell apart (`tensor_get_category` in `src/llama-quant.cpp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The matrix from the last layer to the tokens.
    Output,
    /// The table of token embeddings.
    TokenEmbedding,
    /// Queries, keys and values in one matrix.
    AttentionQkv,
    /// Keys and values from a latent vector.
    AttentionKvB,
    /// Values.
    AttentionV,
    /// Keys.
    AttentionK,
    /// Queries.
    AttentionQ,
    /// The matrix after the attention heads.
    AttentionOutput,
    /// The feed-forward network's way up.
    FfnUp,
    /// The feed-forward network's gate.
    FfnGate,
    /// The feed-forward network's way down.
    FfnDown,
    /// All else.
    Other,
}

/// Parts of names in the order in which they are looked for.
const PARTS: [(&str, Role); 9] = [
    ("attn_qkv.weight", Role::AttentionQkv),
    ("attn_kv_b.weight", Role::AttentionKvB),
    ("attn_v.weight", Role::AttentionV),
    ("attn_k.weight", Role::AttentionK),
    ("attn_q.weight", Role::AttentionQ),
    ("attn_output.weight", Role::AttentionOutput),
    ("ffn_up", Role::FfnUp),
    ("ffn_gate", Role::FfnGate),
    ("ffn_down", Role::FfnDown),
];

impl Role {
    /// The role of the tensor called `name`.
    pub fn of(name: &str) -> Self {
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbedding,
            _ => PARTS.iter().find(|(part, _)| name.contains(part)).map_or(Self::Other, |(_, role)| *role),
        }
    }

    /// True for what holds the values of the attention, which suffer most from few bits.
    pub(super) fn holds_values(self) -> bool {
        matches!(self, Self::AttentionV | Self::AttentionQkv | Self::AttentionKvB)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::TokenEmbedding => "token_embd",
            Self::AttentionQkv => "attn_qkv",
            Self::AttentionKvB => "attn_kv_b",
            Self::AttentionV => "attn_v",
            Self::AttentionK => "attn_k",
            Self::AttentionQ => "attn_q",
            Self::AttentionOutput => "attn_output",
            Self::FfnUp => "ffn_up",
            Self::FfnGate => "ffn_gate",
            Self::FfnDown => "ffn_down",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles() {
        for (name, role) in [
            ("output.weight", Role::Output),
            ("blk.0.output.weight", Role::Other),
            ("per_layer_token_embd.weight", Role::TokenEmbedding),
            ("blk.3.attn_qkv.weight", Role::AttentionQkv),
            ("blk.3.attn_v.bias", Role::Other),
            ("blk.3.ffn_down_exps.weight", Role::FfnDown),
            ("blk.3.ffn_gate_up_exps.weight", Role::FfnGate),
            ("v.blk.0.attn_output.weight", Role::AttentionOutput),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
