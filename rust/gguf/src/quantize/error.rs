//! What can go wrong while a model is quantized.

use std::path::PathBuf;

use thiserror::Error;

use crate::error::GgufError;
use crate::file_type::UnknownFileType;
use crate::ggml_type::GgmlType;
use crate::quants::QuantError;

/// Everything that [`plan`](super::plan) and [`quantize_model`](super::quantize_model) can report.
#[derive(Debug, Error)]
pub enum QuantizeError {
    /// There is no such file type.
    #[error(transparent)]
    UnknownFileType(#[from] UnknownFileType),

    /// There is no such tensor type, or nothing can be quantized to it.
    #[error("`{text}` is no type that tensors can be quantized to; choose one such as `q8_0` or `q4_k`")]
    UnknownTensorType {
        /// The name that was given.
        text: String,
    },

    /// A rule for tensors is not `PATTERN=TYPE`, or its pattern is no regular expression.
    #[error("tensor rule `{rule}` {problem}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A tensor that is already quantized would be quantized again.
    #[error(
        "this file is already quantized (tensor `{tensor}` is `{from}`): start from an F16, BF16 or F32 file, or pass `--allow-requantize` (`allow_requantize=True`) and lose quality"
    )]
    Requantized {
        /// The first such tensor.
        tensor: String,
        /// Its type.
        from: GgmlType,
    },

    /// The wanted type needs an importance matrix.
    #[error(
        "tensor `{tensor}` would be `{to}`, which needs an importance matrix: pass one with `--imatrix` (`imatrix=`), or choose a type such as `Q4_K_S`"
    )]
    ImatrixMissing {
        /// The first such tensor.
        tensor: String,
        /// The wanted type.
        to: GgmlType,
    },

    /// A tensor of Microsoft's BitNet fork would lose something.
    #[error(
        "tensor `{tensor}` is `I2_S` of Microsoft's BitNet fork, which can only become `TQ2_0`, and keeps its scale only in matrices of `bitnet` and \
         `llama` models; quantize to `TQ2_0`, or convert the original model"
    )]
    ForkType {
        /// The tensor.
        tensor: String,
    },

    /// A tensor holds integers or other numbers that are no weights.
    #[error(
        "tensor `{tensor}` is `{from}`, which cannot be quantized; leave it as it is with `--tensor-type {tensor}={from}`"
    )]
    NotWeights {
        /// The tensor.
        tensor: String,
        /// Its type.
        from: GgmlType,
    },

    /// Rows are not whole blocks of the wanted type, and there is no rule for another type.
    #[error(
        "tensor `{tensor}` has rows of `{row_len}` weights, which `{to}` cannot pack in blocks of `{}`; give it another type with `--tensor-type`",
        to.block_size()
    )]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Weights in a row.
        row_len: u64,
        /// The wanted type.
        to: GgmlType,
    },

    /// In a model with experts the rules depend on the layer, which the name does not tell.
    #[error(
        "tensor `{tensor}` belongs to no layer of the model's `{n_layers}`, but the mixture depends on it; use `--pure`"
    )]
    NoLayer {
        /// The tensor.
        tensor: String,
        /// Layers of the model.
        n_layers: u32,
    },

    /// A layer to leave out does not exist, or no other layer would stay.
    #[error("layer `{layer}` cannot be left out: {problem}")]
    Prune {
        /// The layer.
        layer: u32,
        /// Why not.
        problem: String,
    },

    /// The list of chosen types does not have one for each tensor.
    #[error(
        "`{found}` types were chosen for `{expected}` tensors; choose one for each, in the order of the plan"
    )]
    ChosenTypes {
        /// Tensors of the plan.
        expected: usize,
        /// Types given.
        found: usize,
    },

    /// No choice of types gives a file of the wanted size.
    #[error(transparent)]
    TargetSize(#[from] super::TargetSizeError),

    /// A size can be asked for only of a single file, not of several parts.
    #[error("a size was given for a model whose parts are to be kept; leave one of the two out")]
    SplitSize,

    /// The result would replace a file that it is made from.
    #[error("`{}` is the file to be quantized; give another name for the result", path.display())]
    SameFile {
        /// The path.
        path: PathBuf,
    },

    /// A value of the metadata cannot be replaced by one of this kind.
    #[error("key `{key}` cannot be replaced: {problem}")]
    Override {
        /// The key.
        key: String,
        /// Why not.
        problem: String,
    },

    /// A tensor holds numbers that are not finite, or they become so.
    #[error("tensor `{tensor}` cannot become `{to}`: {source}")]
    Data {
        /// The tensor.
        tensor: String,
        /// The wanted type.
        to: GgmlType,
        /// What is wrong with the numbers.
        source: QuantError,
    },

    /// The model cannot be read, or the result not be written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}
