//! Falcon: attention and feed-forward part side by side (`falcon.cpp`).

use crate::blueprint::{Activation, Arrangement, Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::layer(keys)?, true)?;
    let model = model.with_plain_feed(Activation::Gelu);
    Ok(model.with_layers(|layer| layer.arrangement = Arrangement::Parallel))
}
