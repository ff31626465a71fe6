//! Notices a decode that makes no progress, and tells everybody who waits for it.
//!
//! An operation that never ends cannot be stopped from outside: the decode thread is lost, with the memory that it uses. What can be kept is that
//! nobody waits for it: streams end with an error, closing returns, and the process can end. Where what computes can be ended from outside
//! ([`Decoder::ender`](crate::Decoder::ender)), that is done instead, and the thread goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::{Channel, Producer};
use crate::inbox::Inbox;
use crate::{Ender, EngineError, Finish};

/// How many times longer than usual a decode may take.
const TIMES: f64 = 100.0;
/// How many times the patience a decode may take before one was measured: its weights may have to be read from a slow disk.
const FIRST: u32 = 5;
/// How long closing waits for the decode thread at most: an operation that takes longer is not worth waiting for.
const CLOSING: Duration = Duration::from_secs(10);
/// How often it looks, at most.
const TICK: Duration = Duration::from_secs(1);

/// What the decode thread, the watching thread and those who close share.
pub(crate) struct Watchdog {
    patience: Duration,
    /// How long a decode may take before one was measured.
    first: Duration,
    ender: Option<Ender>,
    /// Odd while a decode runs; each decode has its own number.
    serial: AtomicU64,
    /// Milliseconds that the running decode may take.
    limit: AtomicU64,
    /// The watching thread sleeps until the next decode begins.
    asleep: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The decode thread has ended, and its decoder is gone.
    ended: bool,
    /// The running decode was given up.
    lost: bool,
    streams: Vec<Weak<Channel>>,
    /// How many streams there may be before those that are gone are looked for.
    n_streams: usize,
}

/// Measures decodes on the decode thread.
#[derive(Default)]
pub(crate) struct Usual {
    /// The most seconds that a token has taken, fading slowly.
    per_token: Option<f64>,
}

impl Watchdog {
    pub(crate) fn new(patience: Duration, first: Option<Duration>, ender: Option<Ender>) -> Self {
        let (serial, limit, asleep, state, changed) = Default::default();
        let first = first.unwrap_or(patience * FIRST);
        Self { patience, first, ender, serial, limit, asleep, state, changed }
    }

    /// Ends what computes, if it can be ended from outside; returns whether it can.
    pub(crate) fn end_decode(&self) -> bool {
        self.ender.as_ref().map(|end| end()).is_some()
    }

    /// Whether a decode runs now.
    pub(crate) fn is_decoding(&self) -> bool {
        !self.serial.load(Ordering::SeqCst).is_multiple_of(2)
    }

    /// Starts the thread that watches. Without one, where the system gives none, nothing is noticed but by those who close.
    pub(crate) fn watch(inbox: &Arc<Inbox>) {
        let inbox = Arc::clone(inbox);
        // The decode thread runs without it.
        drop(
            thread::Builder::new()
                .name("tabagent-watch".to_owned())
                .spawn(move || inbox.watchdog.run(&inbox)),
        );
    }

    /// Runs a decode of `n_tokens` under watch.
    pub(crate) fn during<T>(&self, usual: &mut Usual, n_tokens: usize, decode: impl FnOnce() -> T) -> T {
        let limit = usual.per_token.map_or(self.first, |seconds| {
            let seconds = Duration::try_from_secs_f64(TIMES * seconds * n_tokens as f64);
            seconds.unwrap_or(Duration::MAX).max(self.patience)
        });
        self.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.serial.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.lock());
            self.changed.notify_all();
        }
        let began = Instant::now();
        let done = decode();
        self.serial.fetch_add(1, Ordering::SeqCst);
        let now = began.elapsed().as_secs_f64() / n_tokens.max(1) as f64;
        usual.per_token = Some(usual.per_token.map_or(now, |old| now.max(0.99 * old)));
        done
    }

    /// Remembers a stream, to be told.
    pub(crate) fn add(&self, stream: &Arc<Channel>) {
        let mut state = self.lock();
        if state.streams.len() >= state.n_streams {
            state.streams.retain(|stream| stream.strong_count() > 0);
            state.n_streams = (2 * state.streams.len()).max(64);
        }
        state.streams.push(Arc::downgrade(stream));
    }

    /// The decode thread has ended.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the decode thread has ended; false if it hangs.
    pub(crate) fn wait(&self) -> bool {
        let state = self.lock();
        let patience = self.patience.min(CLOSING);
        let unclear = |state: &mut State| !state.ended && !state.lost;
        let (mut state, _) =
            self.changed.wait_timeout_while(state, patience, unclear).unwrap_or_else(PoisonError::into_inner);
        state.lost = !state.ended;
        state.ended
    }

    /// Whether the running decode was given up.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    fn run(&self, inbox: &Inbox) {
        let (mut seen, mut spent, mut last) = (0, Duration::ZERO, Instant::now());
        let mut state = self.lock();
        while !state.ended {
            let serial = self.serial.load(Ordering::SeqCst);
            let limit = Duration::from_millis(self.limit.load(Ordering::SeqCst));
            let tick = TICK.min(limit / 4).max(Duration::from_millis(1));
            let now = Instant::now();
            if serial.is_multiple_of(2) {
                self.asleep.store(true, Ordering::SeqCst);
                if self.serial.load(Ordering::SeqCst) == serial {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                self.asleep.store(false, Ordering::SeqCst);
                last = Instant::now();
                continue;
            }
            // The time of a process that was stopped meanwhile does not count.
            spent = if serial == seen { spent + (now - last).min(2 * tick) } else { Duration::ZERO };
            (seen, last) = (serial, now);
            if spent >= limit && self.end_decode() {
                // The decode returns with an error now.
                spent = Duration::ZERO;
            }
            if spent >= limit {
                state.lost = true;
                let streams = std::mem::take(&mut state.streams);
                drop(state);
                self.tell(inbox, &streams, limit);
                return;
            }
            state = self.changed.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell(&self, inbox: &Inbox, streams: &[Weak<Channel>], limit: Duration) {
        let error = EngineError::Hung { seconds: limit.as_secs() };
        // Before the flag is raised: a thread that comes back ends its streams with another error.
        let waiting = inbox.end(error.clone());
        for stream in streams.iter().filter_map(Weak::upgrade) {
            Producer::new(stream).finish(Vec::new(), Finish::from_error(error.clone()));
        }
        drop(waiting);
        inbox.bell.closing.raise();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
