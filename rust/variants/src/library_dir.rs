//! One directory with a llama.cpp library and its ggml backends.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::added_modules::AddedModules;
use crate::module_file::ModuleFile;
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
    /// Another installed package brought it, such as `llama-cpp-python`, for its own use.
    Package {
        /// The package's name.
        name: String,
    },
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
            Self::Package { .. } => 5,
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
            Self::Package { name } => write!(f, "installed package `{name}`"),
        }
    }
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
    /// Modules that a companion package adds to this library.
    pub added: Option<AddedModules>,
}
