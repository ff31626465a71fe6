//! The numbers that describe a model's layers (`llama_model_base::load_hparams` in `src/llama-model.cpp`).

use crate::error::GgufError;
use crate::value::ValueType;

use super::architecture;
use super::graph;
use super::rules::Rules;

/// `LLAMA_MAX_LAYERS` in `src/llama-hparams.h`.
const MAX_LAYERS: u32 = 512;

/// `LLAMA_MAX_EXPERTS` in `src/llama-hparams.h`.
const MAX_EXPERTS: u32 = 1024;

/// The largest `llama_pooling_type` in `include/llama.h`; others abort when a context is made.
const MAX_POOLING_TYPE: u32 = 4;

/// The largest `llama_expert_gating_func_type` in `src/llama-hparams.h`; others abort when the graph is built.
const MAX_GATING_FUNC: u32 = 4;

/// `LLAMA_ROPE_SCALING_TYPES` in `src/llama-model.cpp`.
const ROPE_SCALING_TYPES: &[&[u8]] = &[b"none", b"linear", b"yarn", b"longrope"];

/// Epsilons of norms; `ggml_rms_norm` and its kin in `ggml/src/ggml-cpu/ops.cpp` assert that they are not negative.
const EPSILONS: &[&str] =
    &["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon"];

/// Numbers by which llama.cpp divides: heads of RWKV, intervals of hybrid models, groups of experts.
const DIVISORS: &[&str] = &["wkv.head_size", "full_attention_interval", "experts_per_group"];

/// Further numbers that must be `u32`.
const OTHER_U32: &[&str] = &[
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_mla",
    "rope.dimension_count",
    "rope.scaling.original_context_length",
    "vocab_size",
];

/// Further numbers that must be `f32`.
const OTHER_F32: &[&str] =
    &["rope.freq_base", "rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"];

/// Checks the hyperparameters; returns the width of the embedding if the file names it.
pub(crate) fn check(rules: &Rules<'_>) -> Result<Option<u32>, GgufError> {
    required_positive(rules, "context_length")?;
    let width = required_positive(rules, "embedding_length")?;
    check_numbers(rules)?;
    let Some(layers) = required_positive(rules, "block_count")? else {
        return Ok(width);
    };
    check_layers(rules, layers)?;
    check_rotation(rules)?;
    check_experts(rules, layers)?;
    check_heads(rules, layers, width)?;
    rules.per_layer(&rules.own("feed_forward_length"), layers)?;
    Ok(width)
}

/// A `u32` that a model must have and that must not be 0; `None` in a vocabulary.
fn required_positive(rules: &Rules<'_>, suffix: &str) -> Result<Option<u32>, GgufError> {
    let key = rules.own(suffix);
    match rules.u32(&key)? {
        Some(0) => Err(rules.unusable(&key, "is `0`, but it must be at least `1`")),
        None if !rules.is_vocabulary_only() => Err(rules.missing(&key)),
        value => Ok(value),
    }
}

/// Types and ranges of single numbers.
fn check_numbers(rules: &Rules<'_>) -> Result<(), GgufError> {
    for suffix in EPSILONS {
        let key = rules.own(suffix);
        if let Some(value) = rules.f32(&key)?.filter(|value| !value.is_finite() || *value < 0.0) {
            return Err(rules.unusable(&key, format!("is `{value}`, but it must be finite and not negative")));
        }
    }
    for suffix in DIVISORS {
        let key = rules.own(suffix);
        if rules.u32(&key)? == Some(0) {
            return Err(rules.unusable(&key, "is `0`, but llama.cpp divides by it"));
        }
    }
    for suffix in OTHER_U32 {
        rules.u32(&rules.own(suffix))?;
    }
    for suffix in OTHER_F32 {
        rules.f32(&rules.own(suffix))?;
    }
    for (suffix, max) in [("pooling_type", MAX_POOLING_TYPE), ("expert_gating_func", MAX_GATING_FUNC)] {
        let key = rules.own(suffix);
        if let Some(value) = rules.u32(&key)?.filter(|value| *value > max) {
            return Err(rules.unusable(&key, format!("is `{value}`, but llama.cpp knows `0` to `{max}`")));
        }
    }
    let key = rules.own("rope.scaling.type");
    if let Some(name) = rules.string(&key)?.filter(|name| !ROPE_SCALING_TYPES.contains(name)) {
        let found = crate::text::shown(name);
        return Err(rules
            .unusable(&key, format!("is `{found}`, but it must be `none`, `linear`, `yarn` or `longrope`")));
    }
    Ok(())
}

/// How many layers there are, and how many of them predict further tokens.
fn check_layers(rules: &Rules<'_>, layers: u32) -> Result<(), GgufError> {
    if layers > MAX_LAYERS {
        let problem = format!("is `{layers}`, but llama.cpp allows `{MAX_LAYERS}` layers");
        return Err(rules.unusable(&rules.own("block_count"), problem));
    }
    let key = rules.own("nextn_predict_layers");
    if let Some(nextn) = rules.u32(&key)?.filter(|nextn| *nextn > layers) {
        return Err(rules.unusable(&key, format!("is `{nextn}`, but the model has `{layers}` layers")));
    }
    Ok(())
}

/// Heads are rotated in pairs of values (`ggml_compute_forward_rope_flt` in `ggml/src/ggml-cpu/ops.cpp`, which never ends with 0 values).
fn check_rotation(rules: &Rules<'_>) -> Result<(), GgufError> {
    if !graph::rotates(rules.architecture) {
        return Ok(());
    }
    for suffix in ["rope.dimension_count", "rope.dimension_count_swa"] {
        let key = rules.own(suffix);
        if let Some(rotated) = rules.u32(&key)?.filter(|rotated| *rotated == 0 || rotated % 2 == 1) {
            let problem = format!(
                "is `{rotated}`, but a head rotates pairs of its values, so it must be even and at least `2`"
            );
            return Err(rules.unusable(&key, problem));
        }
    }
    Ok(())
}

/// Experts, experts used, and groups of experts.
fn check_experts(rules: &Rules<'_>, layers: u32) -> Result<(), GgufError> {
    let count_key = rules.own("expert_count");
    let used_key = rules.own("expert_used_count");
    let groups_key = rules.own("expert_group_count");
    let mut count = rules.u32(&count_key)?.unwrap_or_default();
    let mut used =
        rules.per_layer(&used_key, layers)?.and_then(|used| used.into_iter().max()).unwrap_or_default();
    let groups = rules.u32(&groups_key)?.unwrap_or_default();
    let groups_used_key = rules.own("expert_group_used_count");
    let groups_used = rules.u32(&groups_used_key)?.unwrap_or_default();
    if matches!(rules.architecture, "hunyuan_vl" | "hunyuan-dense") && count <= 1 {
        (count, used) = (0, 0);
    }
    if count > MAX_EXPERTS {
        return Err(
            rules.unusable(&count_key, format!("is `{count}`, but llama.cpp allows `{MAX_EXPERTS}` experts"))
        );
    }
    if used > count {
        return Err(rules.unusable(&used_key, format!("is `{used}`, but the model has `{count}` experts")));
    }
    if count > 0 && used == 0 {
        return Err(
            rules.unusable(&used_key, format!("is `0` or missing, but the model has `{count}` experts"))
        );
    }
    if groups >= count.max(1) {
        return Err(
            rules.unusable(&groups_key, format!("is `{groups}`, but the model has `{count}` experts"))
        );
    }
    if groups > 1 && !count.is_multiple_of(groups) {
        return Err(rules
            .unusable(&groups_key, format!("is `{groups}`, which does not divide the `{count}` experts")));
    }
    if groups > 1 && !(1..groups).contains(&groups_used) {
        let problem = format!("is `{groups_used}`, but it must be from `1` to `{}`", groups - 1);
        return Err(rules.unusable(&groups_used_key, problem));
    }
    Ok(())
}

/// Attention heads, and the size of a head with its rotated part.
fn check_heads(rules: &Rules<'_>, layers: u32, width: Option<u32>) -> Result<(), GgufError> {
    let key = rules.own("attention.head_count");
    let kv_key = rules.own("attention.head_count_kv");
    let heads = rules.per_layer(&key, layers)?;
    let kv_heads = rules.per_layer(&kv_key, layers)?;
    if architecture::allows_layers_without_attention(rules.architecture) {
        return Ok(());
    }
    for (key, heads) in [(&key, &heads), (&kv_key, &kv_heads)] {
        if let Some(layer) = heads.as_ref().and_then(|heads| heads.iter().position(|&n| n == 0)) {
            return Err(rules.unusable(
                key,
                format!("is `0` for layer `{layer}`, but every layer of this architecture has heads"),
            ));
        }
    }
    let Some(heads) = heads else {
        return Ok(());
    };
    // `ggml_mul_mat` asserts that the number of heads is a multiple of the number of key-value heads (`ggml/src/ggml.c`).
    for (layer, (&n, &kv)) in heads.iter().zip(kv_heads.as_ref().unwrap_or(&heads)).enumerate() {
        if !n.is_multiple_of(kv) {
            let problem = format!("is `{kv}` for layer `{layer}`, which does not divide its `{n}` heads");
            return Err(rules.unusable(&kv_key, problem));
        }
    }
    match (width, heads.first()) {
        (Some(width), Some(&first)) => check_head_size(rules, width, first),
        _ => Ok(()),
    }
}

/// The size of a head must be whole and hold its rotated part.
fn check_head_size(rules: &Rules<'_>, width: u32, heads: u32) -> Result<(), GgufError> {
    let size = match rules.u32(&rules.own("attention.key_length"))? {
        Some(size) => size,
        None if width.is_multiple_of(heads) => width / heads,
        None => {
            let problem = format!("is `{heads}`, which does not divide the embedding of `{width}`");
            return Err(rules.unusable(&rules.own("attention.head_count"), problem));
        }
    };
    let value_key = rules.own("attention.value_length");
    // Sliding-window layers may have head sizes of their own; which of them the graph compares depends on the architecture.
    let alike = |suffix: &str| rules.get(&rules.own(suffix)).is_none();
    if graph::needs_equal_heads(rules.architecture)
        && alike("attention.key_length_swa")
        && alike("attention.value_length_swa")
        && let Some(values) =
            rules.u32(&value_key)?.or_else(|| width.checked_div(heads)).filter(|values| *values != size)
    {
        let problem = format!(
            "gives heads of `{values}` values, but keys have `{size}`, and this architecture needs both alike"
        );
        return Err(rules.unusable(&value_key, problem));
    }
    let key = rules.own("rope.dimension_count");
    let Some(rotated) = rules.u32(&key)? else {
        return Ok(());
    };
    let whole = graph::rotates_whole_heads(rules.architecture) && alike("rope.dimension_count_swa");
    if whole && rotated != size {
        return Err(rules.unusable(
            &key,
            format!("is `{rotated}`, but a head of this architecture rotates all its `{size}` values"),
        ));
    }
    // With latent attention heads do not have the size `key_length`.
    let latent = rules
        .get(&rules.own("attention.key_length_mla"))
        .is_some_and(|value| value.value_type() == ValueType::U32);
    if !latent && rotated > size {
        return Err(rules.unusable(&key, format!("is `{rotated}`, but a head has only `{size}` values")));
    }
    let (key, size_key) = (rules.own("rope.dimension_count_swa"), rules.own("attention.key_length_swa"));
    match (rules.u32(&key)?, rules.u32(&size_key)?) {
        (Some(rotated), Some(size)) if !latent && rotated > size => Err(rules.unusable(
            &key,
            format!("is `{rotated}`, but a head of a layer with a sliding window has only `{size}` values"),
        )),
        _ => Ok(()),
    }
}
