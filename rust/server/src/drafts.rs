//! Models that guess what another one will say.

use std::sync::Arc;

use tabagent_model::{Draft, DraftLimits, PoolSource};

use crate::error::ApiError;

/// A model that drafts for all requests of another one: how it is loaded, and how much it drafts.
#[derive(Clone, Debug)]
pub struct DraftSource {
    /// How it is loaded.
    pub source: PoolSource,
    /// How many tokens it drafts at a time, and which.
    pub limits: DraftLimits,
}

impl DraftSource {
    /// Loads it. Blocks.
    pub(crate) fn load(&self) -> Result<Draft, ApiError> {
        let model = self.source.load(Arc::new(|_| true)).map_err(|failure| {
            let message = format!("the draft model cannot be loaded: {}", failure.message);
            ApiError::of_load(failure.kind, message)
        })?;
        Ok(Draft { model, limits: self.limits })
    }
}
