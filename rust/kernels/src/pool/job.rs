//! A step's work that lives on its caller's stack, lent to threads that outlive it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::KernelError;

/// How often the caller looks whether the last pieces have ended before it sleeps.
const LOOKS: usize = 200;

/// Pieces of work, claimed by number.
pub(super) struct Job {
    /// The caller's closure, alive until [`with`] returns. It may be called only for a piece that was claimed and has not ended.
    work: &'static (dyn Fn(usize) + Sync),
    n_pieces: usize,
    n_helpers: usize,
    /// The next piece to claim.
    next: AtomicUsize,
    /// Pieces that have ended.
    n_done: AtomicUsize,
    has_panicked: AtomicBool,
    message: Mutex<Option<String>>,
    caller: Thread,
}

/// How long the caller worked and waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the first piece to the end of the caller's last one.
    pub(super) worked: Duration,
    /// From then to the end of all pieces.
    pub(super) waited: Duration,
    /// Pieces that others did.
    pub(super) n_helped: usize,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("n_pieces", &self.n_pieces).finish_non_exhaustive()
    }
}

/// Does `n_pieces` of `work` together with up to `n_helpers` threads to which `show` shows the job.
pub(super) fn with(
    n_pieces: usize,
    n_helpers: usize,
    work: &(dyn Fn(usize) + Sync),
    show: impl FnOnce(&Arc<Job>),
) -> Result<Times, KernelError> {
    // SAFETY: only the lifetime changes. The closure is called through `Job::help` alone, for a claimed piece, and this function does not return
    // (nor unwind: `help` catches every panic, and `show` is called before any piece is claimed here) before all `n_pieces` claimed pieces have ended.
    // Threads that keep the job longer find no piece left to claim and never touch the closure.
    let work =
        unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
    let job = Arc::new(Job {
        work,
        n_pieces,
        n_helpers,
        next: AtomicUsize::new(0),
        n_done: AtomicUsize::new(0),
        has_panicked: AtomicBool::new(false),
        message: Mutex::new(None),
        caller: thread::current(),
    });
    show(&job);
    let begun = Instant::now();
    let n_own = job.help();
    let worked = begun.elapsed();
    job.wait();
    let times = Times { worked, waited: begun.elapsed().saturating_sub(worked), n_helped: n_pieces - n_own };
    match job.message.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(message) => Err(KernelError::Panicked { message }),
        None => Ok(times),
    }
}

impl Job {
    /// How many threads may help.
    pub(super) fn n_helpers(&self) -> usize {
        self.n_helpers
    }

    /// Claims and does pieces until none is left; how many it did.
    pub(super) fn help(&self) -> usize {
        let mut n_own = 0;
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= self.n_pieces {
                return n_own;
            }
            n_own += 1;
            if !self.has_panicked.load(Ordering::Relaxed)
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.work)(piece)))
            {
                self.has_panicked.store(true, Ordering::Relaxed);
                let mut message = self.message.lock().unwrap_or_else(PoisonError::into_inner);
                message.get_or_insert_with(|| text_of(&*panic));
                // Dropping the panic's payload runs code of others, which may panic in turn.
                std::mem::forget(panic);
            }
            if self.n_done.fetch_add(1, Ordering::AcqRel) + 1 == self.n_pieces {
                self.caller.unpark();
            }
        }
    }

    /// Returns when all pieces have ended.
    fn wait(&self) {
        let mut n_looks = 0;
        while self.n_done.load(Ordering::Acquire) < self.n_pieces {
            n_looks += 1;
            if n_looks < LOOKS {
                std::hint::spin_loop();
                if n_looks % 16 == 0 {
                    thread::yield_now();
                }
            } else {
                thread::park();
            }
        }
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
