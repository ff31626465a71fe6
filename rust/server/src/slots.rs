//! The numbers of running requests, as `/slots` shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Which requests run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    running: BTreeMap<usize, Request>,
    /// Requests so far.
    count: u64,
}

/// What is known of a running request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    /// The number.
    pub(crate) number: usize,
}

impl Slots {
    /// Takes a number: `asked`, or the lowest that is free. One that has `asked` by chance gives way to the lowest that is free.
    pub(crate) fn take(&self, request: Request, asked: Option<usize>) -> Slot {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = asked.filter(|number| !taken.running.contains_key(number));
        let number = free.unwrap_or_else(|| {
            (0..=taken.running.len()).find(|number| !taken.running.contains_key(number)).unwrap_or_default()
        });
        let id_task = taken.count;
        taken.count += 1;
        taken.running.insert(number, Request { id_task, ..request });
        Slot { slots: self.clone(), number }
    }

    /// The requests that run, by their numbers.
    pub(crate) fn all(&self) -> BTreeMap<usize, Request> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).running.clone()
    }
}

impl Slot {
    /// Counts tokens that came.
    pub(crate) fn count(&self, tokens: usize) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = taken.running.get_mut(&self.number) {
            request.decoded += tokens;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let slots = Slots::default();
        let (first, second) = (slots.take(Request::default(), None), slots.take(Request::default(), None));
        second.count(3);
        assert_eq!((first.number, second.number, slots.all()[&1].decoded), (0, 1, 3));
        assert_eq!((slots.all()[&0].id_task, slots.all()[&1].id_task), (0, 1));
        drop(first);
        assert_eq!(slots.take(Request::default(), None).number, 0);
        assert_eq!(slots.all().keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_number_that_is_asked_for_is_taken_if_it_is_free() {
        let slots = Slots::default();
        let asked = slots.take(Request::default(), Some(3));
        assert_eq!(asked.number, 3);
        assert_eq!(slots.take(Request::default(), Some(3)).number, 0);
    }
}
