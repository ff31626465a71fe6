//! The bounded channel between the decode thread and one consumer.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::doorbell::Doorbell;
use crate::{AbortFlag, EngineError, Finish, Poll, TokenEvent};

/// How many events a stream holds before its request is paused. The request resumes when the consumer has taken half of them.
pub const CHANNEL_CAPACITY: usize = 256;

type Waker = dyn Fn() + Send + Sync;

/// Events on their way, and how the stream ended.
pub(crate) struct Channel {
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) abort: AbortFlag,
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<TokenEvent>,
    finish: Option<Finish>,
    waker: Option<Arc<Waker>>,
    /// How many threads sleep on the condition variable.
    waiting: usize,
    /// The channel was full and is not yet half empty.
    stalled: bool,
}

impl Channel {
    pub(crate) fn new(bell: &Arc<Doorbell>) -> Arc<Self> {
        Arc::new(Self {
            bell: Arc::clone(bell),
            abort: bell.closing.child(),
            state: Mutex::default(),
            ready: Condvar::new(),
        })
    }

    /// Takes the next event; wakes the decode thread when this makes a full channel half empty.
    pub(crate) fn take(&self) -> Poll {
        self.take_from(&mut self.lock())
    }

    /// As [`take`](Self::take), but waits up to `timeout` for something to come.
    pub(crate) fn take_timeout(&self, timeout: Duration) -> Poll {
        let mut state = self.lock();
        state.waiting += 1;
        let nothing = |state: &mut State| state.events.is_empty() && state.finish.is_none();
        let (mut state, _) =
            self.ready.wait_timeout_while(state, timeout, nothing).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        self.take_from(&mut state)
    }

    pub(crate) fn finish(&self) -> Option<Finish> {
        self.lock().finish.clone()
    }

    /// Sets the waker, and calls it if there is something to take already.
    pub(crate) fn set_waker(&self, waker: Option<Box<Waker>>) {
        let waker: Option<Arc<Waker>> = waker.map(Arc::from);
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.waker, waker.clone());
        let has_news = !state.events.is_empty() || state.finish.is_some();
        drop(state);
        drop(old);
        if has_news && let Some(waker) = waker {
            waker();
        }
    }

    /// Drops the events that nobody will take.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        let dropped = (std::mem::take(&mut state.events), state.waker.take());
        drop(state);
        drop(dropped);
    }

    fn take_from(&self, state: &mut State) -> Poll {
        let Some(event) = state.events.pop_front() else {
            return if state.finish.is_some() { Poll::Finished } else { Poll::Pending };
        };
        if state.stalled && state.events.len() <= CHANNEL_CAPACITY / 2 {
            state.stalled = false;
            self.bell.ring();
        }
        Poll::Event(event)
    }

    /// Changes the state and wakes the consumer: always if it sleeps, through its waker if the channel was empty before or the stream has ended.
    fn publish(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_empty = state.events.is_empty();
        change(&mut state);
        let waker = if was_empty || state.finish.is_some() { state.waker.clone() } else { None };
        if state.waiting > 0 {
            self.ready.notify_all();
        }
        drop(state);
        if let Some(waker) = waker {
            // A waker that panics must not take other streams with it; the panic hook has reported it.
            drop(catch_unwind(AssertUnwindSafe(|| waker())));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The decode thread's end. A producer that is dropped ends its stream, so no consumer ever waits in vain.
pub(crate) struct Producer {
    channel: Arc<Channel>,
}

impl Producer {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Self { channel }
    }

    pub(crate) fn abort(&self) -> &AbortFlag {
        &self.channel.abort
    }

    /// Whether the consumer cancelled, as opposed to the engine closing.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.channel.abort.is_raised_itself()
    }

    /// Pushes an event; false when the channel is full now and the request must pause. The event is always taken.
    pub(crate) fn push(&self, event: TokenEvent) -> bool {
        let mut has_room = true;
        self.channel.publish(|state| {
            state.events.push_back(event);
            state.stalled = state.events.len() >= CHANNEL_CAPACITY;
            has_room = !state.stalled;
        });
        has_room
    }

    /// Pushes an event that need not come: not where many wait already.
    pub(crate) fn offer(&self, event: TokenEvent) {
        if self.channel.lock().events.len() < CHANNEL_CAPACITY / 4 {
            self.push(event);
        }
    }

    /// Whether the channel was full and is not yet half empty.
    pub(crate) fn is_stalled(&self) -> bool {
        self.channel.lock().stalled
    }

    /// Ends the stream with its last events; only the first call counts.
    pub(crate) fn finish(&self, last: Vec<TokenEvent>, finish: Finish) {
        self.channel.publish(|state| {
            if state.finish.is_none() {
                state.events.extend(last);
                state.finish = Some(finish);
                state.stalled = false;
            }
        });
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.channel.finish().is_none() {
            self.finish(Vec::new(), Finish::from_error(EngineError::Closed));
        }
    }
}
