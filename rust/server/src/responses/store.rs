//! Responses that can be gone on from.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Responses that are kept at most.
pub(crate) const MOST: usize = 1024;
/// Bytes that they may have together.
const MOST_BYTES: usize = 64 << 20;

/// A response, and the conversation up to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// All items of the conversation.
    pub(crate) items: Vec<Value>,
    /// Those that came with the request.
    pub(crate) given: Vec<Value>,
    pub(crate) response: Value,
}

/// The last responses. The oldest make way for new ones.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    all: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: String,
    bytes: usize,
    kept: Kept,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a response.
    pub(crate) fn keep(&self, id: &str, kept: Kept) {
        let items = kept.items.iter().chain(&kept.given).map(|item| item.to_string().len());
        let bytes = items.sum::<usize>() + kept.response.to_string().len();
        let mut entries = self.lock();
        entries.bytes += bytes;
        entries.all.push_back(Entry { id: id.to_owned(), bytes, kept });
        while entries.all.len() > MOST || entries.bytes > MOST_BYTES {
            let Some(oldest) = entries.all.pop_front() else { break };
            entries.bytes -= oldest.bytes;
        }
    }

    /// A response that is kept.
    pub(crate) fn find(&self, id: &str) -> Option<Kept> {
        self.lock().all.iter().find(|entry| entry.id == id).map(|entry| entry.kept.clone())
    }

    /// Forgets a response; false if there is none of that id.
    pub(crate) fn forget(&self, id: &str) -> bool {
        let mut entries = self.lock();
        let Some(place) = entries.all.iter().position(|entry| entry.id == id) else { return false };
        if let Some(entry) = entries.all.remove(place) {
            entries.bytes -= entry.bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(text: &str) -> Kept {
        Kept { items: vec![json!(text)], given: Vec::new(), response: json!({}) }
    }

    #[test]
    fn old_responses_make_way() {
        let store = Store::default();
        for number in 0..MOST + 2 {
            store.keep(&number.to_string(), kept("x"));
        }
        assert_eq!(store.find("1"), None);
        assert_eq!(store.find("2"), Some(kept("x")));
        assert!(store.forget("2") && !store.forget("2"));
        assert_eq!(store.find("2"), None);
    }

    #[test]
    fn large_responses_make_way_for_others() {
        let store = Store::default();
        let large = "x".repeat(MOST_BYTES / 2);
        store.keep("a", kept(&large));
        store.keep("b", kept("x"));
        store.keep("c", kept(&large));
        assert_eq!(store.find("a"), None);
        assert!(store.find("b").is_some() && store.find("c").is_some());
        store.keep("d", kept(&"x".repeat(MOST_BYTES)));
        assert_eq!(store.find("d"), None);
        assert_eq!(store.lock().bytes, 0);
    }
}
