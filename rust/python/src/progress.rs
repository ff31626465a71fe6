//! A Python function that hears how much of some work is done.

use pyo3::prelude::*;
use pyo3::types::PyBool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tabagent_model::AbortFlag;

/// A Python function that is called with the part done, 0 to 1, while a worker does the work; when it returns False, the work is to stop.
pub(crate) struct Progress {
    callback: Option<Py<PyAny>>,
    /// The part done, as the bits of an `f32`.
    part: Arc<AtomicU32>,
    reported: f32,
    stop: AbortFlag,
}

impl Progress {
    /// Without a function nothing is reported. `stop` is raised when the function returns False.
    pub(crate) fn new(callback: Option<Py<PyAny>>, stop: &AbortFlag) -> Self {
        Self { callback, part: Arc::default(), reported: -1.0, stop: stop.clone() }
    }

    /// What the worker calls with the part done; the answer is whether to go on.
    pub(crate) fn teller(&self) -> impl Fn(f32) -> bool + Send + Sync + 'static {
        let (part, stop) = (Arc::clone(&self.part), self.stop.clone());
        move |done: f32| {
            part.store(done.to_bits(), Ordering::Release);
            !stop.is_raised()
        }
    }

    /// Passes on what was told last.
    pub(crate) fn report(&mut self, py: Python<'_>) -> PyResult<()> {
        let part = f32::from_bits(self.part.load(Ordering::Acquire));
        self.report_part(py, part)
    }

    /// Passes on that all is done.
    pub(crate) fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        self.report_part(py, 1.0)
    }

    fn report_part(&mut self, py: Python<'_>, part: f32) -> PyResult<()> {
        let Some(callback) = self.callback.as_ref().filter(|_| part > self.reported) else { return Ok(()) };
        self.reported = part;
        let answer = callback.call1(py, (part,))?;
        if answer.bind(py).is(&*PyBool::new(py, false)) {
            self.stop.raise();
        }
        Ok(())
    }
}
