//! What a server keeps for a model while it is loaded.

use std::sync::Arc;

use tabagent_model::{ChatTemplate, Draft, Error, Model};

use crate::adapters::Adapters;
use crate::counts::Counts;
use crate::drafts::DraftSource;
use crate::error::ApiError;
use crate::held_slots::HeldSlots;
use crate::models::ModelEntry;
use crate::numbers::now;
use crate::slots::Slots;

/// Slots that have a number; a model that only embeds takes any number of texts at once.
const MOST_SLOTS: usize = 1024;

/// What belongs to one loaded model.
#[derive(Debug)]
pub(crate) struct LoadState {
    /// Which load of the model it is.
    pub(crate) generation: u64,
    /// Seconds since 1970 when it was loaded.
    pub(crate) created: u64,
    /// What was counted.
    pub(crate) counts: Counts,
    /// The requests that run.
    pub(crate) slots: Slots,
    /// What slots keep between requests.
    pub(crate) held: HeldSlots,
    /// The adapters that requests may have.
    pub(crate) adapters: Adapters,
    /// The model that drafts for requests.
    pub(crate) draft: Option<Draft>,
    /// The chat template that was given as a text.
    pub(crate) template: Option<Arc<ChatTemplate>>,
    model: Model,
}

impl LoadState {
    /// Of a model that was just loaded. Blocks while what belongs to it is loaded.
    pub(crate) fn new(generation: u64, model: Model, entry: &ModelEntry) -> Result<Self, ApiError> {
        let adapters = Adapters::load(&model, &entry.adapters, &entry.control)?;
        let draft = entry.draft.as_ref().map(DraftSource::load).transpose()?;
        let template = entry.template_text.as_ref().map(|text| {
            let (bos, eos) = model.chat_tokens()?;
            Ok::<_, ApiError>(Arc::new(ChatTemplate::new(text, &bos, &eos).map_err(Error::from)?))
        });
        let template = template.transpose()?;
        // A closed model says so to each request.
        let count =
            model.sizes().map(|sizes| sizes.max_sequences as usize).unwrap_or_default().min(MOST_SLOTS);
        Ok(Self {
            generation,
            created: now(),
            counts: Counts::default(),
            slots: Slots::default(),
            held: HeldSlots::new(count),
            adapters,
            draft,
            template,
            model,
        })
    }

    /// Whether it is that model's.
    pub(crate) fn is_of(&self, model: &Model) -> bool {
        self.model.is_same(model)
    }
}
