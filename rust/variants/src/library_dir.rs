//! One directory with a llama.cpp library and its ggml backends.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::module::BASE_MODULE;
use crate::platform::System;
use crate::text::serialize_path;

/// How a library directory was found.
///
/// ```
/// assert_eq!(tabagent_variants::LibrarySource::Environment.to_string(), "`TABAGENT_LIBRARY_PATH`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LibrarySource {
    /// The caller gave the path.
    ExplicitPath,
    /// The environment variable `TABAGENT_LIBRARY_PATH` names it.
    Environment,
    /// An installed companion package brought it.
    Companion {
        /// The name of the package's entry point.
        name: String,
    },
    /// It is a variant of a `BitnetRelease` tree, to which an explicit path or the environment led.
    BitnetRelease,
    /// It came with this package.
    Bundled,
}

impl LibrarySource {
    /// The place in the order of preference, 0 first.
    pub(crate) fn preference(&self) -> u32 {
        match self {
            Self::ExplicitPath => 0,
            Self::Environment => 1,
            Self::Companion { .. } => 2,
            Self::BitnetRelease => 3,
            Self::Bundled => 4,
        }
    }
}

impl fmt::Display for LibrarySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExplicitPath => f.write_str("explicit path"),
            Self::Environment => f.write_str("`TABAGENT_LIBRARY_PATH`"),
            Self::Companion { name } => write!(f, "companion package `{name}`"),
            Self::BitnetRelease => f.write_str("BitnetRelease tree"),
            Self::Bundled => f.write_str("bundled"),
        }
    }
}

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

/// A directory with a `libllama` and its ggml backends.
///
/// ```no_run
/// # use tabagent_variants::discover;
/// for directory in discover(Some("/opt/llama".as_ref()), None, &[], None).into_iter().flatten() {
///     println!("{} has {} CPU modules", directory.path.display(), directory.modules.len());
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LibraryDir {
    /// The directory, absolute and without symbolic links.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// The llama.cpp library in it.
    #[serde(serialize_with = "serialize_path")]
    pub library: PathBuf,
    /// How it was found.
    pub source: LibrarySource,
    /// The system its libraries are for.
    pub system: System,
    /// The name of the variant in a `BitnetRelease` tree, `None` elsewhere.
    pub variant: Option<String>,
    /// Its CPU modules, by name; empty if ggml is one library with the CPU part inside.
    pub modules: Vec<ModuleFile>,
    /// Its other backends (GPUs, RPC), by name.
    pub backends: Vec<ModuleFile>,
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
