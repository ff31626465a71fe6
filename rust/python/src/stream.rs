//! The consumer's end of one request.

use crate::errors::IntoPyErr;
use crate::event::TokenEvent;
use crate::hook::HookWorker;
use crate::wait;
use crate::wake::Wake;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use tabagent_model::{FinishReason, Poll, StreamId, TokenStream};

/// The consumer's end of one request. Dropping it cancels the request.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Stream {
    inner: TokenStream,
    wake: OnceLock<Wake>,
    ended: AtomicBool,
    /// Taken once, by the thread that changes logits.
    hook: Mutex<Option<tabagent_model::HookWorker>>,
}

impl Stream {
    pub(crate) fn new(inner: TokenStream) -> Self {
        Self::with_hook(inner, None)
    }

    pub(crate) fn with_hook(inner: TokenStream, hook: Option<tabagent_model::HookWorker>) -> Self {
        Self { inner, wake: OnceLock::new(), ended: AtomicBool::new(false), hook: Mutex::new(hook) }
    }

    pub(crate) fn id(&self) -> StreamId {
        self.inner.id()
    }

    fn event(&self, py: Python<'_>, poll: Poll) -> PyResult<Option<TokenEvent>> {
        match poll {
            Poll::Event(event) => Ok(Some(event.into())),
            Poll::Pending => Ok(None),
            Poll::Finished => {
                self.ended.store(true, Ordering::Release);
                match self.inner.finish().map(|f| f.reason) {
                    Some(FinishReason::Error(error)) => Err(error.into_py(py)),
                    _ => Ok(None),
                }
            }
        }
    }
}

#[pymethods]
impl Stream {
    fn next_event(&self, py: Python<'_>) -> PyResult<Option<TokenEvent>> {
        let ready = py.detach(|| self.inner.try_next());
        let poll = match ready {
            Poll::Pending => wait::until(py, |time| match self.inner.next_timeout(time) {
                Poll::Pending => None,
                ready => Some(ready),
            })?,
            ready => ready,
        };
        self.event(py, poll)
    }

    fn poll_event(&self, py: Python<'_>) -> PyResult<Option<TokenEvent>> {
        self.event(py, py.detach(|| self.inner.try_next()))
    }

    fn take_hook(&self) -> Option<HookWorker> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).take().map(HookWorker::new)
    }

    #[getter]
    fn finished(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn wake_fd(&self) -> PyResult<i32> {
        let wake = if let Some(wake) = self.wake.get() {
            wake
        } else {
            let made = Wake::new()?;
            self.wake.get_or_init(|| made)
        };
        let signal = wake.signal();
        self.inner.set_waker(Box::new(move || signal.raise()));
        Ok(wake.fd())
    }

    fn clear_wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake.clear();
        }
    }

    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.inner.cancel());
    }

    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.inner.finish().map(|finish| crate::summary::to_dict(py, &finish)).transpose()
    }
}
