//! Waking the decode thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::AbortFlag;
use crate::process::ProcessMark;

/// Wakes the decode thread. Whoever has something for the thread rings; the thread then looks at everything again. When there is nothing to do,
/// it sleeps until the next ring.
pub(crate) struct Doorbell {
    pub(crate) home: ProcessMark,
    /// Raised once, when the engine closes; the parent of every request's flag.
    pub(crate) closing: AbortFlag,
    /// Set and cleared under the lock, read without it.
    rung: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self {
            home: ProcessMark::here(),
            closing: AbortFlag::new(),
            rung: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Makes the thread look at everything again. Store what it should find before this call.
    pub(crate) fn ring(&self) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.rung.store(true, Ordering::Release);
        drop(lock);
        self.wake.notify_one();
    }

    /// Whether it was rung since the last call. Costs one atomic operation if not.
    pub(crate) fn answer(&self) -> bool {
        if !self.rung.load(Ordering::Acquire) {
            return false;
        }
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.rung.store(false, Ordering::Release);
        true
    }

    /// Sleeps until it is rung, or the engine closes, or the time is up. Returns false when the time was up.
    pub(crate) fn wait_until(&self, until: Option<Instant>) -> bool {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.rung.load(Ordering::Acquire) && !self.closing.is_raised() {
            lock = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => self.wake.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thread may answer after `close` has rung and before it looks at the flag again.
    #[test]
    fn waiting_ends_when_the_closing_flag_was_raised_before_the_last_look() {
        let bell = Doorbell::new();
        bell.closing.raise();
        bell.ring();
        assert!(bell.answer() && !bell.answer());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(bell.wait_until(None)).unwrap();
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(true));
    }

    #[test]
    fn waiting_ends_when_the_time_is_up() {
        let bell = Doorbell::new();
        assert!(!bell.wait_until(Some(Instant::now())));
        bell.ring();
        assert!(bell.wait_until(Some(Instant::now())));
    }
}
