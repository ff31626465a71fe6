//! Adapters that are used together.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tabagent_llama::{Adapter, AdapterError, Model as LlamaModel};

/// Adapters of one model, each with a scale: what a request is computed with. The empty set is the model as it is.
///
/// Two sets are equal if they change the model alike: the same adapters (not others of the same files) with the same bits of scales, in whatever
/// order they were given; those of scale 0 do not count. So a set can be a key: of a batch, or of what is kept of prompts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AdapterSet(Option<Arc<[(Adapter, f32)]>>);

impl AdapterSet {
    /// The set of `adapters` for `model`.
    ///
    /// # Errors
    /// [`AdapterError::OtherModel`], [`AdapterError::Twice`], [`AdapterError::Scale`], [`AdapterError::TooMany`].
    pub fn new(model: &LlamaModel, adapters: &[(Adapter, f32)]) -> Result<Self, AdapterError> {
        let adapters = Adapter::normalized(model, adapters)?;
        Ok(Self(Some(adapters).filter(|adapters| !adapters.is_empty()).map(Into::into)))
    }

    /// The adapters with their scales, in the order in which they were loaded: what [`Context::set_adapters`](tabagent_llama::Context::set_adapters)
    /// takes.
    pub fn as_slice(&self) -> &[(Adapter, f32)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn key(&self) -> impl Iterator<Item = (u64, u32)> {
        self.as_slice().iter().map(|(adapter, scale)| (adapter.id(), scale.to_bits()))
    }
}

impl PartialEq for AdapterSet {
    fn eq(&self, other: &Self) -> bool {
        self.key().eq(other.key())
    }
}

impl Eq for AdapterSet {}

impl Hash for AdapterSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().len().hash(state);
        self.key().for_each(|key| key.hash(state));
    }
}
