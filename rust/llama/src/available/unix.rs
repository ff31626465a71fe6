//! The memory that Linux reports as left: in the machine, in the control groups and within the process's own limits. Other Unix systems have no
//! `/proc`, so nothing is known there.

use std::path::{Path, PathBuf};

/// Bytes of memory that can still be used beside `mapped` bytes of files, which count for the limit of the address space alone; `None` where the
/// system does not report it.
pub(crate) fn available_memory(mapped: u64) -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = [
        meminfo.and_then(|text| parse_meminfo(&text)),
        left_in_groups(&group_folders(&groups, Path::new("/sys/fs/cgroup"))),
        left_of_process(mapped),
    ];
    limits.into_iter().flatten().min()
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of the control groups that limit memory, this process's own and those above it. `text` is `/proc/self/cgroup`.
fn group_folders(text: &str, root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let base = match controllers {
            "" => root.to_owned(),
            _ if controllers.split(',').any(|name| name == "memory") => root.join("memory"),
            _ => continue,
        };
        let own = match path.trim_start_matches('/') {
            "" => base.clone(),
            path => base.join(path),
        };
        // Inside a container the path may be the host's, which does not exist here; the base then is the container's own group.
        folders.extend(own.ancestors().take_while(|folder| folder.starts_with(&base)).map(Path::to_owned));
    }
    if folders.is_empty() {
        folders.push(root.to_owned());
    }
    folders
}

/// Bytes that the tightest of the groups leaves.
fn left_in_groups(folders: &[PathBuf]) -> Option<u64> {
    let left = |folder: &PathBuf| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let (limit, used) = match read("memory.max") {
            Some(limit) => (limit, read("memory.current")?),
            None => (read("memory.limit_in_bytes")?, read("memory.usage_in_bytes")?),
        };
        Some(limit.saturating_sub(used))
    };
    folders.iter().filter_map(left).min()
}

/// Bytes that `RLIMIT_AS` and `RLIMIT_DATA` leave; `None` without a limit.
fn left_of_process(mapped: u64) -> Option<u64> {
    let used = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: Vec<u64> = used.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let bytes = |index: usize| pages.get(index).copied().unwrap_or(0).saturating_mul(page_size());
    // The fields `size` and `data` (`man 5 proc_pid_statm`).
    // SAFETY: `limit` is a writable `rlimit`, here and in the next line.
    let space = soft_limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_AS, limit) });
    // SAFETY: as above.
    let data = soft_limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_DATA, limit) });
    let left = [(space, bytes(0).saturating_add(mapped)), (data, bytes(5))];
    left.into_iter().filter_map(|(limit, used)| Some(limit?.saturating_sub(used))).min()
}

/// The limit that `get` writes; `None` where there is none.
fn soft_limit(get: impl FnOnce(*mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let result = get(&raw mut limit);
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn page_size() -> u64 {
    // SAFETY: takes a number, reads a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kib() {
        assert_eq!(parse_meminfo("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(parse_meminfo("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn the_own_group_and_those_above_it_count() {
        let root = Path::new("/r");
        let paths = |text: &str| {
            group_folders(text, root).iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(paths("0::/a/b\n"), ["/r/a/b", "/r/a", "/r"]);
        assert_eq!(paths("0::/\n"), ["/r"]);
        assert_eq!(paths("5:cpu,cpuacct:/x\n4:memory:/y\n"), ["/r/memory/y", "/r/memory"]);
        assert_eq!(paths(""), ["/r"]);
    }

    #[test]
    fn the_tightest_group_decides() {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, name: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            std::fs::write(root.path().join(folder).join(name), text).unwrap();
        };
        write("a/b", "memory.max", "max\n");
        write("a/b", "memory.current", "10\n");
        write("a", "memory.max", "1000\n");
        write("a", "memory.current", "400\n");
        assert_eq!(left_in_groups(&group_folders("0::/a/b", root.path())), Some(600));
        write("memory/old", "memory.limit_in_bytes", "500");
        write("memory/old", "memory.usage_in_bytes", "700");
        assert_eq!(left_in_groups(&group_folders("3:memory:/old", root.path())), Some(0));
        assert_eq!(left_in_groups(&group_folders("0::/none", root.path())), None);
    }
}
