//! Tensors that keep their type whatever the options ask for (`tensor_allows_quantization` in `src/llama-quant.cpp`).

use crate::tensor::Shape;

/// Parts of the names of tensors that are small or sensitive, in any model.
const KEPT: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Further ones of architecture `glm5-next`.
const KEPT_GLM5_NEXT: [&str; 14] = [
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
];

/// Whole names: embeddings of positions and of token types.
const KEPT_NAMES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

/// Why a tensor keeps its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exemption {
    /// It has one dimension.
    Vector,
    /// Its name does not end in `weight`.
    NotAWeight,
    /// Its name has this part: it is small or sensitive.
    Named(&'static str),
}

/// Why the tensor keeps its type; `None` if it may be quantized.
pub(super) fn exemption(architecture: &str, name: &str, shape: &Shape) -> Option<Exemption> {
    if n_dims(shape) < 2 {
        return Some(Exemption::Vector);
    }
    // llama.cpp lets a name of five bytes pass because of an overflow.
    let is_weight = name.ends_with("weight") || (name.len() == 5 && !name.contains("weight"));
    if !is_weight {
        return Some(Exemption::NotAWeight);
    }
    if let Some(kept) = KEPT_NAMES.iter().find(|kept| **kept == name) {
        return Some(Exemption::Named(kept));
    }
    let more: &[&'static str] = if architecture == "glm5-next" { &KEPT_GLM5_NEXT } else { &[] };
    KEPT.iter().chain(more).find(|part| name.contains(**part)).map(|part| Exemption::Named(part))
}

/// The number of dimensions without those of 1 at the end, at least one (`ggml_n_dims`).
pub(super) fn n_dims(shape: &Shape) -> usize {
    (1..4).rev().find(|&index| shape.dim(index) > 1).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, dims: &[u64]) -> Option<Exemption> {
        exemption("llama", name, &Shape::new(dims).unwrap())
    }

    #[test]
    fn vectors_norms_and_small_matrices_keep_their_type() {
        assert_eq!(of("blk.0.attn_q.weight", &[64, 64]), None);
        assert_eq!(of("blk.0.attn_q.weight", &[64, 1]), Some(Exemption::Vector));
        assert_eq!(of("blk.0.attn_q.weight", &[64, 1, 2]), None);
        assert_eq!(of("blk.0.attn_q.bias", &[64, 64]), Some(Exemption::NotAWeight));
        assert_eq!(of("blk.0.attn_norm.weight", &[64, 64]), Some(Exemption::Named("_norm.weight")));
        assert_eq!(of("token_types.weight", &[64, 2]), Some(Exemption::Named("token_types.weight")));
        assert_eq!(of("v.position_embd.weight", &[64, 2]), Some(Exemption::Named(".position_embd")));
        assert_eq!(of("hc_a.weight", &[64, 64]), None);
        let shape = Shape::new(&[64, 64]).unwrap();
        assert_eq!(exemption("glm5-next", "hc_a.weight", &shape), Some(Exemption::Named("hc_")));
    }
}
