//! `BitNet` b1.58: norms before the last step of attention and feed-forward part (`bitnet.cpp`).

use crate::blueprint::{Blueprint, Feed, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?;
    Ok(model.with_layers(|layer| {
        layer.attention.has_sub_norm = true;
        if let Feed::Gated { has_sub_norm, .. } = &mut layer.feed {
            *has_sub_norm = true;
        }
    }))
}
