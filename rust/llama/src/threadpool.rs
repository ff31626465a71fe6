//! ggml's CPU thread pool.
//!
//! Without one, ggml's CPU backend starts and joins its threads for every graph it computes (ggml/src/ggml-cpu/ggml-cpu.c, `ggml_graph_compute`
//! with a null `threadpool`), which costs more than computing many a token.

use crate::cpu_module::cpu_backend;
use crate::library::Library;
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use tabagent_sys::{
    ggml_threadpool, ggml_threadpool_free_fn, ggml_threadpool_new_fn, ggml_threadpool_params,
};

/// Polling level of a waiting thread. It spins for some milliseconds a level (`ggml_graph_compute_poll_for_work` in ggml/src/ggml-cpu/ggml-cpu.c), then it
/// sleeps. One level outlasts what lies between two decodes; ggml's default of 50 takes a core for a tenth of a second after the last one, from whoever
/// needs it, and decodes no faster (benches/README.md).
const POLL: u32 = 1;

/// How many threads can be started, up to `wanted`.
///
/// ggml aborts where one of its threads cannot be started (`ggml_threadpool_new_impl`), so this starts the same number of threads first.
pub(crate) fn startable(wanted: u32) -> u32 {
    let gate = Mutex::new(());
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let start = || {
            let thread =
                std::thread::Builder::new().name("tabagent-probe".to_owned()).stack_size(PROBE_STACK);
            // The gate keeps all of them alive at the same time.
            thread.spawn_scoped(scope, || drop(gate.lock())).is_ok()
        };
        let started = (0..wanted).take_while(|_| start()).count();
        drop(closed);
        u32::try_from(started).unwrap_or(wanted)
    })
}

/// Stack of a thread that does nothing.
const PROBE_STACK: usize = 64 * 1024;

/// A pool of threads, the caller's own included.
pub(crate) struct Threadpool {
    ptr: NonNull<ggml_threadpool>,
    n_threads: u32,
    free: ggml_threadpool_free_fn,
}

// SAFETY: a pool may be made, used and freed from different threads, one at a time (ggml-cpu.c synchronises with its workers);
// it is owned by one context, which is not shared.
unsafe impl Send for Threadpool {}

impl Threadpool {
    /// A pool for up to `n_threads` threads, which must be [`startable`]; `None` when the backend offers none.
    pub(crate) fn new(library: &Library, n_threads: u32) -> Option<Self> {
        let new = procedure(library, c"ggml_threadpool_new")?;
        let free = procedure(library, c"ggml_threadpool_free")?;
        // SAFETY: the CPU backend gives this function under this name (ggml/src/ggml-cpu/ggml-cpu.cpp, get_proc_address).
        let new = unsafe { std::mem::transmute::<NonNull<c_void>, ggml_threadpool_new_fn>(new) };
        // SAFETY: as above.
        let free = unsafe { std::mem::transmute::<NonNull<c_void>, ggml_threadpool_free_fn>(free) };
        let mut params = ggml_threadpool_params {
            cpumask: [false; 512],
            n_threads: i32::try_from(n_threads).ok()?,
            prio: 0,
            poll: POLL,
            strict_cpu: false,
            paused: false,
        };
        // SAFETY: `params` has the layout of the header (checked by the header test) and a thread count within its bound.
        let ptr = unsafe { new(&raw mut params) };
        NonNull::new(ptr).map(|ptr| Self { ptr, n_threads, free })
    }

    /// How many threads it has.
    pub(crate) fn n_threads(&self) -> u32 {
        self.n_threads
    }

    pub(crate) fn as_ptr(&self) -> *mut ggml_threadpool {
        self.ptr.as_ptr()
    }
}

impl Drop for Threadpool {
    fn drop(&mut self) {
        // SAFETY: made by the matching `new`, freed once; the context that used it is gone (field order of its owner).
        unsafe { (self.free)(self.ptr.as_ptr()) };
    }
}

fn procedure(library: &Library, name: &CStr) -> Option<NonNull<c_void>> {
    let backend = cpu_backend(library.api());
    if backend.is_null() {
        return None;
    }
    let find = library.api().ggml_backend_reg_get_proc_address?;
    // SAFETY: a registered backend and a NUL-terminated name; unknown names give null.
    NonNull::new(unsafe { find(backend, name.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_there_where_there_is_no_limit() {
        assert_eq!(startable(0), 0);
        assert_eq!(startable(7), 7);
    }
}
