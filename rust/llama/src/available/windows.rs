//! The memory that Windows says is left.

use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// Bytes of memory that can still be used; `None` where the system tells nothing.
pub(crate) fn available_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: a writable struct that states its own size.
    let told = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    // Windows promises no memory that neither RAM nor the page file has: what is left of that promise, and of RAM, both bind.
    (told != 0).then(|| status.ullAvailPhys.min(status.ullAvailPageFile))
}
