//! Gemma (`gemma.cpp`).

use crate::blueprint::{Activation, Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?;
    Ok(model.with_activation(Activation::Gelu).with_scaled_embeddings())
}
