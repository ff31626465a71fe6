//! Limits that Linux control groups set on this process: processor time and memory.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

/// The tightest limits of the process's control groups and all their parents.
///
/// Both versions are read, also mixed: `cpu.max` and `memory.max` (version 2, `Documentation/admin-guide/cgroup-v2.rst` of
/// Linux), `cpu.cfs_quota_us` over `cpu.cfs_period_us` and `memory.limit_in_bytes` (version 1). A limit binds all children, so
/// the smallest on the way up counts. In a container the process's group is often the root of what is mounted, or a path
/// that is not visible inside: then the mount point itself is read.
///
/// ```
/// let limits = tabagent_variants::CgroupLimits::read_at(std::path::Path::new("/"));
/// assert!(limits.cpu_quota.is_none_or(|cpus| cpus > 0.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CgroupLimits {
    /// Processors' worth of time per period (1.5 is one and a half), or `None` without a limit.
    pub cpu_quota: Option<f64>,
    /// Bytes of memory, or `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that may still be taken before the tightest memory limit makes the kernel reclaim or kill: limit minus usage, where file pages not
    /// used recently do not count as usage. `None` without a limit.
    pub memory_room_bytes: Option<u64>,
}

impl CgroupLimits {
    /// Reads the files below `root` (`/` for this machine). What is missing or malformed is no limit.
    pub fn read_at(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let groups = parse_groups(&read("proc/self/cgroup"));
        let mounts = parse_mounts(&read("proc/self/mountinfo"));
        let mut limits = Self::default();
        for directory in directories(root, &groups, &mounts, Controller::Cpu) {
            limits.tighten_cpu(&directory);
        }
        for directory in directories(root, &groups, &mounts, Controller::Memory) {
            limits.tighten_memory(&directory);
        }
        limits
    }

    fn tighten_cpu(&mut self, directory: &Path) {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let quota = read("cpu.max")
            .and_then(|text| parse_cpu_max(&text))
            .or_else(|| parse_cgroup_v1_quota(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?));
        if let Some(quota) = quota {
            self.cpu_quota = Some(self.cpu_quota.map_or(quota, |before| before.min(quota)));
        }
    }

    fn tighten_memory(&mut self, directory: &Path) {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let limit = |name: &str| read(name).and_then(|text| parse_memory_limit(&text));
        let Some(bytes) = limit("memory.max").or_else(|| limit("memory.limit_in_bytes")) else { return };
        self.memory_limit_bytes = Some(self.memory_limit_bytes.map_or(bytes, |before| before.min(bytes)));
        let usage = limit("memory.current").or_else(|| limit("memory.usage_in_bytes")).unwrap_or(0);
        let stat = read("memory.stat").unwrap_or_default();
        let idle = stat_value(&stat, "total_inactive_file").or_else(|| stat_value(&stat, "inactive_file"));
        let room = bytes.saturating_sub(usage.saturating_sub(idle.unwrap_or(0)));
        self.memory_room_bytes = Some(self.memory_room_bytes.map_or(room, |before| before.min(room)));
    }
}

/// Reads `cpu.max` of version 2 (`"150000 100000"`, `"max 100000"`) as processors' worth of time.
///
/// `None` for no limit and for malformed text. The period may be missing and is then 100,000 µs, the kernel's default.
///
/// ```
/// assert_eq!(tabagent_variants::parse_cpu_max("150000 100000"), Some(1.5));
/// assert_eq!(tabagent_variants::parse_cpu_max("max 100000"), None);
/// ```
pub fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse::<u64>().ok()?;
    let period = match words.next() {
        Some(period) => period.parse::<u64>().ok()?,
        None => 100_000,
    };
    cpus(quota, period)
}

/// Reads `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1 as processors' worth of time.
///
/// `None` for no limit (a quota of −1 or 0) and for malformed text.
///
/// ```
/// assert_eq!(tabagent_variants::parse_cgroup_v1_quota("200000", "100000"), Some(2.0));
/// assert_eq!(tabagent_variants::parse_cgroup_v1_quota("-1", "100000"), None);
/// ```
pub fn parse_cgroup_v1_quota(quota_us: &str, period_us: &str) -> Option<f64> {
    cpus(quota_us.trim().parse::<u64>().ok()?, period_us.trim().parse::<u64>().ok()?)
}

/// Reads a number of bytes as `memory.max` and `memory.limit_in_bytes` hold it.
///
/// `None` for `max`, for malformed text, and for numbers from 2^62 on: version 1 writes "no limit" as the largest number of
/// whole pages.
///
/// ```
/// assert_eq!(tabagent_variants::parse_memory_limit("1073741824\n"), Some(1 << 30));
/// assert_eq!(tabagent_variants::parse_memory_limit("9223372036854771712"), None);
/// ```
pub fn parse_memory_limit(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 62)
}

fn cpus(quota_us: u64, period_us: u64) -> Option<f64> {
    (quota_us > 0 && period_us > 0).then(|| quota_us as f64 / period_us as f64)
}

fn stat_value(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Cpu,
    Memory,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// Where the hierarchy is mounted when `mountinfo` cannot be read.
    fn usual_mounts(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"],
            Self::Memory => &["/sys/fs/cgroup/memory"],
        }
    }
}

/// One line of `/proc/self/cgroup`: the group's path, and the controllers of version 1 (empty for version 2).
#[derive(Debug, Clone, PartialEq, Eq)]
struct ControlGroup {
    controllers: Vec<String>,
    path: PathBuf,
}

fn parse_groups(text: &str) -> Vec<ControlGroup> {
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let controllers =
                controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Some(ControlGroup { controllers, path: PathBuf::from(path) })
        })
        .collect()
}

/// One control group mount of `/proc/self/mountinfo`: which group is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    version_2: bool,
    controllers: Vec<String>,
    group: PathBuf,
    point: PathBuf,
}

/// The fields are those of `Documentation/filesystems/proc.rst` of Linux, 3.5.
fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(3);
            let (group, point) = (unescape(before.next()?), unescape(before.next()?));
            let mut after = after.split(' ');
            let version_2 = match after.next()? {
                "cgroup2" => true,
                "cgroup" => false,
                _ => return None,
            };
            let controllers = after.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
            Some(Mount { version_2, controllers, group: group.into(), point: point.into() })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash in paths as three octal digits.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The directories to read for one controller: the process's group and its parents up to the mount point.
fn directories(
    root: &Path,
    groups: &[ControlGroup],
    mounts: &[Mount],
    controller: Controller,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for version_2 in [true, false] {
        let has = |names: &[String]| names.iter().any(|name| name == controller.name());
        let group = groups
            .iter()
            .find(|group| if version_2 { group.controllers.is_empty() } else { has(&group.controllers) })
            .map_or(Path::new("/"), |group| group.path.as_path());
        let mounted: Vec<(&Path, &Path)> = mounts
            .iter()
            .filter(|mount| mount.version_2 == version_2 && (version_2 || has(&mount.controllers)))
            .map(|mount| (mount.group.as_path(), mount.point.as_path()))
            .collect();
        if mounts.is_empty() {
            let usual = if version_2 { &["/sys/fs/cgroup"] as &[&str] } else { controller.usual_mounts() };
            found.extend(
                usual.iter().flat_map(|point| upwards(root, group, Path::new("/"), Path::new(point))),
            );
        } else if let Some((above, point)) =
            mounted.iter().find(|(above, _)| group.starts_with(above)).or_else(|| mounted.first())
        {
            found.extend(upwards(root, group, above, point));
        }
    }
    found
}

/// `point` and, where `group` lies below `mounted_group`, every directory between them, innermost first.
fn upwards(root: &Path, group: &Path, mounted_group: &Path, point: &Path) -> Vec<PathBuf> {
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain(point.strip_prefix("/").unwrap_or(point)) {
        return Vec::new();
    }
    let top = inside(point);
    let below = group.strip_prefix(mounted_group).ok().filter(|below| plain(below)).unwrap_or(Path::new(""));
    below.ancestors().map(|part| top.join(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_limits_are_no_limits() {
        for text in ["", "max", "-1 100000", "abc 100000", "100000 0", "100000 x", "0 100000"] {
            assert_eq!(parse_cpu_max(text), None, "{text}");
        }
        for (quota, period) in [("-1", "100000"), ("0", "100000"), ("1", "0"), ("x", "1"), ("", "")] {
            assert_eq!(parse_cgroup_v1_quota(quota, period), None, "{quota} {period}");
        }
        for text in ["", "max", "-5", "1e9", "18446744073709551615"] {
            assert_eq!(parse_memory_limit(text), None, "{text}");
        }
    }

    #[test]
    fn missing_period_is_the_default_one() {
        assert_eq!(parse_cpu_max("50000"), Some(0.5));
    }

    #[test]
    fn group_outside_of_mount_reads_the_mount_point() {
        let root = Path::new("/r");
        assert_eq!(
            upwards(root, Path::new("/a"), Path::new("/b"), Path::new("/sys/fs/cgroup")),
            [PathBuf::from("/r/sys/fs/cgroup/")]
        );
        assert_eq!(
            upwards(root, Path::new("/../x"), Path::new("/"), Path::new("/sys/fs/cgroup")),
            [PathBuf::from("/r/sys/fs/cgroup/")]
        );
    }

    #[test]
    fn path_never_leaves_the_root_directory() {
        assert!(upwards(Path::new("/r"), Path::new("/"), Path::new("/"), Path::new("/../etc")).is_empty());
    }

    #[test]
    fn mount_points_are_unescaped() {
        let mounts = parse_mounts("1 2 0:3 /a\\040b /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(mounts[0].group, PathBuf::from("/a b"));
        assert_eq!(mounts[0].point, PathBuf::from("/sys/fs/my cgroup"));
    }
}
