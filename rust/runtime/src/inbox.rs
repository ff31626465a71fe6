//! What the handles of an engine and its decode thread share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::channel::Producer;
use crate::process::ProcessMark;
use crate::scheduler::Census;
use crate::task::Task;
use crate::{AbortFlag, EngineError, TokenId};

/// A request on its way to the decode thread.
pub(crate) struct Submission {
    /// What to decode first.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) cache_prompt: bool,
    pub(crate) task: Task,
    pub(crate) out: Producer,
    pub(crate) submitted: Instant,
}

/// Brings submissions to the decode thread and wakes it.
pub(crate) struct Inbox {
    pub(crate) home: ProcessMark,
    /// Raised once, when the engine closes; the parent of every request's flag.
    pub(crate) closing: AbortFlag,
    /// Something changed since the thread last looked: a submission, a cancel, a drained channel, the closing flag. Set under the lock.
    changed: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
    census: [AtomicUsize; 4],
}

#[derive(Default)]
struct State {
    submissions: Vec<Submission>,
    ended: Option<EngineError>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            home: ProcessMark::here(),
            closing: AbortFlag::new(),
            changed: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
            census: Default::default(),
        }
    }

    /// Hands a request to the thread, unless the thread has ended.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if self.closing.is_raised() {
            return Err(EngineError::Closed);
        }
        state.submissions.push(submission);
        self.notify(state);
        Ok(())
    }

    /// Makes the thread look at everything again.
    pub(crate) fn poke(&self) {
        self.notify(self.lock());
    }

    /// What was submitted, if anything changed since the last call. Costs one atomic operation if not.
    pub(crate) fn collect(&self) -> Option<Vec<Submission>> {
        if !self.changed.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.lock();
        self.changed.store(false, Ordering::Release);
        Some(std::mem::take(&mut state.submissions))
    }

    /// Sleeps until something changes.
    pub(crate) fn wait(&self) {
        let mut state = self.lock();
        while !self.changed.load(Ordering::Acquire) && !self.closing.is_raised() {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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

    /// The census that was published last, with what was submitted since.
    pub(crate) fn census(&self) -> Census {
        let waiting = self.lock().submissions.len();
        let [active, queued, parked, cells] = self.census.each_ref().map(|cell| cell.load(Ordering::Relaxed));
        Census { active, queued: queued + waiting, parked, cells }
    }

    fn notify(&self, state: MutexGuard<'_, State>) {
        self.changed.store(true, Ordering::Release);
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thread may look for changes after `close` has announced itself and before it looks at the flag again.
    #[test]
    fn waiting_ends_when_the_closing_flag_was_raised_before_the_last_look() {
        let inbox = Inbox::new();
        inbox.closing.raise();
        inbox.poke();
        assert!(inbox.collect().is_some_and(|submissions| submissions.is_empty()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let inbox = std::sync::Arc::new(inbox);
        let waiting = std::sync::Arc::clone(&inbox);
        std::thread::spawn(move || {
            waiting.wait();
            sender.send(()).unwrap();
        });
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(10)), Ok(()));
    }
}
