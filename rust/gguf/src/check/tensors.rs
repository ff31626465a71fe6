//! Types, places and shapes of tensors.

use crate::error::{GgufError, Subject};
use crate::ggml_type::GgmlType;
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
        if !tensor.ggml_type.is_upstream() && !rules.allows_fork_types {
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
        if let Some(problem) = type_problem(tensor) {
            return fail(problem);
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

/// What is wrong with a tensor's type. Norms are multiplied element by element, which CPU kernels do in F32 only
/// (`ggml/src/ggml-cpu/binary-ops.cpp` aborts); weights are multiplied as matrices, for which some types have no kernel
/// (`type_traits_cpu` in `ggml/src/ggml-cpu/ggml-cpu.c`; the missing function pointer is called).
fn type_problem(tensor: &TensorInfo) -> Option<String> {
    let found = tensor.ggml_type;
    let stem = tensor.name.strip_suffix(".weight");
    if stem.is_some_and(|stem| stem.ends_with("norm")) && found != GgmlType::F32 {
        return Some(format!("has type `{found}`, but norms must be `F32`"));
    }
    if tensor.name.strip_suffix(".bias").is_some() && !found.is_float() {
        return Some(format!("has type `{found}`, but biases must be `F32`"));
    }
    // Tables of ids are integers by design.
    let is_table = tensor.name.contains("tid2eid") || tensor.name.starts_with("d2t");
    let multiplies = match found {
        GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 => is_table || stem.is_none(),
        GgmlType::F64 | GgmlType::Q8_1 | GgmlType::Q8_K => false,
        _ => true,
    };
    (!multiplies)
        .then(|| format!("has type `{found}`, but llama.cpp cannot compute with weights of that type"))
}
