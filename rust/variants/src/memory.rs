//! How much memory there is, and how much of it this process may still take.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cgroup::CgroupLimits;

/// Main memory in bytes.
///
/// ```
/// let memory = tabagent_variants::parse_meminfo("MemTotal: 2048 kB\nMemAvailable: 1024 kB\n").unwrap();
/// assert_eq!((memory.total_bytes, memory.available_bytes), (2 << 20, 1 << 20));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryFacts {
    /// Memory of the machine.
    pub total_bytes: u64,
    /// Memory that can be taken without swapping: `MemAvailable`, or less where a control group leaves less room.
    pub available_bytes: u64,
    /// The tightest control group limit, or `None` if there is none below the machine's memory.
    pub limit_bytes: Option<u64>,
}

impl MemoryFacts {
    /// Reads `/proc/meminfo` below `root` and applies the control group limits; `None` where the file is missing or malformed.
    pub fn read_at(root: &Path, limits: &CgroupLimits) -> Option<Self> {
        let memory = parse_meminfo(&fs::read_to_string(root.join("proc/meminfo")).ok()?)?;
        let limit_bytes = limits.memory_limit_bytes.filter(|limit| *limit < memory.total_bytes);
        let takeable = limits.memory_room_bytes.unwrap_or(u64::MAX);
        Some(Self { available_bytes: memory.available_bytes.min(takeable), limit_bytes, ..memory })
    }
}

impl MemoryFacts {
    /// What a system without `/proc` reports; `None` elsewhere.
    #[cfg(any(windows, target_os = "macos"))]
    pub(crate) fn of_system() -> Option<Self> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let (total_bytes, available) = (system.total_memory(), system.available_memory());
        let limit_bytes = None;
        (total_bytes > 0).then(|| Self {
            total_bytes,
            available_bytes: available.min(total_bytes),
            limit_bytes,
        })
    }

    /// What a system without `/proc` reports; `None` elsewhere.
    #[cfg(not(any(windows, target_os = "macos")))]
    pub(crate) fn of_system() -> Option<Self> {
        None
    }
}

/// Reads `/proc/meminfo`, without any control group limit; `None` if `MemTotal` is missing.
///
/// Kernels before 3.14 have no `MemAvailable`; there `MemFree` plus `Cached` stands for it.
pub fn parse_meminfo(text: &str) -> Option<MemoryFacts> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total_bytes = bytes("MemTotal")?;
    let available = bytes("MemAvailable")
        .unwrap_or_else(|| bytes("MemFree").unwrap_or(0).saturating_add(bytes("Cached").unwrap_or(0)));
    Some(MemoryFacts { total_bytes, available_bytes: available.min(total_bytes), limit_bytes: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernel_counts_free_and_cached() {
        let memory = parse_meminfo("MemTotal: 100 kB\nMemFree: 10 kB\nCached: 20 kB\n").unwrap();
        assert_eq!(memory.available_bytes, 30 * 1024);
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        assert_eq!(parse_meminfo("MemTotal: 18446744073709551615 kB"), None);
        assert_eq!(parse_meminfo("MemTotal: x kB"), None);
    }
}
