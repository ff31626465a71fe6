//! The load-progress callback across the C boundary.

use crate::model_config::ProgressFn;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A progress callback and how it ended. Its address is given to C, so it must not move while a load runs.
pub(crate) struct LoadProgress {
    callback: ProgressFn,
    /// Whether the callback asked to stop, or panicked.
    pub(crate) stopped: bool,
    /// What it panicked with; the panic is resumed on the Rust side.
    pub(crate) panic: Option<Box<dyn std::any::Any + Send>>,
}

impl LoadProgress {
    pub(crate) fn new(callback: ProgressFn) -> Self {
        Self { callback, stopped: false, panic: None }
    }

    fn report(&mut self, part: f32) -> bool {
        if self.stopped {
            return false;
        }
        match catch_unwind(AssertUnwindSafe(|| (self.callback)(part))) {
            Ok(go_on) => self.stopped = !go_on,
            Err(panic) => {
                self.stopped = true;
                self.panic = Some(panic);
            }
        }
        !self.stopped
    }
}

/// What C calls.
///
/// # Safety
/// `user` must point to a live `LoadProgress` that nobody else uses during the call.
pub(crate) unsafe extern "C-unwind" fn on_progress(part: f32, user: *mut c_void) -> bool {
    // SAFETY: the caller's contract; llama.cpp calls it from the loading thread alone (src/llama-model-loader.cpp).
    let progress = unsafe { &mut *user.cast::<LoadProgress>() };
    progress.report(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_stops_the_load_and_is_kept() {
        let mut progress = LoadProgress::new(Box::new(|part| if part > 0.5 { panic!("boom") } else { true }));
        let user = std::ptr::from_mut(&mut progress).cast();
        // SAFETY: `user` is the progress above, used by nobody else.
        assert!(unsafe { on_progress(0.1, user) });
        // SAFETY: as above.
        assert!(!unsafe { on_progress(0.9, user) });
        // SAFETY: as above.
        assert!(!unsafe { on_progress(0.1, user) }, "stays stopped");
        assert!(progress.panic.is_some());
    }
}
