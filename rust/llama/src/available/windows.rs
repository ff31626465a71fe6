//! The memory that Windows reports as left.

use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// Bytes of memory that can still be used; `None` where the system does not report it. Mapped files take none of it.
pub(crate) fn available_memory(_mapped: u64) -> Option<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: a writable struct that states its own size.
    let told = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    // Windows promises only memory that RAM or the page file has: both the rest of what it can promise and the free RAM are limits.
    (told != 0).then(|| status.ullAvailPhys.min(status.ullAvailPageFile))
}
