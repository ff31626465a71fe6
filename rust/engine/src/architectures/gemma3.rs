//! Gemma 3: normalized heads, and five layers with a window, and a rotation of their own, before each one without (`gemma3.cpp`).

use crate::blueprint::{Activation, Blueprint, HeadNorm, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

/// Layers of the 27B model, whose scores are scaled by another size than that of its heads.
const LARGEST: usize = 62;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let mut model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?
        .with_activation(Activation::Gelu)
        .with_scaled_embeddings()
        .with_norms_after()
        .with_row_sized_scores(LARGEST)
        .with_attention(|_, attention| attention.head_norm = HeadNorm::Each);
    model.output.soft_cap = keys.positive_if_any("final_logit_softcapping")?;
    let window = keys.number_or("attention.sliding_window", 0, 0..=1 << 30)?;
    if window == 0 {
        return Ok(model);
    }
    let base = keys.positive_if_any("rope.freq_base_swa")?.unwrap_or(10_000.0);
    let swa = model.ropes[0].plain(base);
    model.with_windows(keys, window, 6, swa)
}
