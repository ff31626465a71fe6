//! Why a model could not be loaded.

use tabagent_gguf::{GgmlType, GgufError, LoraError, QuantError};

/// What to do about a model that this engine cannot load.
const HINT: &str = "`engine='llama.cpp'` may load it";

/// Why [`LoadedModel::load`](crate::LoadedModel::load) or [`EngineDecoder::new`](crate::EngineDecoder::new) failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read, or has weights that are NaN or infinite.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// An adapter could not be read, or is not for the model.
    #[error(transparent)]
    Adapter(#[from] LoraError),
    /// No description of the architecture is there.
    #[error("the engine has no description of architecture `{architecture}`, only of {known}; {HINT}")]
    Architecture {
        /// The file's `general.architecture`, empty if it has none.
        architecture: String,
        /// Those that are there.
        known: String,
    },
    /// A metadata value is missing, or is none that the engine can work with.
    #[error("key `{key}` {problem}; {HINT}")]
    Key {
        /// The key.
        key: String,
        /// What it is, and what it may be.
        problem: String,
    },
    /// A tensor is missing, or has another shape than the hyperparameters say.
    #[error("tensor `{name}` {problem}; {HINT}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What it is, and what it may be.
        problem: String,
    },
    /// A tensor's bytes are no whole blocks.
    #[error("tensor `{name}`: {source}; fetch or convert the file again")]
    Numbers {
        /// The tensor.
        name: String,
        /// Where.
        source: QuantError,
    },
    /// The engine has no kernels for a number type.
    #[error(
        "tensor `{name}` is of type `{ggml_type}`, which the engine does not compute with: {reason}; {HINT}"
    )]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        ggml_type: GgmlType,
        /// The kernels' reason.
        reason: String,
    },
    /// An option is out of range.
    #[error("`{option}` is `{found}`, but must be {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: usize,
        /// What it may be.
        expected: String,
    },
    /// The caller stopped the work.
    #[error("loading was cancelled")]
    Cancelled,
    /// Threads could not be started, or memory could not be had.
    #[error("{0}")]
    System(String),
}
