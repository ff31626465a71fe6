//! Stopping a running decode.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a running decode to stop. Clones share one flag; any thread may raise it.
#[derive(Clone, Debug, Default)]
pub struct AbortFlag(Arc<AtomicBool>);

impl AbortFlag {
    /// A flag that is down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the running decode, and every later one, end with [`ContextError::Aborted`](crate::ContextError::Aborted).
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Lets decodes run again.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it is up.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// What C gets as user data: it stays valid as long as a clone lives.
    pub(crate) fn address(&self) -> *mut c_void {
        Arc::as_ptr(&self.0).cast_mut().cast()
    }
}

/// What C calls between the operations of a graph (`ggml_abort_callback`).
///
/// # Safety
/// `flag` must be the [`AbortFlag::address`] of a flag of which a clone lives.
pub(crate) unsafe extern "C-unwind" fn should_abort(flag: *mut c_void) -> bool {
    // SAFETY: the caller's contract; an `AtomicBool` may be read from any thread.
    unsafe { &*flag.cast::<AtomicBool>() }.load(Ordering::Relaxed)
}
