//! Stopping a running decode.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Says to a running decode that nobody wants its result any more.
///
/// Clones share the flag. It is raised once and never lowered. Polling it costs at most two atomic loads, so it is polled between the
/// operations of the compute graph.
#[derive(Clone, Debug, Default)]
pub struct AbortFlag {
    own: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl AbortFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that is raised when it or `self` is raised; raising it leaves `self` alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: Arc::default(), parent: Some(Arc::clone(&self.own)) }
    }

    /// Raises the flag.
    pub fn raise(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Whether both are clones of one flag.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// Whether the flag, or the one it is a child of, was raised.
    pub fn is_raised(&self) -> bool {
        self.is_raised_itself() || self.parent.as_ref().is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// Whether this flag itself was raised, whatever its parent says.
    pub fn is_raised_itself(&self) -> bool {
        self.own.load(Ordering::Acquire)
    }
}

/// What the abort callback of one context looks at: the flag of the decode that runs, if it has one.
#[derive(Debug, Default)]
pub(crate) struct AbortSource {
    current: AtomicPtr<AbortFlag>,
}

impl AbortSource {
    /// What C gets as user data; `self` must stay where it is as long as the context lives.
    pub(crate) fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Runs `work` while the callback looks at `flag`.
    pub(crate) fn watch<T>(&self, flag: &AbortFlag, work: impl FnOnce() -> T) -> T {
        /// Stops looking, also when `work` unwinds.
        struct Reset<'a>(&'a AtomicPtr<AbortFlag>);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.store(std::ptr::null_mut(), Ordering::Release);
            }
        }
        let _reset = Reset(&self.current);
        self.current.store(std::ptr::from_ref(flag).cast_mut(), Ordering::Release);
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
    let flag = source.current.load(Ordering::Acquire);
    // SAFETY: null, or a flag that `watch` borrows until the decode, and with it every call of this function, is over.
    unsafe { flag.as_ref() }.is_some_and(AbortFlag::is_raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_follows_its_parent_but_not_the_other_way() {
        let parent = AbortFlag::new();
        let (first, second) = (parent.child(), parent.child());
        first.raise();
        assert!(first.is_raised() && !parent.is_raised() && !second.is_raised());
        parent.raise();
        assert!(second.is_raised() && !second.is_raised_itself());
    }

    #[test]
    fn the_callback_sees_the_flag_only_while_it_is_watched() {
        let source = Box::new(AbortSource::default());
        let flag = AbortFlag::new();
        flag.raise();
        // SAFETY: `source` lives through the test.
        let asked = || unsafe { should_abort(source.address()) };
        assert!(!asked());
        assert!(source.watch(&flag, asked));
        assert!(!asked());
    }
}
