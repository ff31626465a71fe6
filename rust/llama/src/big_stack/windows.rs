//! Runs work on a thread with a large stack: Windows can neither grow nor unwind a stack that it did not make itself.

/// Runs `work` with `size` bytes of stack; `None` when the system gives no such thread.
pub(super) fn run_on<T: Send>(size: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tabagent-tokenize".to_owned()).stack_size(size);
        let joined = thread.spawn_scoped(scope, work).ok()?.join();
        Some(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
