//! Why a library could not be loaded, in words that say what to do.

use std::path::PathBuf;

/// A shared library that could not be brought into the process.
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
    /// A library it needs is not there.
    #[error("cannot load `{}`: it needs `{dependency}`, which is neither beside it nor on this system", path.display())]
    MissingDependency {
        /// The file.
        path: PathBuf,
        /// The soname that did not resolve.
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
    /// Not built for this operating system.
    #[error("loading llama.cpp at run time is supported on Linux and macOS, not on `{os}`")]
    UnsupportedPlatform {
        /// The operating system.
        os: &'static str,
    },
}

/// `libfoo.so.1: cannot open shared object file` → `libfoo.so.1`, from glibc's message.
pub(crate) fn missing_dependency(message: &str) -> Option<&str> {
    let (name, _) = message.split_once(": cannot open shared object file")?;
    let name = name.rsplit([' ', '\'']).next()?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_message_gives_the_missing_soname() {
        let text = "libcudart.so.12: cannot open shared object file: No such file or directory";
        assert_eq!(missing_dependency(text), Some("libcudart.so.12"));
        assert_eq!(missing_dependency("/a/b.so: cannot open shared object file: No such file"), None);
        assert_eq!(missing_dependency("/a/b.so: undefined symbol: x"), None);
    }

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
