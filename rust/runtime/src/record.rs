//! What a request left for who goes on from there.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{SamplerSnapshot, TokenId};

/// Where a request notes how far it came. Cheap to clone; all clones are the same record.
#[derive(Clone, Default)]
pub struct Record(Arc<Shared>);

#[derive(Default)]
struct Shared {
    noted: Mutex<Option<Recorded>>,
    ready: Condvar,
}

/// How far a request came.
pub struct Recorded {
    /// All tokens that it generated, those that nobody took included.
    pub tokens: Vec<TokenId>,
    /// The sampler's state after them; `None` if the sampler cannot tell it, or the engine failed.
    pub sampler: Option<SamplerSnapshot>,
}

impl Record {
    /// What was noted, once the request has ended; it is there when the stream says so, and goes to the first who asks.
    pub fn take(&self) -> Option<Recorded> {
        self.lock().take()
    }

    /// As [`take`](Self::take), but waits up to `timeout` for the request to end.
    pub fn take_timeout(&self, timeout: Duration) -> Option<Recorded> {
        let nothing = |noted: &mut Option<Recorded>| noted.is_none();
        let waited = self.0.ready.wait_timeout_while(self.lock(), timeout, nothing);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recorded>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("noted", &self.lock().is_some()).finish()
    }
}

/// Writes a record: at the end of the request, or when it is dropped.
pub(crate) struct Recorder {
    record: Record,
    tokens: Vec<TokenId>,
    sampler: Option<SamplerSnapshot>,
}

impl Recorder {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, tokens: Vec::new(), sampler: None }
    }

    pub(crate) fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
    }

    pub(crate) fn truncate(&mut self, n: usize) {
        self.tokens.truncate(n);
    }

    /// Notes the sampler's last state, and writes the record.
    pub(crate) fn finish(mut self, sampler: Option<SamplerSnapshot>) {
        self.sampler = sampler;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        *self.record.lock() = Some(Recorded { tokens, sampler: self.sampler.take() });
        self.record.0.ready.notify_all();
    }
}
