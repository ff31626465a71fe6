//! Why a library could not be loaded, in words that say what to do.

use crate::binary::BinaryFormat;
use std::path::PathBuf;

/// A shared library that could not be loaded into the process.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// The path does not exist.
    #[error("no file `{}`; give the directory of `{expected}` or the path of the file itself", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
        /// The file name of the platform.
        expected: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("cannot load `{}`: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// Built for another operating system.
    #[error("cannot load `{}`: its format is {found} and this system loads {expected}", path.display())]
    WrongFormat {
        /// The file.
        path: PathBuf,
        /// This system's format.
        expected: BinaryFormat,
        /// The file's.
        found: BinaryFormat,
    },
    /// Built for another processor.
    #[error("cannot load `{}`: it is built for `{found}` and this process runs on `{expected}`", path.display())]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// This process's architecture.
        expected: &'static str,
        /// The file's.
        found: String,
    },
    /// Needs a newer C library.
    #[error(
        "cannot load `{}`: it needs GLIBC_{}.{} and this system has {}.{}; use a build for an older system",
        path.display(), needed.0, needed.1, present.0, present.1
    )]
    GlibcTooOld {
        /// The file.
        path: PathBuf,
        /// The version it needs.
        needed: (u32, u32),
        /// The version that runs.
        present: (u32, u32),
    },
    /// The process has already loaded another file of the same name, to which the libraries that need this one would be bound.
    #[error(
        "cannot load `{}`: this process has already loaded `{}` under that name; import tabagent before what loads it, or use separate processes",
        path.display(), found.display()
    )]
    NameTaken {
        /// The file.
        path: PathBuf,
        /// The file of the same name.
        found: PathBuf,
    },
    /// A library that it needs is missing.
    #[error("cannot load `{}`: it needs `{dependency}`, which is neither beside it nor on this system", path.display())]
    MissingDependency {
        /// The file.
        path: PathBuf,
        /// The name under which it is looked for.
        dependency: String,
    },
    /// The dynamic loader refused for another reason.
    #[error("cannot load `{}`: {reason}", path.display())]
    Loader {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_error_says_both_versions() {
        let error =
            LoadFailure::GlibcTooOld { path: "/x/libllama.so".into(), needed: (2, 38), present: (2, 36) };
        assert_eq!(
            error.to_string(),
            "cannot load `/x/libllama.so`: it needs GLIBC_2.38 and this system has 2.36; use a build for an older system"
        );
    }
}
