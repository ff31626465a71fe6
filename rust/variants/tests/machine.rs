//! Facts read from fixture trees.

#![allow(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

use std::fs;
use std::path::Path;

use tabagent_variants::{CgroupLimits, Hardware, Topology, default_threads};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn limits(files: &[(&str, &str)]) -> CgroupLimits {
    CgroupLimits::read_at(tree(files).path())
}

const V2_MOUNT: (&str, &str) =
    ("proc/self/mountinfo", "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");

#[test]
fn version_2_takes_the_tightest_limit_on_the_way_up() {
    let found = limits(&[
        V2_MOUNT,
        ("proc/self/cgroup", "0::/user.slice/app.scope\n"),
        ("sys/fs/cgroup/user.slice/app.scope/cpu.max", "400000 100000\n"),
        ("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n"),
        ("sys/fs/cgroup/user.slice/memory.max", "1048576\n"),
    ]);
    assert_eq!(found.cpu_quota, Some(1.5));
    assert_eq!(found.memory_limit_bytes, Some(MIB));
}

#[test]
fn version_2_max_is_no_limit() {
    let found = limits(&[
        V2_MOUNT,
        ("proc/self/cgroup", "0::/a\n"),
        ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/a/memory.max", "max\n"),
    ]);
    assert_eq!(found, CgroupLimits::default());
}

#[test]
fn container_whose_group_is_the_mount_root_reads_the_mount_point() {
    let limit = ("sys/fs/cgroup/cpu.max", "200000 100000\n");
    // With a namespace of its own, with the host's path in both files, and with a path that cannot be seen.
    for (group, mount) in [("/", "/"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/"), ("/../x", "/")] {
        let mountinfo = format!("25 1 0:22 {mount} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        let found = limits(&[
            ("proc/self/mountinfo", &mountinfo),
            ("proc/self/cgroup", &format!("0::{group}\n")),
            limit,
        ]);
        assert_eq!(found.cpu_quota, Some(2.0), "{group} {mount}");
    }
}

#[test]
fn limits_are_found_without_mountinfo() {
    let version_2 = limits(&[("sys/fs/cgroup/cpu.max", "50000 100000\n")]);
    assert_eq!(version_2.cpu_quota, Some(0.5));
    let version_1 = limits(&[
        ("proc/self/cgroup", "4:cpu,cpuacct:/job\n"),
        ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(version_1.cpu_quota, Some(3.0));
}

#[test]
fn version_1_reads_each_controller_at_its_own_path() {
    let found = limits(&[
        (
            "proc/self/mountinfo",
            "30 25 0:26 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
             31 25 0:27 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             32 25 0:28 / /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n",
        ),
        ("proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc/inner\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/docker/abc/inner/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "2097152\n"),
        ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "1572864\n"),
        ("sys/fs/cgroup/memory/docker/abc/memory.stat", "inactive_file 1\ntotal_inactive_file 524288\n"),
    ]);
    assert_eq!(found.cpu_quota, Some(2.5));
    assert_eq!(found.memory_limit_bytes, Some(2 * MIB));
    assert_eq!(found.memory_room_bytes, Some(MIB));
}

#[test]
fn mixed_hierarchies_are_both_read() {
    let found = limits(&[
        (
            "proc/self/mountinfo",
            "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             2 0 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "1:cpu:/\n0::/a\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/unified/a/memory.max", "4096\n"),
    ]);
    assert_eq!((found.cpu_quota, found.memory_limit_bytes), (None, Some(4096)));
}

#[test]
fn foreign_mount_of_the_hierarchy_is_not_ours() {
    let found = limits(&[
        (
            "proc/self/mountinfo",
            "1 0 0:1 /other /mnt/other rw - cgroup2 cgroup2 rw\n2 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "0::/mine\n"),
        ("mnt/other/cpu.max", "100000 100000\n"),
        ("sys/fs/cgroup/mine/cpu.max", "700000 100000\n"),
    ]);
    assert_eq!(found.cpu_quota, Some(7.0));
}

#[test]
fn malformed_files_are_no_limits() {
    let found = limits(&[
        ("proc/self/mountinfo", "garbage\n25 1 0:22 / - cgroup2\n - \n"),
        ("proc/self/cgroup", "::::\nx\n0:\n"),
        ("sys/fs/cgroup/cpu.max", "one hundred\n"),
        ("sys/fs/cgroup/memory.max", "\u{0}\n"),
    ]);
    assert_eq!(found, CgroupLimits::default());
}

#[test]
fn affinity_is_cut_to_online_processors() {
    let root = tree(&[
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t2-127\n"),
    ]);
    let topology = Topology::read_at(root.path());
    assert_eq!(topology.allowed.unwrap().into_iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn machine_is_read_as_a_whole() {
    let mut files = vec![
        (
            "proc/cpuinfo".to_owned(),
            "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 23\nmodel : 113\nmodel name : Ryzen\n\
             flags : lm sse4_2 avx f16c fma avx2 bmi2\n"
                .to_owned(),
        ),
        ("proc/meminfo".to_owned(), "MemTotal: 8192 kB\nMemAvailable: 6144 kB\n".to_owned()),
        ("proc/self/status".to_owned(), "Cpus_allowed_list:\t0-7\n".to_owned()),
        ("proc/self/cgroup".to_owned(), "0::/\n".to_owned()),
        ("sys/fs/cgroup/cpu.max".to_owned(), "250000 100000\n".to_owned()),
        ("sys/fs/cgroup/memory.max".to_owned(), "4194304\n".to_owned()),
        ("sys/fs/cgroup/memory.current".to_owned(), "1048576\n".to_owned()),
        ("sys/devices/system/cpu/online".to_owned(), "0-7\n".to_owned()),
    ];
    for cpu in 0..8 {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        files.push((path, format!("{},{}\n", cpu % 4, cpu % 4 + 4)));
    }
    let borrowed: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let root = tree(&borrowed);
    let hardware = Hardware::probe_at(root.path());
    assert_eq!((hardware.cpu.physical_cores, hardware.cpu.logical_cores), (Some(4), 8));
    assert_eq!((hardware.budget.affinity, hardware.budget.quota), (8, Some(2.5)));
    assert_eq!((hardware.budget.usable, default_threads(&hardware)), (3, 3));
    let memory = hardware.memory.unwrap();
    assert_eq!(
        (memory.total_bytes, memory.available_bytes, memory.limit_bytes),
        (8 * MIB, 3 * MIB, Some(4 * MIB))
    );
}

#[test]
fn unknown_machine_has_one_thread_and_no_features() {
    let hardware = Hardware::probe_at(Path::new("/nonexistent"));
    assert_eq!((hardware.budget.usable, hardware.cpu.logical_cores), (1, 1));
    assert!(hardware.cpu.features.is_empty() && hardware.memory.is_none());
}

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
#[test]
fn own_memory_is_known() {
    let memory = Hardware::probe().memory.unwrap();
    assert!(memory.total_bytes > 64 * MIB, "{memory:?}");
    assert!((1..=memory.total_bytes).contains(&memory.available_bytes), "{memory:?}");
}

#[test]
fn own_budget_agrees_with_the_standard_library() {
    // The standard library reads affinity and quota by itself and rounds a quota down where we round up.
    let hardware = Hardware::probe();
    let theirs = std::thread::available_parallelism().unwrap().get();
    assert!(
        hardware.budget.usable == theirs || hardware.budget.usable == theirs + 1,
        "{:?} {theirs}",
        hardware.budget
    );
}

#[test]
fn facts_serialize_with_the_names_ggml_uses() {
    let root = tree(&[("proc/cpuinfo", "processor : 0\nflags : avx512_bf16 sse4_2\n")]);
    let json = serde_json::to_value(Hardware::probe_at(root.path())).unwrap();
    assert_eq!(json["cpu"]["features"], serde_json::json!(["SSE42", "AVX512_BF16"]));
    assert_eq!(json["cpu"]["architecture"], "x86_64");
}
