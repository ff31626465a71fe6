//! Cutting a step short that takes too long.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tabagent_runtime::Stop;

/// Reading the clock takes about as long as a small operation of a graph, so it is read at one of so many.
const STRIDE: u32 = 4;

/// The time that a step may take.
pub(crate) struct Stopwatch {
    started: Instant,
    limit: Option<f64>,
    n_asked: AtomicU32,
}

impl Stopwatch {
    /// Starts now; `limit` is in seconds.
    pub(crate) fn start(limit: Option<f64>) -> Self {
        Self { started: Instant::now(), limit, n_asked: AtomicU32::new(0) }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Whether the step must end: `stop` says so, or its time is up.
    pub(crate) fn must_stop(&self, stop: Stop<'_>) -> bool {
        stop()
            || self.limit.is_some_and(|limit| {
                self.n_asked.fetch_add(1, Ordering::Relaxed) % STRIDE == STRIDE - 1 && self.seconds() > limit
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_within_a_stride(watch: &Stopwatch, stop: Stop<'_>) -> bool {
        (0..STRIDE).any(|_| watch.must_stop(stop))
    }

    #[test]
    fn step_ends_when_its_time_is_up_or_when_it_is_told_to() {
        let (go, end): (Stop<'_>, Stop<'_>) = (&|| false, &|| true);
        assert!(ends_within_a_stride(&Stopwatch::start(Some(0.0)), go));
        assert!(!ends_within_a_stride(&Stopwatch::start(Some(1e9)), go));
        assert!(!ends_within_a_stride(&Stopwatch::start(None), go));
        assert!(Stopwatch::start(Some(1e9)).must_stop(end));
        assert!(Stopwatch::start(None).must_stop(end));
    }
}
