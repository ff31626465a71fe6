//! Gemma 2: norms after each part, capped scores and logits, every other layer with a window (`gemma2.cpp`).

use crate::blueprint::{Activation, Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

/// Layers of the 27B model, whose scores are scaled by another size than that of its heads.
const LARGEST: usize = 46;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let mut model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?
        .with_activation(Activation::Gelu)
        .with_scaled_embeddings()
        .with_norms_after()
        .with_row_sized_scores(LARGEST);
    let soft_cap = Some(keys.positive_if_any("attn_logit_softcapping")?.unwrap_or(50.0));
    model = model.with_attention(|_, attention| attention.soft_cap = soft_cap);
    model.output.soft_cap = Some(keys.positive_if_any("final_logit_softcapping")?.unwrap_or(30.0));
    let window = keys.number_or("attention.sliding_window", 4096, 0..=1 << 30)?;
    let base = model.ropes[0].options.freq_base;
    let swa = model.ropes[0].clone().with_base(keys.positive_if_any("rope.freq_base_swa")?.unwrap_or(base));
    model.with_windows(keys, window, 2, swa)
}
