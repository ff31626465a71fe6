//! Waiting without the GIL, and still hearing signals.

use pyo3::prelude::*;
use std::time::Duration;

/// How long a wait stays away from Python at most: Ctrl-C is heard within this time.
const SLICE: Duration = Duration::from_millis(50);

/// Calls `wait` without the GIL, with a bound on its time, until it returns something; runs Python's signal handlers between.
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
