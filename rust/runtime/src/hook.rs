//! Lets code outside the decode thread change logits before a token is chosen from them.
//!
//! The decode thread must not run foreign code, which may be slow. So a request with a hook pauses after each decode: its row of logits is
//! copied and sent to the hook's own thread, and the decode thread serves other requests until the row is back.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::TokenId;
use crate::doorbell::Doorbell;

/// A row of logits on its way to the hook.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookedRow {
    /// The prompt's tokens and those generated so far.
    pub tokens: Vec<TokenId>,
    /// The logits of the next token, one for each of the vocabulary.
    pub logits: Vec<f32>,
}

/// What [`HookWorker::next_timeout`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum HookPoll {
    /// A row to change and give back.
    Row(HookedRow),
    /// The request is over.
    Closed,
    /// Nothing yet.
    Pending,
}

/// The request's side of a logits hook; see [`Request::hook`](crate::Request::hook).
pub struct LogitsHook {
    exchange: Arc<Exchange>,
    /// A row that came back, kept to reuse its memory.
    spare: Vec<f32>,
}

/// The worker's side of a logits hook, for the thread that changes rows. Dropping it ends the request with an error as soon as the request has
/// another row to change.
pub struct HookWorker {
    exchange: Arc<Exchange>,
}

#[derive(Default)]
struct Exchange {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// Woken when a row is back.
    bell: Option<Arc<Doorbell>>,
    row: Option<HookedRow>,
    /// The row is with the worker.
    taken: bool,
    answer: Option<Result<Vec<f32>, String>>,
    request_gone: bool,
    worker_gone: bool,
}

/// Makes both sides of a new hook.
///
/// ```
/// let (hook, worker) = tabagent_runtime::logits_hook();
/// drop(hook);
/// assert_eq!(worker.next_timeout(std::time::Duration::ZERO), tabagent_runtime::HookPoll::Closed);
/// ```
pub fn logits_hook() -> (LogitsHook, HookWorker) {
    let exchange = Arc::<Exchange>::default();
    (LogitsHook { exchange: Arc::clone(&exchange), spare: Vec::new() }, HookWorker { exchange })
}

impl LogitsHook {
    pub(crate) fn attach(&self, bell: &Arc<Doorbell>) {
        self.exchange.lock().bell = Some(Arc::clone(bell));
    }

    /// Sends a row to the worker.
    pub(crate) fn send(&mut self, tokens: &[TokenId], logits: &[f32]) {
        let mut copy = std::mem::take(&mut self.spare);
        copy.clear();
        copy.extend_from_slice(logits);
        let mut state = self.exchange.lock();
        state.row = Some(HookedRow { tokens: tokens.to_vec(), logits: copy });
        if state.worker_gone {
            state.fail();
        } else {
            self.exchange.news.notify_all();
        }
    }

    /// The row, once it is back.
    pub(crate) fn take_answer(&self) -> Option<Result<Vec<f32>, String>> {
        self.exchange.lock().answer.take()
    }

    /// Keeps a row's memory for the next one.
    pub(crate) fn recycle(&mut self, row: Vec<f32>) {
        self.spare = row;
    }
}

impl HookWorker {
    /// Waits up to `timeout` for the next row. Each row must be given back before the next one comes.
    pub fn next_timeout(&self, timeout: Duration) -> HookPoll {
        let nothing = |state: &mut State| state.row.is_none() && !state.request_gone;
        let state = self.exchange.lock();
        let waited = self.exchange.news.wait_timeout_while(state, timeout, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.request_gone {
            return HookPoll::Closed;
        }
        match state.row.take() {
            Some(row) => {
                state.taken = true;
                HookPoll::Row(row)
            }
            None => HookPoll::Pending,
        }
    }

    /// Gives the changed row back, or says why there is none, which ends the request with [`EngineError::Hook`](crate::EngineError::Hook). Does
    /// nothing when no row was taken or the request is over.
    pub fn give_back(&self, row: Result<Vec<f32>, String>) {
        let mut state = self.exchange.lock();
        if std::mem::take(&mut state.taken) && !state.request_gone {
            state.answer(row);
        }
    }
}

impl State {
    fn answer(&mut self, row: Result<Vec<f32>, String>) {
        self.answer = Some(row);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    fn fail(&mut self) {
        self.row = None;
        self.answer(Err("its thread has ended".to_owned()));
    }
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LogitsHook {
    fn drop(&mut self) {
        self.exchange.lock().request_gone = true;
        self.exchange.news.notify_all();
    }
}

impl Drop for HookWorker {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        state.worker_gone = true;
        if (std::mem::take(&mut state.taken) || state.row.is_some()) && !state.request_gone {
            state.fail();
        }
    }
}

impl fmt::Debug for LogitsHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogitsHook").finish_non_exhaustive()
    }
}

impl fmt::Debug for HookWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookWorker").finish_non_exhaustive()
    }
}
