//! Threads that share the work of a step.

mod job;
mod windows;

use std::num::NonZeroUsize;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use job::{Job, Times};
pub(crate) use windows::{Window, Windows};

use crate::KernelError;

/// How long a worker without work looks for more before it sleeps: longer than the gap between two products of a step.
const WATCH: Duration = Duration::from_micros(50);

/// How much longer than it worked the caller waits for the others before it counts as held up.
const HELD_UP: Duration = Duration::from_micros(50);

/// Threads that share work. Whoever calls [`Pool::run`] is one of them; the others sleep between steps.
///
/// Work is claimed piece by piece, so a thread that the system takes off its core holds up one piece only, and one that comes late finds
/// nothing left to do. When the caller has to wait for such a thread, it works alone for a while, so that a busy neighbour makes no step much longer
/// than one thread would take.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    n_threads: AtomicUsize,
    /// Held during a parallel run.
    turn: Mutex<Rest>,
    /// The process that has the workers: a forked child has none of them.
    process: u32,
}

/// When the workers are left alone, since the caller had to wait for one of them: another program has its core.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    /// How often in a row the caller had to wait soon after a rest.
    n_held_up: u32,
}

impl Rest {
    /// True while the workers are left alone.
    fn is_on(&mut self) -> bool {
        let is_on = self.until.is_some_and(|until| Instant::now() < until);
        if !is_on {
            self.until = None;
        }
        is_on
    }

    /// Begins a rest if the caller, after its last piece, waited for longer than all its pieces had taken. The time lost so is a small share of the
    /// rest, and a smaller one each time in a row.
    fn note(&mut self, times: Times) {
        if times.waited > times.worked + HELD_UP {
            self.n_held_up = (self.n_held_up + 1).min(4);
            self.until = Some(Instant::now() + times.waited * (10 << self.n_held_up));
        } else if self.n_held_up > 0 && times.n_helped > 0 {
            self.n_held_up -= 1;
        }
    }
}

/// What the pool and its workers look at.
#[derive(Debug, Default)]
struct Shared {
    /// Goes up with each job that is put up.
    n_jobs: AtomicU64,
    stop: AtomicBool,
    board: Mutex<Board>,
    news: Condvar,
}

/// The job that is put up, and who sleeps until there is one.
#[derive(Debug, Default)]
struct Board {
    job: Option<Arc<Job>>,
    n_sleeping: usize,
}

/// Locks also after a panic: no code of others runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of `n_threads`, the calling thread among them; zero is taken for one.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoThread`].
    pub fn new(n_threads: usize) -> Result<Self, KernelError> {
        let pool = Self {
            shared: Arc::default(),
            workers: Mutex::default(),
            n_threads: AtomicUsize::new(1),
            turn: Mutex::default(),
            process: process::id(),
        };
        pool.set_threads(n_threads)?;
        Ok(pool)
    }

    /// False in a forked child.
    fn has_workers(&self) -> bool {
        process::id() == self.process
    }

    /// How many threads share the work.
    pub fn n_threads(&self) -> usize {
        self.n_threads.load(Ordering::Relaxed)
    }

    /// Has `n_threads` share the work from the next run on; zero is taken for one.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoThread`]; the pool then has as many threads as the system gave.
    pub fn set_threads(&self, n_threads: usize) -> Result<(), KernelError> {
        let n_threads = n_threads.max(1);
        if !self.has_workers() {
            self.n_threads.store(n_threads, Ordering::Relaxed);
            return Ok(());
        }
        let mut workers = lock(&self.workers);
        while workers.len() + 1 < n_threads {
            let index = workers.len();
            let shared = Arc::clone(&self.shared);
            let builder = thread::Builder::new().name(format!("tabagent-kernel-{index}"));
            let started = builder.spawn(move || shared.work(index));
            match started {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    self.n_threads.store(workers.len() + 1, Ordering::Relaxed);
                    return Err(KernelError::NoThread { reason: error.to_string() });
                }
            }
        }
        self.n_threads.store(n_threads, Ordering::Relaxed);
        Ok(())
    }

    /// Calls `work` for each number below `n_pieces`, once, in any order and on any of the threads, and returns when all calls have ended.
    ///
    /// Within a piece, while another thread's run goes on, and in a forked child, all pieces are done on the calling thread.
    ///
    /// # Errors
    ///
    /// [`KernelError::Panicked`] if a call panicked; pieces that had not begun then are left out.
    pub fn run(&self, n_pieces: usize, work: &(dyn Fn(usize) + Sync)) -> Result<(), KernelError> {
        let n_threads = self.n_threads().min(n_pieces);
        let can_share = n_threads > 1 && self.has_workers();
        let mut turn = if can_share { self.turn.try_lock().ok() } else { None };
        let is_shared = turn.as_mut().is_some_and(|rest| !rest.is_on());
        let times = job::with(n_pieces, n_threads.saturating_sub(1), work, |job| {
            if is_shared {
                self.shared.put_up(job);
            }
        })?;
        if is_shared && let Some(rest) = &mut turn {
            rest.note(times);
        }
        Ok(())
    }

    /// Calls `work` with each `chunk_len` of `data` and its number; the last chunk may be shorter.
    ///
    /// # Errors
    ///
    /// As [`Pool::run`].
    ///
    /// # Panics
    ///
    /// If `chunk_len` is zero.
    pub fn each_chunk<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) -> Result<(), KernelError> {
        let chunk_len = NonZeroUsize::new(chunk_len).expect("chunks have a length");
        let chunks: Vec<Mutex<Option<&mut [T]>>> =
            data.chunks_mut(chunk_len.get()).map(|chunk| Mutex::new(Some(chunk))).collect();
        self.run(chunks.len(), &|at| {
            if let Some(chunk) = lock(&chunks[at]).take() {
                work(at, chunk);
            }
        })
    }
}

impl Shared {
    /// Shows `job` to the workers and wakes those that sleep.
    fn put_up(&self, job: &Arc<Job>) {
        let mut board = lock(&self.board);
        board.job = Some(Arc::clone(job));
        self.n_jobs.fetch_add(1, Ordering::Release);
        if board.n_sleeping > 0 {
            self.news.notify_all();
        }
    }

    /// A worker's life.
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.watch(seen);
            let mut board = lock(&self.board);
            while self.n_jobs.load(Ordering::Acquire) == seen && !self.stop.load(Ordering::Acquire) {
                board.n_sleeping += 1;
                board = self.news.wait(board).unwrap_or_else(PoisonError::into_inner);
                board.n_sleeping -= 1;
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            seen = self.n_jobs.load(Ordering::Acquire);
            let job = board.job.clone();
            drop(board);
            if let Some(job) = job
                && index < job.n_helpers()
            {
                job.help();
            }
        }
    }

    /// Looks for a job after number `seen` for a while, and lets others have the core in between.
    fn watch(&self, seen: u64) {
        let begun = Instant::now();
        while self.n_jobs.load(Ordering::Acquire) == seen && !self.stop.load(Ordering::Acquire) {
            for _ in 0..64 {
                std::hint::spin_loop();
            }
            thread::yield_now();
            if begun.elapsed() > WATCH {
                return;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.has_workers() {
            // There is nobody to wait for, and a worker may have had the lock when the process forked.
            let workers = self.workers.get_mut().unwrap_or_else(PoisonError::into_inner);
            workers.drain(..).for_each(std::mem::forget);
            return;
        }
        self.shared.stop.store(true, Ordering::Release);
        {
            let _board = lock(&self.shared.board);
            self.shared.news.notify_all();
        }
        for worker in lock(&self.workers).drain(..) {
            // A worker catches the panics of its pieces; there is no result to look at.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_runs_once() {
        for n_threads in [1, 2, 5] {
            let pool = Pool::new(n_threads).unwrap();
            for n_pieces in [0, 1, 2, 3, 100] {
                let counts: Vec<AtomicUsize> = (0..n_pieces).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n_pieces, &|at| {
                    counts[at].fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_in_a_piece_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::new(3).unwrap();
        let error = pool.run(8, &|at| assert!(at != 5, "piece {at} is bad")).unwrap_err();
        assert!(error.to_string().contains("piece 5 is bad"), "{error}");
        let done = AtomicUsize::new(0);
        pool.run(8, &|_| {
            done.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(done.into_inner(), 8);
    }

    #[test]
    fn a_run_within_a_piece_is_done_on_its_thread() {
        let pool = Pool::new(2).unwrap();
        let done = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(4, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        })
        .unwrap();
        assert_eq!(done.into_inner(), 16);
    }

    #[test]
    fn runs_from_several_threads_do_not_mix() {
        let pool = Pool::new(2).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..50usize {
                        let mut data = vec![0usize; 37];
                        pool.each_chunk(&mut data, 5, &|at, chunk| chunk.fill(at + round)).unwrap();
                        assert!(data.iter().enumerate().all(|(i, x)| *x == i / 5 + round));
                    }
                });
            }
        });
    }

    #[test]
    fn a_worker_that_holds_the_caller_up_is_left_alone_for_a_while() {
        let pool = Pool::new(2).unwrap();
        let caller = thread::current().id();
        let has_helped = AtomicBool::new(false);
        pool.run(2, &|_| {
            if thread::current().id() == caller {
                while !has_helped.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            } else {
                has_helped.store(true, Ordering::Release);
                // What a core taken away looks like.
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(20) {
                    thread::yield_now();
                }
            }
        })
        .unwrap();
        pool.run(100, &|_| assert_eq!(thread::current().id(), caller)).unwrap();
        assert!(lock(&pool.turn).is_on());
    }

    #[test]
    fn the_number_of_threads_can_change() {
        let pool = Pool::new(0).unwrap();
        assert_eq!(pool.n_threads(), 1);
        for n_threads in [3, 1, 2] {
            pool.set_threads(n_threads).unwrap();
            assert_eq!(pool.n_threads(), n_threads);
            let done = AtomicUsize::new(0);
            pool.run(50, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert_eq!(done.into_inner(), 50);
        }
    }
}
