//! Runs work on the calling thread with mapped memory as its stack: another thread may not be available, and takes longer to start.

use super::PAGE;
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;

/// Runs `work` on a stack of `size` bytes, a multiple of [`PAGE`]; `None` when there is no address space for it.
pub(super) fn run_on<T>(size: usize, work: impl FnOnce() -> T) -> Option<T> {
    Some(Stack::new(size)?.run(work))
}

/// Memory for a stack, with a guard page below it.
struct Stack {
    start: NonNull<libc::c_void>,
    /// Bytes, the guard page included.
    size: usize,
}

impl Stack {
    fn new(size: usize) -> Option<Self> {
        let size = size.checked_add(PAGE)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        let stack = Self { start: NonNull::new(start)?, size };
        // SAFETY: the first `PAGE` bytes of the mapping just made, which has more than that.
        let guarded = unsafe { libc::mprotect(start, PAGE, libc::PROT_NONE) };
        (guarded == 0).then_some(stack)
    }

    /// Runs `work` on this stack. A panic in it is resumed in the caller.
    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let guarded = AssertUnwindSafe(|| std::panic::catch_unwind(AssertUnwindSafe(work)));
        let base = self.start.as_ptr().cast::<u8>().wrapping_add(PAGE);
        // SAFETY: the bytes from `base` on are mapped, writable, a multiple of the page size, and used by nothing else until
        // `self` is dropped; the closure catches panics, so that nothing unwinds out of it.
        let result = unsafe { psm::on_stack(base, self.size - PAGE, guarded) };
        drop(self);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; nothing runs on it any more, as `run` keeps it until the work is done.
        unsafe { libc::munmap(self.start.as_ptr(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::run;

    #[test]
    fn a_long_text_stays_on_its_thread() {
        let here = std::thread::current().id();
        assert_eq!(run(10_000, || std::thread::current().id()), Some(here));
    }
}
