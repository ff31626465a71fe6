//! What slots keep between requests: the text that a slot had last, and for those that were asked for by number, its cells.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tabagent_model::{Session, TokenId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::ApiError;

/// What one slot keeps.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Its cells; `None` if nobody asked for the slot by its number.
    pub(crate) session: Option<Session>,
    /// It was erased, and its next prompt is decoded whole.
    pub(crate) erased: bool,
}

/// A slot that a request has alone.
pub(crate) type HeldSlot = OwnedMutexGuard<Held>;

/// The slots of a model.
#[derive(Debug, Default)]
pub(crate) struct HeldSlots {
    held: Vec<Arc<Mutex<Held>>>,
    /// Prompt and text of the last request of each slot that had no number of its own.
    last: StdMutex<Vec<Vec<TokenId>>>,
}

impl HeldSlots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            held: (0..count).map(|_| Arc::default()).collect(),
            last: StdMutex::new(vec![Vec::new(); count]),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// The slot of that number, once nobody else has it.
    pub(crate) async fn hold(&self, number: usize) -> Result<HeldSlot, ApiError> {
        let Some(slot) = self.held.get(number) else {
            let message =
                format!("`id_slot` must be between 0 and {}, got `{number}`", self.len().saturating_sub(1));
            return Err(ApiError::field("id_slot", message));
        };
        Ok(Arc::clone(slot).lock_owned().await)
    }

    /// Remembers what a request left in a slot.
    pub(crate) fn remember(&self, number: usize, tokens: Vec<TokenId>) {
        if let Some(last) = self.last.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            *last = tokens;
        }
    }

    /// What the last request left in a slot.
    pub(crate) fn last(&self, number: usize) -> Vec<TokenId> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(number).cloned().unwrap_or_default()
    }
}
