//! `OLMoE`: experts whose weights are taken as they are (`olmoe.cpp`).

use crate::blueprint::{Blueprint, HeadNorm, Norm};
use crate::error::LoadError;
use crate::keys::Keys;

pub(super) fn describe(keys: &Keys<'_>) -> Result<Blueprint, LoadError> {
    let model = Blueprint::transformer(keys, Norm::rms(keys)?, true)?.with_own_output();
    let model = model.with_attention(|_, attention| attention.head_norm = HeadNorm::Whole);
    let n = Blueprint::n_experts(keys)?;
    if n == 0 {
        return Err(keys.error("expert_count", "is missing or `0`, but must be at least `1`".to_owned()));
    }
    model.with_experts(keys, n, false, 0)
}
