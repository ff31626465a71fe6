//! Errors of loading and using models.

use std::path::PathBuf;
use tabagent_gguf::GgufError;
use tabagent_sys::UnsupportedSetting;

/// A model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file.
    #[error("no model file `{}`", .0.display())]
    NotFound(PathBuf),
    /// The file is not a regular file.
    #[error("`{}` is a directory; give the path of a GGUF file in it", .0.display())]
    IsDirectory(PathBuf),
    /// The path has a NUL byte.
    #[error("path `{}` {}", .0.display(), crate::strings::path_problem(.0))]
    BadPath(PathBuf),
    /// The file is damaged, or llama.cpp cannot run it.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file has no tensors.
    #[error("`{}` has no tensors, only metadata and perhaps a vocabulary; load it with `vocab_only=True`, or give a file with weights", .0.display())]
    NoWeights(PathBuf),
    /// A replaced metadata value is unusable.
    #[error("metadata override `{key}`: {reason}")]
    BadOverride {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option is out of its range.
    #[error("`{option}` must be {range}, got `{got}`")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What is allowed.
        range: &'static str,
        /// What was given.
        got: String,
    },
    /// A device that does not exist was named.
    #[error("unknown device `{name}`; here are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    UnknownDevice {
        /// The name.
        name: String,
        /// The names of those that exist.
        known: Vec<String>,
    },
    /// A kind of memory that does not exist was named.
    #[error("`override_tensors` names unknown memory `{name}`; here are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    UnknownMemory {
        /// The name.
        name: String,
        /// The names of those that exist.
        known: Vec<String>,
    },
    /// A device has too little memory.
    #[error("`{}` does not fit into the memory of `{device}`: {}; put fewer layers there with `gpu_layers`, or take a smaller context", path.display(), reason(log))]
    DeviceMemory {
        /// The file.
        path: PathBuf,
        /// The device, by the name of its memory.
        device: String,
        /// The errors that llama.cpp logged.
        log: Vec<String>,
    },
    /// The progress callback asked to stop.
    #[error("loading `{}` was cancelled by the progress callback", .0.display())]
    Cancelled(PathBuf),
    /// llama.cpp refused the file.
    #[error("llama.cpp cannot load `{}`: {}", path.display(), reason(log))]
    Refused {
        /// The file.
        path: PathBuf,
        /// The errors it logged.
        log: Vec<String>,
    },
    /// llama.cpp failed, in a process that can start no thread.
    #[error(
        "llama.cpp cannot load `{}`: {}; no thread can be started, and loading needs some: raise the limit of processes and threads (`ulimit -u`, or `pids.max` of the control group)",
        path.display(), reason(log)
    )]
    NoThreads {
        /// The file.
        path: PathBuf,
        /// The errors it logged.
        log: Vec<String>,
    },
    /// No library was named and none is loaded.
    #[error("no llama.cpp library is loaded; set `TABAGENT_LIBRARY_PATH` to the directory of one")]
    NoLibrary,
    /// The library could not be loaded.
    #[error(transparent)]
    Library(#[from] crate::library_error::LibraryError),
    /// The build of llama.cpp does not support a setting.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedSetting),
}

/// llama.cpp logs the cause first and then what failed because of it.
pub(crate) fn reason(log: &[String]) -> String {
    if log.is_empty() { "it gave no reason".to_owned() } else { log.join("; ") }
}
