//! The numbers of threads that a decode thread uses, for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers of threads in use, as the decode thread chose them last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadsInUse {
    /// For steps that generate.
    pub generation: usize,
    /// For prompts.
    pub prompt: usize,
}

/// Tells [`ThreadsInUse`] from thread to thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadsGauge(Arc<[AtomicUsize; 2]>);

impl ThreadsGauge {
    pub(crate) fn set(&self, threads: ThreadsInUse) {
        self.0[0].store(threads.generation, Ordering::Relaxed);
        self.0[1].store(threads.prompt, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> ThreadsInUse {
        let [generation, prompt] = &*self.0;
        ThreadsInUse {
            generation: generation.load(Ordering::Relaxed),
            prompt: prompt.load(Ordering::Relaxed),
        }
    }
}
