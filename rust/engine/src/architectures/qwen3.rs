//! Qwen 3, whose heads are normalized (`qwen3.cpp`).

use crate::blueprint::{Blueprint, HeadNorm, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?;
    Ok(model.with_attention(|_, attention| attention.head_norm = HeadNorm::Each))
}
