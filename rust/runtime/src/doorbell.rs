//! Waking the decode thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

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

    /// Sleeps until it is rung, or the engine closes.
    pub(crate) fn wait(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.rung.load(Ordering::Acquire) && !self.closing.is_raised() {
            lock = self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
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
            bell.wait();
            sender.send(()).unwrap();
        });
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(10)), Ok(()));
    }
}
