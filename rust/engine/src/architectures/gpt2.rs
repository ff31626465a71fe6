//! GPT-2: learned positions (`gpt2.cpp`).

use crate::blueprint::{Activation, Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let mut model = Blueprint::transformer(keys, Norm::layer(keys)?, true)?
        .with_plain_feed(Activation::Gelu)
        .with_attention(|_, attention| attention.rope = None);
    model.learned_positions = Some(model.context_train);
    Ok(model)
}
