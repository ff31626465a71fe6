//! Types, places and shapes of tensors.

use crate::error::{GgufError, Subject};
use crate::tensor::TensorInfo;

use super::architecture;
use super::rules::Rules;

/// `TENSOR_ALIGNMENT` in `ggml/src/ggml-backend.cpp`: a mapped buffer starts at its first tensor and must be aligned to it.
const MAPPED_ALIGNMENT: u64 = 32;

/// Checks the tensors against the embedding's `width` and the number of tokens, where those are known.
pub(crate) fn check(rules: &Rules<'_>, width: Option<u32>, n_tokens: Option<u64>) -> Result<(), GgufError> {
    let file = rules.file;
    for tensor in file.tensors() {
        let fail =
            |problem: String| Err(rules.unusable_subject(Subject::tensor(tensor.name.as_bytes()), problem));
        if !tensor.ggml_type.is_upstream() {
            return fail(format!(
                "has type `{}` of Microsoft's BitNet fork, which llama.cpp does not know; convert it to `TQ2_0` first",
                tensor.ggml_type
            ));
        }
        let start = file.data_offset() + tensor.offset;
        if !start.is_multiple_of(MAPPED_ALIGNMENT) {
            return fail(format!(
                "starts at byte `{}`, but mapping a file needs multiples of `{MAPPED_ALIGNMENT}` (alignment is `{}`)",
                crate::text::grouped(start),
                file.alignment()
            ));
        }
        if is_norm_or_bias(&tensor.name) && !tensor.ggml_type.is_float() {
            return fail(format!("has type `{}`, but norms and biases must be `F32`", tensor.ggml_type));
        }
    }
    match (file.tensor("token_embd.weight"), width) {
        (Some(embedding), Some(width)) if architecture::has_plain_token_embedding(rules.architecture) => {
            check_token_embedding(rules, embedding, width, n_tokens)
        }
        _ => Ok(()),
    }
}

/// The embedding of tokens has one row of `width` for each token (`check_tensor_dims` in `src/llama-model-loader.cpp`).
fn check_token_embedding(
    rules: &Rules<'_>,
    embedding: &TensorInfo,
    width: u32,
    n_tokens: Option<u64>,
) -> Result<(), GgufError> {
    let shape = embedding.shape;
    let rows = n_tokens.unwrap_or(shape.dim(1));
    if shape.row_len() == u64::from(width) && shape.dim(1) == rows {
        return Ok(());
    }
    let problem = format!("has shape `{shape}`, but the metadata asks for `[{width}, {rows}]`");
    Err(rules.unusable_subject(Subject::tensor(embedding.name.as_bytes()), problem))
}

/// True for weights that are multiplied or added element by element; kernels take no integers or blocks there
/// (`ggml/src/ggml-cpu/binary-ops.cpp` aborts).
fn is_norm_or_bias(name: &str) -> bool {
    match name.rsplit_once('.') {
        Some((_, "bias")) => true,
        Some((stem, "weight")) => stem.ends_with("norm"),
        _ => false,
    }
}
