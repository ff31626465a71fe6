//! Qwen 2 and 2.5 (`qwen2.cpp`).

use crate::blueprint::{Blueprint, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    Blueprint::transformer(keys, Norm::rms(keys)?, true)
}
