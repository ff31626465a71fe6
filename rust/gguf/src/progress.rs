//! How long work reports its progress and is stopped.

use crate::error::GgufError;

/// Called now and then, from any thread, with the bytes done and the total; 0 of 0 while nothing is known yet. Returning false stops the work with
/// [`GgufError::Cancelled`](crate::GgufError::Cancelled).
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// A progress function that ignores the numbers and never stops the work.
pub fn no_progress(_done: u64, _total: u64) -> bool {
    true
}

/// Asks `progress` whether to go on, without reporting anything new.
pub(crate) fn go_on(progress: Progress<'_>) -> Result<(), GgufError> {
    if progress(0, 0) { Ok(()) } else { Err(GgufError::Cancelled) }
}
