//! How long work tells how far it is, and is stopped.

use crate::error::GgufError;

/// Called now and then with what is done and what there is in all, in bytes, from any thread: 0 of 0 where nothing is known yet. Returning false stops the
/// work with [`GgufError::Cancelled`](crate::GgufError::Cancelled).
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// Progress for those who do not look: never stops.
pub fn no_progress(_done: u64, _total: u64) -> bool {
    true
}

/// Asks whether to go on, without news.
pub(crate) fn go_on(progress: Progress<'_>) -> Result<(), GgufError> {
    if progress(0, 0) { Ok(()) } else { Err(GgufError::Cancelled) }
}
