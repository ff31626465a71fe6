//! Waiting without the GIL, and still hearing signals.

use pyo3::prelude::*;
use std::time::Duration;

/// The longest time between two runs of Python's signal handlers: Ctrl-C is handled within it.
const SLICE: Duration = Duration::from_millis(50);

/// Calls `wait` again and again without the GIL, for a bounded time each, until it returns something; runs Python's signal handlers in between.
///
/// # Errors
/// What a signal handler raises, such as `KeyboardInterrupt`.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    mut wait: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<T> {
    loop {
        if let Some(result) = py.detach(|| wait(SLICE)) {
            return Ok(result);
        }
        py.check_signals()?;
    }
}
