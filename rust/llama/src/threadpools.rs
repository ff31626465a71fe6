//! The thread pools of a context that computes with changing numbers of threads.

use crate::library::Library;
use crate::threadpool::{Threadpool, startable};
use tabagent_sys::ggml_threadpool;

/// Pools of different sizes, of which a context uses one at a time.
///
/// A pool is used whole: each graph wakes all threads of its pool, and those that have no part in it poll for the next one
/// (`ggml_graph_compute_kickoff` and `ggml_graph_compute_secondary_thread` in ggml/src/ggml-cpu/ggml-cpu.c), on cores that others need.
pub(crate) struct Threadpools {
    /// For the largest number.
    full: Threadpool,
    /// The one in use or used last that has fewer threads but more than one.
    smaller: Option<Threadpool>,
    /// The calling thread alone; it costs nothing to keep.
    single: Option<Threadpool>,
    /// Those that were replaced since the last graph. Attaching a pool tells the context alone: ggml's backend has the one of the last graph until the next one, and pauses it
    /// then (`llama_context::graph_compute` in src/llama-context.cpp, `ggml_backend_cpu_set_threadpool` in ggml/src/ggml-cpu/ggml-cpu.cpp).
    retired: Vec<Threadpool>,
}

impl Threadpools {
    pub(crate) fn new(full: Threadpool) -> Self {
        Self { full, smaller: None, single: None, retired: Vec::new() }
    }

    /// A pool for `n_threads` threads, at most the largest number; starts threads the first time. Where the system gives none, it is the full pool.
    /// The one that it replaces lives until [`computed`](Self::computed).
    pub(crate) fn fit(&mut self, library: &Library, n_threads: u32) -> *mut ggml_threadpool {
        let n_threads = n_threads.clamp(1, self.full.n_threads());
        if n_threads == 1 && self.single.is_none() {
            self.single = Threadpool::new(library, 1);
        }
        let is_between = n_threads > 1 && n_threads < self.full.n_threads();
        if is_between && self.smaller.as_ref().is_none_or(|pool| pool.n_threads() != n_threads) {
            let made =
                (startable(n_threads - 1) == n_threads - 1).then(|| Threadpool::new(library, n_threads));
            if let Some(pool) = made.flatten() {
                self.retired.extend(self.smaller.replace(pool));
            }
        }
        let kept = [&self.single, &self.smaller].into_iter().flatten();
        let pool = kept.into_iter().find(|pool| pool.n_threads() == n_threads).unwrap_or(&self.full);
        pool.as_ptr()
    }

    /// A graph was computed with the pool that was attached last, so that nothing knows of earlier ones any more.
    pub(crate) fn computed(&mut self) {
        self.retired.clear();
    }
}
