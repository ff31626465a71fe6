//! Llama 2 and 3, Mistral, Mixtral, `SmolLM` and others of their shape (`llama.cpp`).

use crate::blueprint::{Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, false)?.with_rope_factors();
    match Blueprint::n_experts(keys)? {
        0 => Ok(model),
        n => model.with_experts(keys, n, true, 0),
    }
}
