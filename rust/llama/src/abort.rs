//! Stopping a running decode.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Returns true when the result of the running work is no longer wanted. It is called between the operations of a compute graph, on the working
/// thread and on those that help it, so it should cost no more than a few atomic loads.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Never stops anything.
pub(crate) const NEVER: Stop<'static> = &|| false;

/// What the abort callback of one context asks: the [`Stop`] of the running decode, if there is one.
#[derive(Debug, Default)]
pub(crate) struct AbortSource {
    current: AtomicPtr<Stop<'static>>,
}

impl AbortSource {
    /// The user data for C; `self` must stay where it is as long as the context lives.
    pub(crate) fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Runs `work` while the callback asks `stop`.
    pub(crate) fn watch<T>(&self, stop: Stop<'_>, work: impl FnOnce() -> T) -> T {
        /// Stops asking, also when `work` unwinds.
        struct Reset<'a>(&'a AtomicPtr<Stop<'static>>);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.store(std::ptr::null_mut(), Ordering::Release);
            }
        }
        let _reset = Reset(&self.current);
        self.current.store(std::ptr::from_ref(&stop).cast_mut().cast(), Ordering::Release);
        work()
    }
}

/// What C calls between the operations of a graph (`ggml_abort_callback`), on the thread that decodes or one of its workers.
///
/// # Safety
/// `source` must be the [`AbortSource::address`] of a live source.
pub(crate) unsafe extern "C-unwind" fn should_abort(source: *mut c_void) -> bool {
    // SAFETY: the caller's contract.
    let source = unsafe { &*source.cast::<AbortSource>() };
    let stop = source.current.load(Ordering::Acquire);
    // SAFETY: null, or the `stop` of `watch`, which outlives the decode and with it every call of this function.
    unsafe { stop.as_ref() }.is_some_and(|stop| stop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callback_asks_only_while_the_decode_runs() {
        let source = Box::new(AbortSource::default());
        // SAFETY: `source` lives through the test.
        let asked = || unsafe { should_abort(source.address()) };
        assert!(!asked());
        assert!(source.watch(&|| true, asked));
        assert!(!source.watch(&|| false, asked));
        assert!(!asked());
    }
}
