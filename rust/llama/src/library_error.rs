//! Errors of loading llama.cpp.

use std::path::PathBuf;
use tabagent_sys::{AbiMismatch, LoadFailure, MissingSymbols};

/// llama.cpp could not be loaded, or must not be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The operating system could not bring it into the process.
    #[error(transparent)]
    Load(#[from] LoadFailure),
    /// It is not llama.cpp, or one too old or too new.
    #[error("`{}` is not a usable llama.cpp: {source}", path.display())]
    MissingSymbols {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        source: MissingSymbols,
    },
    /// It is a build of llama.cpp whose struct layouts are not known.
    #[error("`{}`: {source}", path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// Expected, found and why.
        source: AbiMismatch,
    },
    /// It is bound to another copy of ggml than the one beside it.
    #[error(
        "`{}` resolved `{symbol}` to `{}`: another package has already loaded its own ggml into this process; \
         import tabagent before it, or use separate processes",
        path.display(), found.display()
    )]
    ForeignGgml {
        /// libllama.
        path: PathBuf,
        /// A function of ggml.
        symbol: &'static str,
        /// Where that function is from.
        found: PathBuf,
    },
    /// The process already runs another llama.cpp.
    #[error(
        "cannot load `{}`: this process already uses `{}`, and two llama.cpp builds in one process mix their symbols; \
         use another process",
        requested.display(), loaded.display()
    )]
    AlreadyLoaded {
        /// The directory in use.
        loaded: PathBuf,
        /// The directory asked for.
        requested: PathBuf,
    },
    /// The process already runs another CPU module.
    #[error("cannot use CPU module `{requested}`: this process already runs `{loaded}`; use another process")]
    ModuleAlreadyLoaded {
        /// The module in use.
        loaded: String,
        /// The module asked for.
        requested: String,
    },
    /// The forced CPU module is not there.
    #[error("no CPU module `{name}` in `{}`; it has {}", directory.display(), listed(available))]
    NoSuchModule {
        /// The module asked for.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
        /// What is there.
        available: Vec<String>,
    },
    /// A backend from elsewhere could not be loaded.
    #[error("cannot load the backend `{}`{}", path.display(), details(log))]
    Backend {
        /// Its file.
        path: PathBuf,
        /// What ggml logged.
        log: Vec<String>,
    },
    /// The process already runs with other backends.
    #[error(
        "cannot use llama.cpp with {}: this process already runs it with {}; use another process",
        added(requested),
        added(loaded)
    )]
    BackendsAlreadyLoaded {
        /// The backends in use beside the library's own.
        loaded: Vec<PathBuf>,
        /// Those asked for.
        requested: Vec<PathBuf>,
    },
    /// No module runs on this processor.
    #[error("no CPU backend in `{}` runs on this machine{}", directory.display(), details(log))]
    NoCpuBackend {
        /// The directory.
        directory: PathBuf,
        /// What ggml logged.
        log: Vec<String>,
    },
    /// A path that C cannot take.
    #[error("path `{}` {}", .0.display(), crate::strings::path_problem(.0))]
    BadPath(PathBuf),
}

fn details(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!(": {}", log.join("; ")) }
}

/// The files of backends, in words.
fn added(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    if names.is_empty() { "no backend from elsewhere".to_owned() } else { listed(&names) }
}

/// Names in backticks, with commas between.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
