//! Work that may take long, on a thread that is not Python's, while Python's thread listens for signals.
//!
//! A call that would block for long hands its work to a worker with [`run`] and waits for it without the GIL. Every 25 ms it runs Python's
//! signal handlers. When one of them raises, the work's flag is raised and the call returns at once (for work that writes a file, once nothing
//! of the file is left). Work that looks at its flag ends soon; other work (llama.cpp cannot be stopped while it tokenizes) goes on by itself.
//! It owns or shares all that it uses, so nothing is freed under it, and its result is dropped on its own thread.
//!
//! Where the system gives no thread, the work runs on the calling thread, and signals are handled when it is done.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tabagent_model::AbortFlag;
use tabagent_model::{AtWork, guard_exit};

/// How often the waiting thread runs signal handlers.
const SLICE: Duration = Duration::from_millis(25);
/// How long an interrupted call waits for work that looks at its flag, so that its memory is mostly free again when the call returns.
const GRACE: Duration = Duration::from_millis(100);
/// Workers that are kept for the next work, and for how long.
const KEPT: usize = 8;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Stack of a worker: as large as a main thread's.
const STACK: usize = 8 << 20;

type Task = Box<dyn FnOnce() + Send>;
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// Runs `work` on a worker.
///
/// # Errors
/// What a signal handler raises; a `RuntimeError` if the work panicked.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
) -> PyResult<T> {
    run_with(py, &AbortFlag::new(), work)
}

/// Runs `work` on a worker if it may be `long`, else here.
pub(crate) fn run_if<T: Send + 'static>(
    py: Python<'_>,
    long: bool,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
) -> PyResult<T> {
    if long { run(py, work) } else { here(py, || work(&AbortFlag::new())) }
}

/// Runs `work`, which is done soon, on this thread without the GIL.
pub(crate) fn here<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let outcome = py.detach(|| {
        let _at_work = AtWork::begin();
        catch_unwind(AssertUnwindSafe(work))
    });
    outcome.map_err(|panic| defect(&*panic))
}

/// [`run`] with a flag of the caller's.
pub(crate) fn run_with<T: Send + 'static>(
    py: Python<'_>,
    stop: &AbortFlag,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
) -> PyResult<T> {
    run_listening(py, stop, SLICE, work, |_| Ok(()))
}

/// [`run`] with a flag of the caller's. Every `slice`, `listen` runs with the GIL; an exception from it stops the work, too, and is raised when
/// the work has ended.
pub(crate) fn run_listening<T: Send + 'static>(
    py: Python<'_>,
    stop: &AbortFlag,
    slice: Duration,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
    listen: impl FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<T> {
    attend(py, stop, slice, Some(GRACE), work, listen)
}

/// [`run_listening`] for work that writes a file: after a signal, too, the call returns only when the work has ended and the half-written file
/// is gone, unless another signal comes.
pub(crate) fn run_writing<T: Send + 'static>(
    py: Python<'_>,
    stop: &AbortFlag,
    slice: Duration,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
    listen: impl FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<T> {
    attend(py, stop, slice, None, work, listen)
}

/// Runs `work` and waits for it; after a signal only for `grace`, if there is one.
fn attend<T: Send + 'static>(
    py: Python<'_>,
    stop: &AbortFlag,
    slice: Duration,
    grace: Option<Duration>,
    work: impl FnOnce(&AbortFlag) -> T + Send + 'static,
    mut listen: impl FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<T> {
    let slot = Arc::new(Slot::default());
    let (for_worker, flag) = (Arc::clone(&slot), stop.clone());
    let task = Box::new(move || {
        let registered = Registered::new(&flag);
        for_worker.put(catch_unwind(AssertUnwindSafe(|| work(&flag))));
        // The last holder of the slot drops a result that nobody took; that too may be in llama.cpp.
        drop(for_worker);
        drop(registered);
    });
    if let Err(task) = start(task) {
        py.detach(task);
    }
    loop {
        if let Some(outcome) = py.detach(|| slot.take(slice)) {
            return outcome.map_err(|panic| defect(&*panic));
        }
        let (error, grace) = match py.check_signals() {
            Err(error) => (error, grace),
            Ok(()) => match listen(py) {
                Err(error) => (error, None),
                Ok(()) => continue,
            },
        };
        stop.raise();
        if let Some(grace) = grace {
            py.detach(|| drop((slot.take(grace), slot)));
            return Err(error);
        }
        // Waits until the work has removed what it leaves behind, such as half a file.
        while py.detach(|| slot.take(slice)).is_none() {
            py.check_signals()?;
        }
        return Err(error);
    }
}

/// Raises the flags of all work that runs, and waits for it, `seconds` at the most. True if none runs any more.
#[pyfunction]
pub(crate) fn stop_jobs(py: Python<'_>, seconds: f64) -> PyResult<bool> {
    let deadline = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    loop {
        let ended = py.detach(|| {
            let Some(workers) = lock() else { return true };
            workers.running.iter().for_each(AbortFlag::raise);
            if workers.running.is_empty() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(SLICE);
            let waited = ENDED.wait_timeout(workers, left).unwrap_or_else(PoisonError::into_inner);
            waited.0.running.is_empty()
        });
        if ended || Instant::now() >= deadline {
            if !ended {
                guard_exit();
            }
            return Ok(ended);
        }
        py.check_signals()?;
    }
}

/// What to raise when work panicked.
fn defect(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    PyRuntimeError::new_err(format!("the working thread failed; this is a defect of tabagent: {text}"))
}

/// Where a worker leaves its result.
struct Slot<T> {
    outcome: Mutex<Option<Outcome<T>>>,
    filled: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { outcome: Mutex::new(None), filled: Condvar::new() }
    }
}

impl<T> Slot<T> {
    fn put(&self, outcome: Outcome<T>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.filled.notify_one();
    }

    /// The result, if it comes in `time`.
    fn take(&self, time: Duration) -> Option<Outcome<T>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.filled.wait_timeout_while(outcome, time, |outcome| outcome.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// All workers of one process: a forked child has none of its parent's.
struct Workers {
    process: u32,
    idle: Vec<Arc<Worker>>,
    /// The flags of the work that runs.
    running: Vec<AbortFlag>,
}

static WORKERS: Mutex<Workers> = Mutex::new(Workers { process: 0, idle: Vec::new(), running: Vec::new() });
/// Some work has ended.
static ENDED: Condvar = Condvar::new();
/// The process in which `WORKERS` stays locked, because a thread of its parent held it when it was forked.
static LOCKED_IN: AtomicU32 = AtomicU32::new(0);

/// The workers of this process, locked; `None` if the lock will never be released.
fn lock() -> Option<MutexGuard<'static, Workers>> {
    let process = std::process::id();
    let mut tries = 0_u32;
    let mut workers = loop {
        match WORKERS.try_lock() {
            Ok(workers) => break workers,
            Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if LOCKED_IN.load(Ordering::Relaxed) == process => return None,
            Err(TryLockError::WouldBlock) => {}
        }
        // It is only ever held for some instructions, but its holder may have to wait for a core.
        tries += 1;
        match tries {
            ..=100 => std::thread::yield_now(),
            101..=1100 => std::thread::sleep(Duration::from_millis(1)),
            _ => LOCKED_IN.store(process, Ordering::Relaxed),
        }
    };
    if workers.process != process {
        workers.process = process;
        std::mem::forget(std::mem::take(&mut workers.idle));
        workers.running.clear();
    }
    Some(workers)
}

/// Work that runs.
struct Registered {
    flag: AbortFlag,
    at_work: Option<AtWork>,
}

impl Registered {
    fn new(flag: &AbortFlag) -> Self {
        if let Some(mut workers) = lock() {
            workers.running.push(flag.clone());
        }
        Self { flag: flag.clone(), at_work: Some(AtWork::begin()) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        drop(self.at_work.take());
        if let Some(mut workers) = lock()
            && let Some(index) = workers.running.iter().position(|flag| flag.is_same(&self.flag))
        {
            workers.running.swap_remove(index);
        }
        ENDED.notify_all();
    }
}

/// A thread that waits for work.
#[derive(Default)]
struct Worker {
    task: Mutex<Option<Task>>,
    given: Condvar,
}

/// Gives a worker something to do; returns the task if no worker takes it.
fn start(task: Task) -> Result<(), Task> {
    if let Some(worker) = lock().and_then(|mut workers| workers.idle.pop()) {
        *worker.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        worker.given.notify_one();
        return Ok(());
    }
    let worker = Arc::new(Worker { task: Mutex::new(Some(task)), given: Condvar::new() });
    let for_thread = Arc::clone(&worker);
    let thread = std::thread::Builder::new().name("tabagent-job".to_owned()).stack_size(STACK);
    if thread.spawn(move || serve(&for_thread)).is_ok() {
        return Ok(());
    }
    let task = worker.task.lock().unwrap_or_else(PoisonError::into_inner).take();
    Err(task.unwrap_or_else(|| Box::new(|| ())))
}

/// The life of a worker.
fn serve(worker: &Arc<Worker>) {
    loop {
        let waiting = worker.task.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = worker.given.wait_timeout_while(waiting, KEPT_FOR, |task| task.is_none());
        let task = waited.unwrap_or_else(PoisonError::into_inner).0.take();
        let Some(task) = task else {
            let Some(mut workers) = lock() else { return };
            match workers.idle.iter().position(|idle| Arc::ptr_eq(idle, worker)) {
                Some(index) => {
                    workers.idle.swap_remove(index);
                    return;
                }
                // It was just taken from the list, so its work is on the way.
                None => continue,
            }
        };
        task();
        let Some(mut workers) = lock() else { return };
        if workers.idle.len() >= KEPT {
            return;
        }
        workers.idle.push(Arc::clone(worker));
    }
}
