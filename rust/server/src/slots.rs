//! The numbers of running requests, as `/slots` shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Which requests run. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<BTreeMap<usize, Request>>>);

/// What is known of a running request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// Counts all requests.
    pub(crate) id_task: u64,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// Tokens that came.
    pub(crate) decoded: usize,
    /// Tokens that may still come; `None` for any number.
    pub(crate) max_tokens: Option<usize>,
}

/// A number that is taken until this is dropped.
pub(crate) struct Slot {
    slots: Slots,
    /// The lowest that was free.
    pub(crate) number: usize,
}

impl Slots {
    /// Takes the lowest number that is free.
    pub(crate) fn take(&self, request: Request) -> Slot {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (0..=taken.len()).find(|number| !taken.contains_key(number)).unwrap_or_default();
        taken.insert(number, request);
        Slot { slots: self.clone(), number }
    }

    /// The requests that run, by their numbers.
    pub(crate) fn all(&self) -> BTreeMap<usize, Request> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Slot {
    /// Counts tokens that came.
    pub(crate) fn count(&self, tokens: usize) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = taken.get_mut(&self.number) {
            request.decoded += tokens;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let slots = Slots::default();
        let (first, second) = (slots.take(Request::default()), slots.take(Request::default()));
        second.count(3);
        assert_eq!((first.number, second.number, slots.all()[&1].decoded), (0, 1, 3));
        drop(first);
        assert_eq!(slots.take(Request::default()).number, 0);
        assert_eq!(slots.all().keys().copied().collect::<Vec<_>>(), [1]);
    }
}
