//! Work on files on a worker, while Python's thread reports its progress and listens for signals.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tabagent_gguf::Progress;
use tabagent_model::AbortFlag;

/// How often Python hears of progress, and can be interrupted.
const SLICE: Duration = Duration::from_millis(20);

/// What both threads see.
#[derive(Default)]
struct Shared {
    done: AtomicU64,
    total: AtomicU64,
}

/// [`read`] for work that writes a file. An interrupted call returns only after the partial file is gone.
pub(crate) fn write<T: Send + 'static, E: IntoPyErr + Send + 'static>(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    work: impl FnOnce(Progress<'_>) -> Result<T, E> + Send + 'static,
) -> PyResult<T> {
    watched(py, callback, true, work)
}

/// Runs `work` without the GIL. On this thread `callback` gets the bytes done and the total; returning `False` or raising stops the work.
pub(crate) fn read<T: Send + 'static, E: IntoPyErr + Send + 'static>(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    work: impl FnOnce(Progress<'_>) -> Result<T, E> + Send + 'static,
) -> PyResult<T> {
    watched(py, callback, false, work)
}

fn watched<T: Send + 'static, E: IntoPyErr + Send + 'static>(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    writes: bool,
    work: impl FnOnce(Progress<'_>) -> Result<T, E> + Send + 'static,
) -> PyResult<T> {
    let (shared, stop) = (Arc::new(Shared::default()), AbortFlag::new());
    let for_worker = Arc::clone(&shared);
    let work = move |stop: &AbortFlag| {
        work(&|done, total| {
            for_worker.total.store(total, Ordering::Relaxed);
            for_worker.done.fetch_max(done, Ordering::Relaxed);
            !stop.is_raised()
        })
    };
    let mut told = None;
    let listen = |py: Python<'_>| report(py, callback, &shared, &stop, &mut told);
    let result = if writes {
        job::run_writing(py, &stop, SLICE, work, listen)
    } else {
        job::run_listening(py, &stop, SLICE, work, listen)
    }?;
    let value = result.map_err(|error| error.into_py(py))?;
    report(py, callback, &shared, &stop, &mut None)?;
    Ok(value)
}

/// Calls the callback if there is news since `told`.
fn report(
    py: Python<'_>,
    callback: Option<&Py<PyAny>>,
    shared: &Shared,
    stop: &AbortFlag,
    told: &mut Option<u64>,
) -> PyResult<()> {
    let (done, total) = (shared.done.load(Ordering::Relaxed), shared.total.load(Ordering::Relaxed));
    let Some(callback) = callback.filter(|_| total > 0 && *told != Some(done)) else {
        return Ok(());
    };
    *told = Some(done);
    let answer = callback.call1(py, (done, total))?;
    if answer.bind(py).is(&*pyo3::types::PyBool::new(py, false)) {
        stop.raise();
    }
    Ok(())
}
