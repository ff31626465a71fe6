//! `OLMo` 2 and 3: norms only after each part, and over all heads together (`olmo2.cpp`).

use crate::blueprint::{Blueprint, HeadNorm, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?
        .with_own_output()
        .with_norms_after()
        .with_layers(|layer| layer.has_norms_before = false)
        .with_attention(|_, attention| attention.head_norm = HeadNorm::Whole);
    let window = keys.number_or("attention.sliding_window", 0, 0..=1 << 30)?;
    if window == 0 {
        return Ok(model);
    }
    let base = keys.positive_if_any("rope.freq_base_swa")?.unwrap_or(model.ropes[0].options.freq_base);
    let swa = model.ropes[0].plain(base);
    model.with_windows(keys, window, 4, swa)
}
