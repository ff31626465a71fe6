//! What the handles of an engine and its decode thread share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::channel::Producer;
use crate::doorbell::Doorbell;
use crate::scheduler::Census;
use crate::task::Task;
use crate::{EngineError, TokenId};

/// A request on its way to the decode thread.
pub(crate) struct Submission {
    /// What to decode first.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) cache_prompt: bool,
    pub(crate) task: Task,
    pub(crate) out: Producer,
    pub(crate) submitted: Instant,
}

/// Brings submissions to the decode thread.
pub(crate) struct Inbox {
    pub(crate) bell: Arc<Doorbell>,
    state: Mutex<State>,
    census: [AtomicUsize; 4],
}

#[derive(Default)]
struct State {
    submissions: Vec<Submission>,
    ended: Option<EngineError>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { bell: Arc::new(Doorbell::new()), state: Mutex::default(), census: Default::default() }
    }

    /// Hands a request to the thread, unless the thread has ended.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if self.bell.closing.is_raised() {
            return Err(EngineError::Closed);
        }
        state.submissions.push(submission);
        drop(state);
        self.bell.ring();
        Ok(())
    }

    /// What was submitted, if anything changed since the last call. Costs one atomic operation if not.
    pub(crate) fn collect(&self) -> Option<Vec<Submission>> {
        // A submission from here on rings again.
        self.bell.answer().then(|| std::mem::take(&mut self.lock().submissions))
    }

    /// Refuses all further submissions with `error` and returns those that were still waiting.
    pub(crate) fn end(&self, error: EngineError) -> Vec<Submission> {
        let mut state = self.lock();
        state.ended = Some(error);
        std::mem::take(&mut state.submissions)
    }

    pub(crate) fn publish(&self, census: Census) {
        let values = [census.active, census.queued, census.parked, census.cells];
        for (cell, value) in self.census.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn publish_cells(&self, cells: usize) {
        self.census[3].store(cells, Ordering::Relaxed);
    }

    /// The census that was published last, plus what was submitted since.
    pub(crate) fn census(&self) -> Census {
        let waiting = self.lock().submissions.len();
        let [active, queued, parked, cells] = self.census.each_ref().map(|cell| cell.load(Ordering::Relaxed));
        Census { active, queued: queued + waiting, parked, cells }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
