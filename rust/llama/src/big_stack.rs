//! Stack for tokenizers that recurse once a character.
//!
//! Several pre-tokenizers of llama.cpp run `std::regex` (src/unicode.cpp, `unicode_regex_split_stl`), whose libstdc++ executor
//! recurses for every character of a match: a long word overflows an ordinary thread's stack and kills the process. A long text
//! therefore gets a stack of its own, on the calling thread: a thread may not be to be had, and takes longer to start.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;

/// Texts up to this length run on the caller's own stack, whatever its characters: 4 KiB × 512 bytes is a quarter of 8 MiB.
pub(crate) const INLINE_BYTES: usize = 4 * 1024;
/// Stack that one byte of a match may take: three times the 340 bytes a character that the pinned build's `falcon`, `deepseek`, `aquila` and
/// `gpt-neox` pre-tokenizers need (GCC 12, x86-64; the smallest thread stack on which 40,000 letters, spaces or digits do not crash).
const STACK_PER_BYTE: usize = 1024;
/// Stack for everything else.
const BASE_STACK: usize = 1024 * 1024;
/// A multiple of the page size of every system that Rust runs on.
const PAGE: usize = 64 * 1024;

/// Runs `work` where the stack suffices for a text of `bytes` bytes; `None` when there is no address space for such a stack.
///
/// The memory of the stack is reserved, not used: the system backs only the pages that are touched.
pub(crate) fn run<T>(bytes: usize, work: impl FnOnce() -> T) -> Option<T> {
    if bytes <= INLINE_BYTES {
        return Some(work());
    }
    let size = bytes.checked_mul(STACK_PER_BYTE)?.checked_add(BASE_STACK)?.checked_next_multiple_of(PAGE)?;
    Some(Stack::new(size)?.run(work))
}

/// Memory for a stack, with a page below it that nobody may touch.
struct Stack {
    start: NonNull<libc::c_void>,
    /// Bytes, the untouchable page included.
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
        // SAFETY: the first bytes of the mapping just made, of which `size` has more.
        let guarded = unsafe { libc::mprotect(start, PAGE, libc::PROT_NONE) };
        (guarded == 0).then_some(stack)
    }

    /// Runs `work` on this stack. A panic in it goes on in the caller.
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
    use super::*;

    #[test]
    fn deep_recursion_fits_the_stack_of_a_long_text() {
        fn depth(n: usize) -> usize {
            let frame = std::hint::black_box([0_u8; 256]);
            if n == 0 { usize::from(frame[0]) } else { 1 + depth(std::hint::black_box(n - 1)) }
        }
        assert_eq!(run(200_000, || depth(200_000)), Some(200_000));
        assert_eq!(run(10, || depth(1000)), Some(1000));
    }

    #[test]
    fn a_long_text_stays_on_its_thread_and_panics_reach_the_caller() {
        let here = std::thread::current().id();
        assert_eq!(run(10_000, || std::thread::current().id()), Some(here));
        let caught = std::panic::catch_unwind(|| run(10_000, || std::panic::panic_any(7_i32)));
        assert_eq!(caught.unwrap_err().downcast_ref::<i32>(), Some(&7));
    }

    #[test]
    fn a_stack_beyond_the_address_space_is_none() {
        assert_eq!(run(usize::MAX / 2, || 1), None);
        assert_eq!(run(1 << 50, || 1), None);
    }
}
