//! What the handles of an engine and its decode thread share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::channel::Producer;
use crate::doorbell::Doorbell;
use crate::metrics::Recorder;
use crate::progress::End;
use crate::scheduler::{Census, JobId, OwnerId};
use crate::shelf::Errand;
use crate::task::Task;
use crate::watchdog::Watchdog;
use crate::{EngineError, FinishReason, Group, Owner, QueueFull, SubmitError, TokenId};

/// A request on its way to the decode thread.
pub(crate) struct Submission {
    /// What to decode first.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) cache_prompt: bool,
    pub(crate) least_reuse: usize,
    /// The request whose cells it may begin with, whatever both say about sharing.
    pub(crate) fork_of: Option<JobId>,
    pub(crate) group: Group,
    pub(crate) owner: Option<Owner>,
    pub(crate) priority: i32,
    pub(crate) task: Task,
    pub(crate) out: Producer,
    pub(crate) submitted: Instant,
    /// When its time is up.
    pub(crate) deadline: Option<Instant>,
    /// What a shelf brought for it.
    pub(crate) errand: Errand,
}

impl Submission {
    /// Tells its consumer that it ends with `error`, or that it was cancelled.
    pub(crate) fn fail(self, error: &EngineError) {
        let end = if self.out.is_cancelled() {
            End::new(FinishReason::Cancelled)
        } else {
            End::error(error.clone())
        };
        let (events, finish) = self.task.end(end);
        self.out.finish(events, finish);
    }
}

/// A place in the queue; dropping it frees the place.
pub(crate) struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Brings submissions to the decode thread.
pub(crate) struct Inbox {
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) watchdog: Watchdog,
    state: Mutex<State>,
    census: [AtomicUsize; 4],
    metrics: Mutex<Recorder>,
    n_waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    n_owners: AtomicU64,
}

#[derive(Default)]
struct State {
    submissions: Vec<(JobId, Submission, Ticket)>,
    n_submitted: JobId,
    /// Owners that were dropped.
    released: Vec<OwnerId>,
    ended: Option<EngineError>,
}

impl Inbox {
    /// Lets `max_waiting` requests wait for their beginning, and a decode take `patience` at least; `ender` ends one that takes longer.
    pub(crate) fn new(max_waiting: usize, watchdog: Watchdog) -> Self {
        let (state, census, n_waiting) = Default::default();
        let metrics = Mutex::new(Recorder::new());
        let (bell, n_owners) = (Arc::new(Doorbell::new()), AtomicU64::new(0));
        Self { bell, watchdog, state, census, metrics, n_waiting, max_waiting, n_owners }
    }

    /// A number that no other owner has.
    pub(crate) fn new_owner(&self) -> OwnerId {
        self.n_owners.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the thread that an owner keeps nothing any more.
    pub(crate) fn release(&self, owner: OwnerId) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.released.push(owner);
        }
        drop(state);
        self.bell.ring();
    }

    /// The owners that were dropped since the last call.
    pub(crate) fn released(&self) -> Vec<OwnerId> {
        std::mem::take(&mut self.lock().released)
    }

    /// Hands a request to the thread, unless the thread has ended or too many wait. Returns its number.
    pub(crate) fn submit(&self, submission: Submission) -> Result<JobId, SubmitError> {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone().into());
        }
        if self.bell.closing.is_raised() {
            return Err(EngineError::Closed.into());
        }
        // Grows only under the lock.
        let n_waiting = self.n_waiting.load(Ordering::Relaxed);
        if n_waiting >= self.max_waiting {
            return Err(QueueFull { n_waiting }.into());
        }
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        state.n_submitted += 1;
        let number = state.n_submitted;
        state.submissions.push((number, submission, Ticket(Arc::clone(&self.n_waiting))));
        drop(state);
        self.metrics().submitted();
        self.bell.ring();
        Ok(number)
    }

    /// Hands a request to the thread again that it had given away for a while. It ends at once if the thread has ended meanwhile.
    pub(crate) fn give_back(&self, number: JobId, submission: Submission, ticket: Ticket) {
        let mut state = self.lock();
        if let Some(error) = state.ended.clone() {
            drop(state);
            return submission.fail(&error);
        }
        state.submissions.push((number, submission, ticket));
        drop(state);
        self.bell.ring();
    }

    /// What was submitted, if anything changed since the last call. Costs one atomic operation if not.
    pub(crate) fn collect(&self) -> Option<Vec<(JobId, Submission, Ticket)>> {
        // A submission from here on rings again.
        self.bell.answer().then(|| std::mem::take(&mut self.lock().submissions))
    }

    /// Refuses all further submissions with `error` and returns those that were still waiting.
    pub(crate) fn end(&self, error: EngineError) -> Vec<(JobId, Submission, Ticket)> {
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

    /// The measurements, locked.
    pub(crate) fn metrics(&self) -> MutexGuard<'_, Recorder> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
