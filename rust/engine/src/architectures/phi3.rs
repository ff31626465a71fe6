//! Phi 3 and 3.5: gate and up in one matrix (`phi3.cpp`).

use crate::blueprint::{Blueprint, Feed, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?.with_rope_factors();
    Ok(model.with_layers(|layer| {
        if let Feed::Gated { is_fused, .. } = &mut layer.feed {
            *is_fused = true;
        }
    }))
}
