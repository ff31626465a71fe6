//! How whoever waits for a render ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A question that a render asks every few milliseconds: whether it is to end.
#[derive(Clone)]
pub struct Interrupt {
    ask: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The answer was yes.
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// An interrupt that asks `is_wanted`, on the thread that renders. Once that says yes, the render fails.
    pub fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(is_wanted), came: Arc::new(AtomicBool::new(false)) }
    }

    /// Asks, unless the answer has been yes.
    pub(crate) fn is_wanted(&self) -> bool {
        if !self.came() && (self.ask)() {
            self.came.store(true, Ordering::Relaxed);
        }
        self.came()
    }

    /// Whether the answer has been yes.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupt")
    }
}
