//! Threads for parallel work, where the system gives any.
//!
//! The global pool of `rayon` panics if a thread cannot be started (`RLIMIT_NPROC`, a control group's `pids.max`), and in a forked child waits for
//! threads that only its parent has. So all parallel work of this crate goes through [`spread`] or a [`Crew`]: both have pools of their own, and do
//! the work on the calling thread if they can have none.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, TryLockError};

thread_local! {
    /// Whether this thread is the only one of a pool, which it cannot leave.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// The shared pool, with the id of the process that made it.
static SHARED: RwLock<Option<(u32, Arc<ThreadPool>)>> = RwLock::new(None);

/// The most threads that a caller can ask for. More threads than cores only take turns.
pub const MAX_THREADS: usize = 1024;
/// How often to try a lock that a fork may have left locked for ever.
const TRIES: usize = 1000;

/// Runs `work`, whose parallel iterators use the pool that the caller is in, else one thread for each usable core, or the calling thread alone if no
/// thread can be started. The result is the same in each case.
pub fn spread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() && !ALONE.get() {
        return work();
    }
    match shared() {
        Some(pool) => pool.install(work),
        None => alone(work),
    }
}

/// Runs `work`, whose parallel iterators use that many threads, or fewer if the system gives fewer. `None` means as in [`spread`].
pub fn with_threads<T: Send>(threads: Option<NonZeroUsize>, work: impl FnOnce() -> T + Send) -> T {
    match threads {
        Some(_) => Crew::new(threads).install(work),
        None => work(),
    }
}

/// A number of threads for one task.
pub(crate) struct Crew(Option<ThreadPool>);

impl Crew {
    /// A crew of that many threads, or of one for each usable core; fewer if the system gives fewer.
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Self {
        Self(pool_of_at_most(threads.map_or_else(usable_cores, usize::from)))
    }

    /// How many there are.
    pub(crate) fn size(&self) -> usize {
        self.0.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work`, whose parallel iterators use these threads.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => alone(work),
        }
    }
}

/// How many threads of this process can run at the same time, by its affinity and the quota of its control groups, as the standard library counts
/// them: what is taken where a caller leaves the number open. At least 1.
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn pool_of_at_most(threads: usize) -> Option<ThreadPool> {
    let mut threads = threads.clamp(1, MAX_THREADS);
    loop {
        let name = |number| format!("tabagent-work-{number}");
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build();
        if pool.is_ok() || threads == 1 {
            return pool.ok();
        }
        threads /= 2;
    }
}

/// The shared pool, made now if this process has none; `None` where that is not possible.
fn shared() -> Option<Arc<ThreadPool>> {
    let process = std::process::id();
    let ours = |known: &Option<(u32, Arc<ThreadPool>)>| match known {
        Some((owner, pool)) if *owner == process => Some(Arc::clone(pool)),
        _ => None,
    };
    let found = tried(|| match SHARED.try_read() {
        Ok(known) => Some(ours(&known)),
        Err(TryLockError::Poisoned(poisoned)) => Some(ours(&poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    })?;
    if found.is_some() {
        return found;
    }
    let made = Arc::new(pool_of_at_most(usable_cores())?);
    tried(|| {
        let mut known = match SHARED.try_write() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(pool) = ours(&known) {
            return Some(pool);
        }
        // A pool that the parent process made has no threads here to end.
        if let Some(parents) = known.replace((process, Arc::clone(&made))) {
            std::mem::forget(parents);
        }
        Some(Arc::clone(&made))
    })
}

fn tried<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..TRIES {
        if let Some(result) = attempt() {
            return Some(result);
        }
        std::thread::yield_now();
    }
    None
}

/// Runs `work` on this thread, which becomes a pool of one for it.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if !ALONE.get() && rayon::current_thread_index().is_none() {
        let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        ALONE.set(pool.is_ok());
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    fn sum(n: u64) -> u64 {
        (0..n).into_par_iter().sum()
    }

    #[test]
    fn work_is_done_in_a_pool_alone_and_in_both() {
        assert_eq!(spread(|| sum(1000)), 499_500);
        let here = std::thread::current().id();
        assert_ne!(spread(|| std::thread::current().id()), here);
        assert_eq!(alone(|| (sum(1000), std::thread::current().id())), (499_500, here));
        // A thread that was alone once still gets threads when there are some.
        assert_ne!(spread(|| std::thread::current().id()), here);
        assert_eq!(spread(|| spread(|| sum(1000))), 499_500);
        assert_eq!(alone(|| spread(|| alone(|| sum(1000)))), 499_500);
    }

    #[test]
    fn a_crew_has_the_threads_it_was_asked_for() {
        let crew = Crew::new(NonZeroUsize::new(3));
        assert_eq!(crew.size(), 3);
        assert_eq!(crew.install(rayon::current_num_threads), 3);
        assert_eq!(Crew(None).size(), 1);
        assert_eq!(Crew(None).install(|| sum(1000)), 499_500);
    }
}
