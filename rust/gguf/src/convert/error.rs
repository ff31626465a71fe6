//! What can go wrong while a model is converted.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::GgufError;

/// Everything that [`convert`](super::convert) can report.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The operating system refused to read a file of the model.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file of the model breaks a rule or asks for something that cannot be converted.
    #[error("cannot convert `{}`: {problem}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// The key or tensor and the rule it breaks, with found and expected values.
        problem: String,
    },

    /// There are no rules for the model's architecture.
    #[error("cannot convert `{}`: architecture `{architecture}` is not supported; supported are {supported}", path.display())]
    Architecture {
        /// The file that names it.
        path: PathBuf,
        /// The name found.
        architecture: String,
        /// The names known, for messages.
        supported: String,
    },

    /// The GGUF file to be read or written breaks a rule, or writing it failed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl ConvertError {
    /// `problem` with the file at `path`.
    pub(super) fn source(path: &Path, problem: impl Into<String>) -> Self {
        Self::Source { path: path.to_owned(), problem: problem.into() }
    }
}
