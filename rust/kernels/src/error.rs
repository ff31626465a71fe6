//! What the kernels refuse.

use tabagent_gguf::{GgmlType, QuantError};
use thiserror::Error;

/// Why a matrix could not be packed or a computation not be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// The tensor's bytes are not the weights that its type and shape ask for.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// The type holds no weights of a linear map.
    #[error(
        "`{kind}` is no type for the weights of a matrix; convert the tensor to a float or quantized type"
    )]
    NotAWeightType {
        /// The tensor's type.
        kind: GgmlType,
    },
    /// A row is no whole number of blocks.
    #[error(
        "rows of `{n_cols}` weights are not a multiple of the `{block_size}` that a block of `{kind}` holds; choose another type"
    )]
    PartialBlock {
        /// The tensor's type.
        kind: GgmlType,
        /// Weights in a row.
        n_cols: usize,
        /// Weights in a block.
        block_size: u64,
    },
    /// The matrix is larger than memory can be.
    #[error("a matrix of `{n_rows}` rows of `{n_cols}` weights is larger than any memory")]
    TooLarge {
        /// Weights in a row.
        n_cols: usize,
        /// Rows.
        n_rows: usize,
    },
    /// A buffer has another length than the shapes ask for.
    #[error("{what} has `{found}` values, but the shapes ask for `{expected}`")]
    WrongLength {
        /// The buffer, in words.
        what: &'static str,
        /// What the shapes ask for.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// A number of the shape or of the options makes no sense.
    #[error("{what} cannot be `{found}`")]
    WrongValue {
        /// The number, in words.
        what: &'static str,
        /// What was given.
        found: String,
    },
    /// A piece of parallel work panicked.
    #[error("a kernel panicked: {message}; please report this")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The system gave no thread.
    #[error("cannot start a thread of the kernel pool: {reason}; ask for fewer threads")]
    NoThread {
        /// The system's reason.
        reason: String,
    },
}

impl KernelError {
    /// An error unless `found` is `expected`.
    pub(crate) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::WrongLength { what, expected, found }) }
    }
}
