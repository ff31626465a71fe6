//! The compiled grammars a compiler keeps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Grammar, GrammarOptions, GrammarSource, limits};

type Key = (GrammarSource, GrammarOptions);

/// The last [`CACHED_GRAMMARS`](limits::CACHED_GRAMMARS) grammars by use.
#[derive(Default)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    grammars: HashMap<Key, (u64, Arc<Grammar>)>,
    clock: u64,
}

impl Cache {
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Grammar>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let clock = inner.clock;
        let (used, grammar) = inner.grammars.get_mut(key)?;
        *used = clock;
        Some(Arc::clone(grammar))
    }

    /// Keeps `grammar` unless another thread was faster, and returns the one kept.
    pub(crate) fn put(&self, key: Key, grammar: Arc<Grammar>) -> Arc<Grammar> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let clock = inner.clock;
        if inner.grammars.len() >= limits::CACHED_GRAMMARS && !inner.grammars.contains_key(&key) {
            let oldest = inner.grammars.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                inner.grammars.remove(&oldest);
            }
        }
        let (used, kept) = inner.grammars.entry(key).or_insert((clock, grammar));
        *used = clock;
        Arc::clone(kept)
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).grammars.len()
    }
}
