//! The thread that brings cells to a shelf and back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Shelf;
use super::index::{Found, Index};
use crate::inbox::{Inbox, Submission, Ticket};
use crate::scheduler::JobId;
use crate::{EngineError, TokenId};

/// Cells of fewer tokens are not worth a file.
const WORTH_KEEPING: usize = 64;
/// Nor is reading one that saves fewer.
const WORTH_FETCHING: usize = 64;
/// Maximum size of what waits to be kept, in bytes: where the shelf is slower, what came first is dropped.
const WAITING_BYTES: usize = 256 << 20;
/// How long closing lets it go on to keep what waits; what it has begun is ended whole.
const CLOSING: Duration = Duration::from_secs(5);

/// What a shelf brought for a request.
#[derive(Debug, Default)]
pub(crate) enum Errand {
    /// It was not asked.
    #[default]
    Ahead,
    /// It had nothing.
    InVain,
    /// These tokens, with their cells.
    Brought(Arc<[TokenId]>, Vec<u8>),
}

/// Knows what a shelf has, and works with it on a thread.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    index: Index,
    fetches: VecDeque<Fetch>,
    puts: VecDeque<Put>,
    /// When it was told to end.
    closing: Option<Instant>,
}

impl State {
    fn n_waiting_bytes(&self) -> usize {
        self.puts.iter().map(|put| put.cells.len()).sum()
    }
}

/// A request that waits for an entry.
struct Fetch {
    entry: Found,
    job: JobId,
    submission: Submission,
    ticket: Ticket,
}

/// Cells to keep.
struct Put {
    id: u64,
    tokens: Vec<TokenId>,
    cells: Vec<u8>,
    /// The memory cuts what it gets back, so that a longer entry replaces a shorter one.
    cuts: bool,
}

/// What there is to do.
enum Work {
    Fetch(Vec<Fetch>),
    Put(Put),
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn spawn(mut shelf: Box<dyn Shelf>, inbox: &Arc<Inbox>) -> Result<Self, EngineError> {
        let mut index = Index::default();
        for tokens in shelf.entries() {
            index.add(&tokens);
        }
        let state = Mutex::new(State { index, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let (for_thread, inbox) = (Arc::clone(&shared), Arc::clone(inbox));
        let thread = thread::Builder::new()
            .name("tabagent-shelf".to_owned())
            .spawn(move || for_thread.run(&mut *shelf, &inbox))
            .map_err(|error| EngineError::Spawn { message: error.to_string() })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The entry that has most of the beginning of `tokens`, if it is worth reading at all.
    pub(crate) fn find(&self, tokens: &[TokenId], cuts: bool) -> Option<Found> {
        let found = self.shared.lock().index.find(tokens, cuts);
        found.filter(|found| Self::is_worth(found, 0))
    }

    /// Whether reading an entry saves enough where `n_there` tokens are in memory.
    pub(crate) fn is_worth(found: &Found, n_there: usize) -> bool {
        found.keep >= n_there + WORTH_FETCHING
    }

    /// Has an entry read for a request, which comes back to the inbox with it.
    pub(crate) fn fetch(&self, entry: Found, job: JobId, submission: Submission, ticket: Ticket) {
        self.shared.lock().fetches.push_back(Fetch { entry, job, submission, ticket });
        self.shared.changed.notify_all();
    }

    /// Whether the cells of `tokens` are worth keeping, and not there yet.
    pub(crate) fn wants(&self, tokens: &[TokenId], cuts: bool) -> bool {
        tokens.len() >= WORTH_KEEPING && !self.shared.lock().index.covers(tokens, cuts)
    }

    /// Has cells kept, which [`find`](Self::find) finds from now on.
    pub(crate) fn put(&self, tokens: Vec<TokenId>, cells: Vec<u8>, cuts: bool) {
        let mut state = self.shared.lock();
        let id = state.index.add(&tokens);
        state.puts.push_back(Put { id, tokens, cells, cuts });
        let mut n_bytes = state.n_waiting_bytes();
        while n_bytes > WAITING_BYTES
            && let Some(put) = state.puts.pop_front()
        {
            n_bytes -= put.cells.len();
            state.index.forget(&[put.id]);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until there is room for more to be put without a loss; false once it is later than `until`.
    pub(crate) fn wait_for_room(&self, until: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if state.n_waiting_bytes() <= WAITING_BYTES / 2 {
                return true;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all that was put is kept, or its time is up, and ends the thread.
    pub(crate) fn close(&self) {
        self.shared.lock().closing.get_or_insert_with(Instant::now);
        self.shared.changed.notify_all();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // It catches the panics of the shelf, so there is no result to look at.
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().closing.get_or_insert_with(Instant::now);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, shelf: &mut dyn Shelf, inbox: &Inbox) {
        while let Some(work) = self.next() {
            match work {
                Work::Fetch(fetches) => self.bring(fetches, shelf, inbox),
                Work::Put(put) => self.keep(&put, shelf),
            }
        }
    }

    /// Waits for work. Requests come first. `None` to end.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(first) = state.fetches.pop_front() {
                // All that wait for the same entry, which is read once.
                let waiting = std::mem::take(&mut state.fetches);
                let (same, others): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|fetch| fetch.entry.id == first.entry.id);
                state.fetches = others.into();
                return Some(Work::Fetch(std::iter::once(first).chain(same).collect()));
            }
            let is_late = state.closing.is_some_and(|since| since.elapsed() > CLOSING);
            if let Some(put) = state.puts.pop_front().filter(|_| !is_late) {
                // There is room for others.
                self.changed.notify_all();
                return Some(Work::Put(put));
            }
            if state.closing.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads an entry, and gives it to the first of the requests that wait for it; the others find it in memory then.
    fn bring(&self, fetches: Vec<Fetch>, shelf: &mut dyn Shelf, inbox: &Inbox) {
        let mut cells = fetches.first().and_then(|first| self.read(&first.entry, shelf));
        for Fetch { entry, job, mut submission, ticket } in fetches {
            submission.errand =
                cells.take().map_or(Errand::InVain, |cells| Errand::Brought(entry.tokens, cells));
            inbox.give_back(job, submission, ticket);
        }
    }

    fn read(&self, entry: &Found, shelf: &mut dyn Shelf) -> Option<Vec<u8>> {
        let state = self.lock();
        if state.closing.is_some() {
            return None;
        }
        if let Some(put) = state.puts.iter().find(|put| *put.tokens == *entry.tokens) {
            return Some(put.cells.clone());
        }
        drop(state);
        let cells = catch_unwind(AssertUnwindSafe(|| shelf.get(entry.id, &entry.tokens))).ok().flatten();
        if cells.is_none() {
            self.lock().index.forget(&[entry.id]);
        }
        cells
    }

    fn keep(&self, put: &Put, shelf: &mut dyn Shelf) {
        let replaced = if put.cuts { self.lock().index.beginnings(&put.tokens) } else { Vec::new() };
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            let dropped = shelf.put(put.id, &put.tokens, &put.cells)?;
            for id in &replaced {
                shelf.remove(*id);
            }
            Some(dropped)
        }));
        let mut state = self.lock();
        match dropped {
            Ok(Some(dropped)) => {
                state.index.forget(&dropped);
                state.index.forget(&replaced);
                state.puts.retain(|other| !replaced.contains(&other.id));
            }
            _ => state.index.forget(&[put.id]),
        }
    }
}
