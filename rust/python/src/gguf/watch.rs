//! Work on files in a thread of its own, while Python's thread reports its progress and listens for signals.

use crate::errors::IntoPyErr;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tabagent_gguf::Progress;

/// How often Python hears of progress, and can be interrupted.
const SLICE: Duration = Duration::from_millis(20);

/// What both threads see.
#[derive(Default)]
struct Shared {
    done: AtomicU64,
    total: AtomicU64,
    stop: AtomicBool,
}

/// Runs `work` without the GIL. `callback` gets the bytes done and in all, on this thread; returning `False` or raising stops the work.
pub(crate) fn run<T: Send, E: IntoPyErr + Send>(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    work: impl FnOnce(Progress<'_>) -> Result<T, E> + Send,
) -> PyResult<T> {
    let shared = Shared::default();
    let (sender, receiver) = channel();
    // A receiver is not `Sync`; the lock is only ever taken by this thread.
    let receiver = Mutex::new(receiver);
    let result = std::thread::scope(|scope| {
        let for_thread = &shared;
        scope.spawn(move || {
            let progress = |done, total| {
                for_thread.total.store(total, Ordering::Relaxed);
                for_thread.done.fetch_max(done, Ordering::Relaxed);
                !for_thread.stop.load(Ordering::Relaxed)
            };
            let run = std::panic::AssertUnwindSafe(|| work(&progress));
            // Somebody listens as long as this scope lives.
            let _ = sender.send(std::panic::catch_unwind(run));
        });
        let receive = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SLICE);
        let mut told = None;
        let mut failure = None;
        loop {
            // Also after a failure: the thread may need the GIL to end.
            match py.detach(receive) {
                Ok(result) => break failure.map_or(Ok(Some(result)), Err),
                Err(RecvTimeoutError::Disconnected) => break failure.map_or(Ok(None), Err),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if failure.is_some() {
                continue;
            }
            let outcome = py.check_signals().and_then(|()| report(py, callback, &shared, &mut told));
            if let Err(error) = outcome {
                shared.stop.store(true, Ordering::Relaxed);
                failure = Some(error);
            }
        }
    })?;
    match result {
        Some(Ok(Ok(value))) => {
            report(py, callback, &shared, &mut None)?;
            Ok(value)
        }
        Some(Ok(Err(error))) => Err(error.into_py(py)),
        Some(Err(_)) | None => Err(pyo3::exceptions::PyRuntimeError::new_err(
            "the working thread failed; this is a defect of tabagent",
        )),
    }
}

/// Calls the callback if there is news since `told`.
fn report(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    shared: &Shared,
    told: &mut Option<u64>,
) -> PyResult<()> {
    let (done, total) = (shared.done.load(Ordering::Relaxed), shared.total.load(Ordering::Relaxed));
    let Some(callback) = callback.filter(|_| total > 0 && *told != Some(done)) else {
        return Ok(());
    };
    *told = Some(done);
    let answer = callback.call1(py, (done, total))?;
    if answer.bind(py).is(&*pyo3::types::PyBool::new(py, false)) {
        shared.stop.store(true, Ordering::Relaxed);
    }
    Ok(())
}
