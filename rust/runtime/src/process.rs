//! Which process something belongs to.

use std::sync::atomic::{AtomicU32, Ordering};

/// Remembers the process that it was made in.
///
/// After `fork()` the child has copies of all memory but only one thread: no decode thread, and locks that nobody will ever release. So each
/// entry point asks this mark before it takes any lock.
#[derive(Debug)]
pub(crate) struct ProcessMark(AtomicU32);

impl ProcessMark {
    /// A mark of the calling process.
    pub(crate) fn here() -> Self {
        Self(AtomicU32::new(std::process::id()))
    }

    /// Whether the caller is in the process that made the mark.
    pub(crate) fn is_here(&self) -> bool {
        self.0.load(Ordering::Relaxed) == std::process::id()
    }

    /// Makes the mark say that it belongs to another process, as after a fork, or to this one again.
    #[cfg(test)]
    pub(crate) fn pretend_forked(&self, forked: bool) {
        self.0.store(std::process::id() ^ u32::from(forked), Ordering::Relaxed);
    }
}
