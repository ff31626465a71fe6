//! Where a request runs: in the slot that it asks for, or anywhere.

use tabagent_model::{GenerateOptions, Model, Session};

use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::held_slots::HeldSlot;
use crate::models::Served;

/// Where a stream runs.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The slot that was asked for; `None` for any.
    pub(crate) number: Option<usize>,
    /// What the slot keeps, while the stream runs.
    pub(crate) held: Option<HeldSlot>,
}

impl Place {
    /// Reads `id_slot`, and waits until nobody else has that slot; below 0 it is any.
    pub(crate) async fn read(fields: &mut JsonFields, served: &Served) -> Result<Self, ApiError> {
        let asked = fields.integer("id_slot", -1..=i64::from(i32::MAX))?;
        let Some(number) = asked.and_then(|number| usize::try_from(number).ok()) else {
            return Ok(Self::default());
        };
        let held = served.state.held.hold(number).await?;
        Ok(Self { number: Some(number), held: Some(held) })
    }

    /// The session of the slot, made where it has none; `None` where the request runs anywhere, or decodes its whole prompt.
    pub(crate) fn session(
        &mut self,
        model: &Model,
        options: &mut GenerateOptions,
    ) -> Result<Option<&mut Session>, ApiError> {
        let Some(held) = &mut self.held else { return Ok(None) };
        if std::mem::take(&mut held.erased) || options.cache_prompt == Some(false) {
            held.session = None;
            options.cache_prompt = Some(false);
            return Ok(None);
        }
        if held.session.is_none() {
            held.session = Some(model.session(options.sampling.clone(), options.changes.clone())?);
        }
        Ok(held.session.as_mut())
    }
}
