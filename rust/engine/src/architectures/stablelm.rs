//! `StableLM` 2: the 12B model has no second norm, and its feed-forward part reads what attention reads (`stablelm.cpp`).

use crate::blueprint::{Arrangement, Blueprint, HeadNorm, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::layer(keys)?, true)?.with_own_output();
    let model = model.with_layers(|layer| layer.arrangement = Arrangement::ParallelWithoutNorm);
    Ok(model.with_attention(|_, attention| attention.head_norm = HeadNorm::EachOwnIfAny))
}
