//! Progress of decoding or encoding on many threads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::QuantError;
use crate::progress::Progress;

/// Counts bytes and asks whether to go on.
pub(super) struct Watch<'a> {
    done: AtomicU64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Watch<'a> {
    /// Starts with none of `total` bytes done.
    pub(super) fn new(total: usize, progress: Progress<'a>) -> Self {
        Self { done: AtomicU64::new(0), total: total as u64, progress }
    }

    /// Reports that `bytes` more bytes are done.
    pub(super) fn tell(&self, bytes: usize) -> Result<(), QuantError> {
        let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if (self.progress)(done, self.total) { Ok(()) } else { Err(QuantError::Cancelled) }
    }
}
