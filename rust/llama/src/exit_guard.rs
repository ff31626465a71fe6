//! Ends the process safely while llama.cpp is still at work.
//!
//! `exit` runs the destructors of llama.cpp's static objects while other threads continue. A thread that tokenizes meanwhile reads tables that
//! are being freed, and nothing can stop it. So if a thread is still at work, the process ends without those destructors.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The process whose work is counted: a forked child has none of its parent's threads.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Marks this thread as possibly inside llama.cpp, until it is dropped.
#[derive(Debug)]
pub struct AtWork(u32);

impl AtWork {
    /// Marks this thread from now on.
    pub fn begin() -> Self {
        let process = std::process::id();
        if PROCESS.swap(process, Ordering::AcqRel) != process {
            AT_WORK.store(0, Ordering::Release);
        }
        AT_WORK.fetch_add(1, Ordering::AcqRel);
        Self(process)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if PROCESS.load(Ordering::Acquire) == self.0 && std::process::id() == self.0 {
            AT_WORK.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Registers a handler for `exit`: while another thread has an [`AtWork`], it ends the process at once, with the same exit code and all of C's
/// files written.
///
/// What is registered last runs first. Call it when the library is loaded, after which the destructors of its global objects run, and again
/// when the program begins to end: the objects inside of llama.cpp's functions, such as the tables of `unicode_byte_to_utf8` (`src/unicode.cpp`),
/// register their destructors when they are first used.
pub fn guard_exit() {
    // SAFETY: the function has the type that C expects, is never unloaded, and ignores its second argument.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        on_exit(end_at_once, std::ptr::null_mut())
    };
}

/// Keeps this process from leaving a core dump: for a child whose death is expected.
pub fn leave_no_core() {
    // SAFETY: sets a flag of this process and takes no pointer.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0)
    };
}

/// Lets SIGSEGV and SIGBUS end this process as they do others. Rust's handler, which looks for stacks that are too small, lets the first one pass if it was
/// sent, and names another signal where the file behind a mapping was cut.
pub fn die_by_signals() {
    #[cfg(unix)]
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action is no function; no other thread of this process sets actions meanwhile.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ends this process now, without destructors: for a child that nobody waits for any more, while other threads are inside of llama.cpp.
pub fn leave_at_once(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    #[cfg(unix)]
    unsafe {
        libc::_exit(code)
    };
    #[cfg(not(unix))]
    std::process::exit(code)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    /// As `atexit`, for functions that want to know the exit code (glibc, `man 3 on_exit`).
    fn on_exit(
        function: extern "C" fn(libc::c_int, *mut libc::c_void),
        argument: *mut libc::c_void,
    ) -> libc::c_int;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" fn end_at_once(code: libc::c_int, _argument: *mut libc::c_void) {
    if PROCESS.load(Ordering::Acquire) != std::process::id() || AT_WORK.load(Ordering::Acquire) == 0 {
        return;
    }
    // SAFETY: null means all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_until_it_ends() {
        let (first, second) = (AtWork::begin(), AtWork::begin());
        assert_eq!(AT_WORK.load(Ordering::Acquire), 2);
        drop((first, second));
        assert_eq!(AT_WORK.load(Ordering::Acquire), 0);
    }
}
