//! What can go wrong with adapters.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::convert::ConvertError;
use crate::error::GgufError;
use crate::ggml_type::GgmlType;

use super::out_type::ADAPTER_TYPES;

/// Everything that reading, merging and converting adapters can report.
#[derive(Debug, Error)]
pub enum LoraError {
    /// The operating system refused to read a file of an adapter.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// An adapter breaks a rule, asks for something that cannot be merged, or does not belong to the model.
    #[error("cannot use adapter `{}`: {problem}", path.display())]
    Adapter {
        /// The adapter's file.
        path: PathBuf,
        /// The key or tensor and the rule it breaks, with found and expected values.
        problem: String,
    },

    /// The model cannot take adapters, or a merged tensor cannot be stored.
    #[error("cannot use model `{model}`: {problem}")]
    Model {
        /// The model's file, without its directory, or its folder.
        model: String,
        /// The key or tensor and the rule it breaks, with found and expected values.
        problem: String,
    },

    /// Nothing was given to merge.
    #[error("there is no adapter to merge; give at least one")]
    NoAdapter,

    /// The scale of an adapter is infinite or NaN.
    #[error("adapter `{}` has scale `{scale}`, which is not finite", path.display())]
    Scale {
        /// The adapter's file.
        path: PathBuf,
        /// The number that was given for it.
        scale: f64,
    },

    /// Adapters cannot be stored as that type.
    #[error("adapters cannot be written as `{found}`; choose one of {}", ADAPTER_TYPES.map(|kind| format!("`{kind}`")).join(", "))]
    OutType {
        /// The type that was given.
        found: GgmlType,
    },

    /// A GGUF file breaks a rule, writing failed, or it was cancelled.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl LoraError {
    /// `problem` with the adapter at `path`.
    pub(super) fn adapter(path: &Path, problem: impl Into<String>) -> Self {
        Self::Adapter { path: path.to_owned(), problem: problem.into() }
    }

    /// `problem` with the model called `model`.
    pub(super) fn model(model: &str, problem: impl Into<String>) -> Self {
        Self::Model { model: model.to_owned(), problem: problem.into() }
    }
}

/// Files of adapters are read as those of checkpoints are.
impl From<ConvertError> for LoraError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Read { path, source } => Self::Read { path, source },
            ConvertError::Source { path, problem } => Self::Adapter { path, problem },
            ConvertError::Architecture { path, architecture, supported } => Self::Adapter {
                path,
                problem: format!("architecture `{architecture}` is not supported; supported are {supported}"),
            },
            ConvertError::Gguf(error) => Self::Gguf(error),
        }
    }
}
