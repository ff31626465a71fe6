//! Large stacks for tokenizers that recurse once per character.
//!
//! Several pre-tokenizers of llama.cpp run `std::regex` (src/unicode.cpp, `unicode_regex_split_stl`), whose libstdc++ executor recurses for every character
//! of a match: a long word overflows an ordinary thread's stack and kills the process. So long texts are tokenized on a large stack.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix::run_on;
#[cfg(windows)]
use windows::run_on;

/// Texts up to this length run on the caller's own stack, whatever their characters: 4 KiB × 512 bytes is a quarter of 8 MiB.
pub(crate) const INLINE_BYTES: usize = 4 * 1024;
/// Stack that one byte of a match may take: three times the 340 bytes a character that the pinned build's `falcon`, `deepseek`, `aquila` and
/// `gpt-neox` pre-tokenizers need (GCC 12, x86-64; the smallest thread stack on which 40,000 letters, spaces or digits do not crash).
const STACK_PER_BYTE: usize = 1024;
/// Stack for everything else.
const BASE_STACK: usize = 1024 * 1024;
/// A multiple of the page size of every system that Rust runs on.
const PAGE: usize = 64 * 1024;

/// Runs `work` on a stack that suffices for a text of `bytes` bytes; `None` when the system gives no such stack.
///
/// The memory of the stack is reserved, not used: the system backs only the pages that are touched.
pub(crate) fn run<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    if bytes <= INLINE_BYTES {
        return Some(work());
    }
    let size = bytes.checked_mul(STACK_PER_BYTE)?.checked_add(BASE_STACK)?.checked_next_multiple_of(PAGE)?;
    run_on(size, work)
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
    fn panics_reach_the_caller() {
        let caught = std::panic::catch_unwind(|| run(10_000, || std::panic::panic_any(7_i32)));
        assert_eq!(caught.unwrap_err().downcast_ref::<i32>(), Some(&7));
    }

    #[test]
    fn a_stack_beyond_the_address_space_is_none() {
        assert_eq!(run(usize::MAX / 2, || 1), None);
        assert_eq!(run(1 << 50, || 1), None);
    }
}
