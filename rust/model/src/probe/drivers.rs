//! The drivers of GPUs, as far as files tell of them.

use std::fmt::Write as _;
use std::fs;

use super::files::file_stamp;

/// Where drivers tell of themselves, and where the Vulkan loader finds them.
const FILES: [&str; 6] = [
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia/version",
    "/sys/module/amdgpu/srcversion",
    "/sys/module/i915/srcversion",
    "/sys/module/xe/srcversion",
    "/proc/version",
];
const FOLDERS: [&str; 5] = [
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/dev/dri",
    "/proc/driver/nvidia/gpus",
];
/// How the names of environment variables begin that decide which GPUs programs see.
const VARIABLES: [&str; 7] = ["CUDA_", "GGML_", "VK_", "NVIDIA_", "HIP_", "ROCR_", "ONEAPI_"];

/// The version of the driver for GPUs of this maker.
pub(super) fn version(vendor: &str) -> Option<String> {
    match vendor {
        "nvidia" => nvidia_version(&fs::read_to_string("/proc/driver/nvidia/version").ok()?),
        "amd" => fs::read_to_string("/sys/module/amdgpu/version").ok().map(|text| text.trim().to_owned()),
        _ => None,
    }
}

/// The first number with two dots: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug 27 …`.
fn nvidia_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.split('.').count() >= 2 && word.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

/// Who makes the GPUs that a backend is for.
pub(super) fn vendor_of_backend(device: &str) -> Option<String> {
    let known = [
        ("CUDA", "nvidia"),
        ("ROCm", "amd"),
        ("Metal", "apple"),
        ("MTL", "apple"),
        ("MUSA", "moore threads"),
    ];
    known.iter().find(|(backend, _)| device.starts_with(backend)).map(|(_, vendor)| (*vendor).to_owned())
}

/// A text that changes when a driver is installed, replaced or removed, or when other GPUs are shown to programs.
pub(super) fn stamp() -> String {
    let mut text = String::new();
    for file in FILES {
        if let Ok(content) = fs::read_to_string(file) {
            let _ = writeln!(text, "{file} {content}");
        }
    }
    for folder in FOLDERS {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut stamps: Vec<_> = entries.map(|entry| file_stamp(&entry.path())).collect();
        stamps.sort();
        let _ = writeln!(text, "{folder} {}", stamps.concat());
    }
    let is_ours = |name: &str| VARIABLES.iter().any(|start| name.starts_with(start));
    let mut variables: Vec<_> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| is_ours(name))
        .collect();
    variables.sort();
    let _ = writeln!(text, "{variables:?}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_the_first_line() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug 27 16:25:36 UTC 2025\nGCC version:  gcc version 13.3.0\n";
        assert_eq!(nvidia_version(text).as_deref(), Some("580.82.07"));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n";
        assert_eq!(nvidia_version(open).as_deref(), Some("580.95.05"));
        assert_eq!(nvidia_version("no version here"), None);
    }

    #[test]
    fn the_stamp_stays_while_nothing_changes() {
        assert_eq!(stamp(), stamp());
    }
}
