//! Granite 3 and 4, dense and with experts: scales at every sum (`granite.cpp`, `granite-moe.cpp`).

use crate::blueprint::{Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, false)?.with_rope_factors();
    let mut model = model.with_attention_scale(keys.positive_if_any("attention.scale")?);
    if !keys.bool_or("rope.scaling.finetuned", true)? {
        model = model.with_attention(|_, attention| attention.rope = None);
    }
    model.embedding_scale = keys.positive_if_any("embedding_scale")?.unwrap_or(1.0);
    model.output.scale = 1.0 / keys.positive("logit_scale")?;
    let residual_scale = keys.positive_if_any("residual_scale")?.unwrap_or(1.0);
    let model = model.with_layers(|layer| layer.residual_scale = residual_scale);
    match Blueprint::n_experts(keys)? {
        0 => Ok(model),
        n => model.with_experts(keys, n, true, Blueprint::shared_width(keys)?),
    }
}
