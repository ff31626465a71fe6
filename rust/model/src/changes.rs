//! What changes a model for a request.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tabagent_llama::{Adapter, AdapterError, Context, ControlSum, Model as LlamaModel};
use tabagent_runtime::{DecoderError, Group};

use crate::adapter_set::AdapterSet;

/// Adapters and control vectors that a request is computed with; made by [`Model::changes`](crate::Model::changes). The default is the model as it is.
/// Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    adapters: AdapterSet,
    control: ControlSum,
}

impl Changes {
    /// What `adapters` and `control` change together.
    ///
    /// # Errors
    /// [`AdapterError::Activated`]: requests are computed with their adapters from their first token on.
    pub(crate) fn new(adapters: AdapterSet, control: ControlSum) -> Result<Self, AdapterError> {
        let facts = adapters.as_slice().iter().map(|(adapter, _)| adapter.facts());
        match facts.into_iter().find(|facts| !facts.invocation_tokens.is_empty()) {
            Some(facts) => Err(AdapterError::Activated { name: facts.name.clone() }),
            None => Ok(Self { adapters, control }),
        }
    }

    /// The adapters, each with its scale.
    pub(crate) fn adapters(&self) -> &[(Adapter, f32)] {
        self.adapters.as_slice()
    }

    /// What control vectors add.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no processes of models"))]
    pub(crate) fn control(&self) -> &ControlSum {
        &self.control
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty() && self.control.is_empty()
    }

    /// What tells them from others in another process, too: null where nothing is changed.
    pub(crate) fn identity(&self) -> Json {
        if self.is_empty() {
            return Json::Null;
        }
        let told = |(adapter, scale): &(Adapter, f32)| {
            let facts = adapter.facts();
            (facts.digest, json!({"name": facts.name, "digest": facts.digest, "scale": scale.to_bits()}))
        };
        let mut adapters: Vec<_> = self.adapters().iter().map(told).collect();
        adapters.sort_by_key(|(digest, _)| *digest);
        let adapters: Vec<Json> = adapters.into_iter().map(|(_, told)| told).collect();
        let control = self.control.numbers().map(|(numbers, layers)| {
            let mut hash = Sha256::new();
            for number in numbers {
                hash.update(number.to_le_bytes());
            }
            let digest: [u8; 32] = hash.finalize().into();
            json!({"digest": digest, "first": layers.start(), "last": layers.end()})
        });
        json!({"adapters": adapters, "control": control})
    }

    /// Refuses adapters of other models.
    pub(crate) fn check(&self, model: &LlamaModel) -> Result<(), AdapterError> {
        match self.adapters.as_slice().iter().find(|(adapter, _)| !adapter.model().is_same(model)) {
            Some((adapter, _)) => Err(AdapterError::OtherModel { name: adapter.facts().name.clone() }),
            None => Ok(()),
        }
    }

    /// The requests that may be decoded together with one that has these changes.
    pub(crate) fn group(&self) -> Group {
        if self.is_empty() {
            return Group::default();
        }
        let adapters = self.adapters.as_slice();
        let mut key = vec![adapters.len() as u64];
        key.extend(adapters.iter().flat_map(|(adapter, scale)| [adapter.id(), u64::from(scale.to_bits())]));
        key.extend(self.control.key());
        Group::new(key, self.clone())
    }

    /// The changes of a group that [`Self::group`] made.
    pub(crate) fn of(group: &Group) -> Result<Self, DecoderError> {
        match group.content::<Self>() {
            Some(changes) => Ok(changes.clone()),
            None if group.is_default() => Ok(Self::default()),
            None => {
                let message = "only adapters and control vectors change a llama.cpp model for a request";
                Err(DecoderError::Failed(message.to_owned()))
            }
        }
    }

    /// Has `context` compute with the changes of a group that [`Self::group`] made.
    pub(crate) fn enter(group: &Group, context: &mut Context) -> Result<(), DecoderError> {
        let changes = Self::of(group)?;
        let failed = |error: &dyn std::error::Error| DecoderError::Failed(error.to_string());
        context.set_adapters(changes.adapters.as_slice()).map_err(|error| failed(&error))?;
        context.set_control(&changes.control).map_err(|error| failed(&error))
    }
}
