//! What the number formats refuse.

use thiserror::Error;

use crate::GgmlType;

/// Why a block format could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantError {
    /// The caller's progress function asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The number of weights is no whole number of blocks.
    #[error(
        "`{n_weights}` weights are not a multiple of the `{block_size}` that a block of `{ty}` holds; choose another type or a padded row"
    )]
    PartialBlock {
        /// The type asked for.
        ty: GgmlType,
        /// Weights given.
        n_weights: u64,
        /// Weights in a block.
        block_size: u64,
    },
    /// The values are no whole number of rows.
    #[error(
        "`{n_weights}` weights are not a whole number of rows of `{row_length}`; pass the length of the innermost dimension"
    )]
    PartialRow {
        /// Weights given.
        n_weights: usize,
        /// Weights in a row.
        row_length: usize,
    },
    /// The packed bytes and the weights do not belong together.
    #[error("`{n_weights}` weights of `{ty}` take `{expected}` bytes, but the buffer has `{found}`")]
    WrongLength {
        /// The type asked for.
        ty: GgmlType,
        /// Weights given.
        n_weights: usize,
        /// Bytes they take.
        expected: u64,
        /// Bytes given.
        found: usize,
    },
    /// ggml has no quantizer for the type.
    #[error("`{ty}` cannot be quantized to; choose a type such as `Q4_K` or `Q8_0`")]
    NotAQuantizer {
        /// The type asked for.
        ty: GgmlType,
    },
    /// The type needs an importance matrix.
    #[error("`{ty}` needs an importance matrix; pass one or choose a type above 2.5 bits such as `Q2_K`")]
    ImatrixMissing {
        /// The type asked for.
        ty: GgmlType,
    },
    /// The importance matrix is not one row long.
    #[error("the importance matrix has `{found}` entries, but a row has `{expected}` weights")]
    ImatrixLength {
        /// Weights in a row.
        expected: usize,
        /// Entries given.
        found: usize,
    },
    /// An importance is negative, infinite or NaN.
    #[error("entry `{index}` of the importance matrix is negative or not finite; collect it again")]
    ImatrixValue {
        /// The first such entry.
        index: usize,
    },
    /// A weight to quantize is infinite or NaN.
    #[error(
        "weight `{index}` is not finite and has no value in `{ty}`; repair the tensor or store it as `F32`"
    )]
    NotFinite {
        /// The type asked for.
        ty: GgmlType,
        /// The first such weight.
        index: usize,
    },
    /// A stored scale (or a plain stored value) is infinite or NaN.
    #[error("block `{block}` of `{ty}` holds a number that is not finite at byte `{offset}`")]
    BadBlock {
        /// The type of the data.
        ty: GgmlType,
        /// The first such block.
        block: usize,
        /// Where the number lies in the data.
        offset: usize,
    },
}
