//! `SmolLM3`: as Llama, but every fourth layer knows no positions (`smollm3.cpp`).

use crate::blueprint::{Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, false)?;
    Ok(model.with_attention(|layer, attention| {
        if (layer + 1).is_multiple_of(4) {
            attention.rope = None;
        }
    }))
}
