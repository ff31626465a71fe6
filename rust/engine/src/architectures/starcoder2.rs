//! `StarCoder2` (`starcoder2.cpp`).

use crate::blueprint::{Activation, Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::layer(keys)?, true)?;
    Ok(model.with_plain_feed(Activation::Gelu))
}
