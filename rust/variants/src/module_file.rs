//! The files of ggml's backends.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::text::serialize_path;

/// The name given here to a CPU module without a suffix (`libggml-cpu.so`): a build for one set of features, which its name
/// does not tell.
pub const BASE_MODULE: &str = "base";

/// One backend module file of ggml.
///
/// ```
/// use tabagent_variants::ModuleFile;
/// let file = ModuleFile::cpu("/lib/libggml-cpu-zen4.so".as_ref()).unwrap();
/// assert_eq!(file.name, "zen4");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleFile {
    /// The name: `haswell` for `libggml-cpu-haswell.so`, `base` for `libggml-cpu.so`, `cuda` for `libggml-cuda.so`.
    pub name: String,
    /// The file.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
}

impl ModuleFile {
    /// The CPU module at `path`, or `None` if the file name is not that of one on any system.
    pub fn cpu(path: &Path) -> Option<Self> {
        let stem = backend_stem(path)?;
        let name = if stem == "cpu" { BASE_MODULE } else { stem.strip_prefix("cpu-")? };
        (!name.is_empty()).then(|| Self { name: name.to_owned(), path: path.to_owned() })
    }

    /// The backend at `path` that is not for the CPU (`cuda`, `vulkan`, `rpc`, …), or `None` if it is no such file.
    pub fn other_backend(path: &Path) -> Option<Self> {
        let stem = backend_stem(path)?;
        let cpu_or_core = stem == "cpu" || stem.starts_with("cpu-") || stem == "base" || stem.is_empty();
        (!cpu_or_core).then(|| Self { name: stem.to_owned(), path: path.to_owned() })
    }
}

/// `cpu-haswell` of `libggml-cpu-haswell.so`, `libggml-cpu-haswell.dylib` and `ggml-cpu-haswell.dll`.
fn backend_stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".so")
        .or_else(|| name.strip_suffix(".dylib"))
        .and_then(|stem| stem.strip_prefix("libggml-"))
        .or_else(|| name.strip_suffix(".dll")?.strip_prefix("ggml-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_of_every_system_are_read() {
        for (file, name) in [
            ("libggml-cpu-haswell.so", Some("haswell")),
            ("libggml-cpu-apple_m1.dylib", Some("apple_m1")),
            ("ggml-cpu-zen4.dll", Some("zen4")),
            ("libggml-cpu-armv8.2_1.so", Some("armv8.2_1")),
            ("libggml-cpu.so", Some("base")),
            ("libggml-cpu-.so", None),
            ("libggml-base.so", None),
            ("libggml.so", None),
            ("libggml-cuda.so", None),
            ("libggml-cpu-haswell.so.0", None),
            ("ggml-cpu-haswell.so", None),
        ] {
            assert_eq!(ModuleFile::cpu(Path::new(file)).map(|f| f.name).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn other_backends_leave_out_cpu_and_core() {
        for (file, name) in [
            ("libggml-cuda.so", Some("cuda")),
            ("ggml-vulkan.dll", Some("vulkan")),
            ("libggml-base.so", None),
            ("libggml.so", None),
            ("libggml-cpu.so", None),
        ] {
            assert_eq!(ModuleFile::other_backend(Path::new(file)).map(|f| f.name).as_deref(), name, "{file}");
        }
    }
}
