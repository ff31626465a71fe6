//! Adapters in GGUF files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::GgufError;
use crate::file::GgufFile;
use crate::model::GgufModel;
use crate::reader::ByteOrder;
use crate::tensor::TensorInfo;
use crate::text::shown;
use crate::value::Value;

use super::adapter::{Adapter, is_looked_up};
use super::error::LoraError;
use super::factor::Factor;
use super::low_rank::LowRank;

const A: &str = ".lora_a";
const B: &str = ".lora_b";
pub(super) const INVOCATION_TOKENS: &str = "adapter.alora.invocation_tokens";

/// Reads a GGUF adapter, with the rules of `llama_adapter_lora_init_impl` in `src/llama-adapter.cpp`.
pub(super) fn open(path: &Path, model: &GgufModel) -> Result<Adapter, LoraError> {
    let file = GgufFile::open(path).map_err(|error| match error {
        GgufError::Open { path, source } => LoraError::Read { path, source },
        error => error.into(),
    })?;
    let (alpha, invocation_tokens) = check_keys(path, &file, model)?;
    let fail = |problem: String| LoraError::adapter(path, problem);
    let mut adapter = Adapter::new(path);
    // An alpha of 0, or none, stands for one that equals the rank (`get_scale` in `src/llama-adapter.h`).
    adapter.alpha = Some(alpha).filter(|alpha| *alpha != 0.0);
    adapter.invocation_tokens = invocation_tokens;
    let mut pairs: BTreeMap<&str, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for tensor in file.tensors() {
        if let Some(name) = tensor.name.strip_suffix(A) {
            pairs.entry(name).or_default()[0] = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(B) {
            pairs.entry(name).or_default()[1] = Some(tensor);
        } else if tensor.name.ends_with("_norm.weight") {
            adapter.ignored.push(tensor.name.clone());
        } else {
            let name = shown(tensor.name.as_bytes());
            return Err(fail(format!("tensor `{name}` ends neither in `{A}` nor in `{B}`")));
        }
    }
    if pairs.is_empty() {
        return Err(fail("it has no tensors that change any".to_owned()));
    }
    for (name, pair) in pairs {
        let [Some(a), Some(b)] = pair else {
            let missing = if pair[0].is_none() { A } else { B };
            return Err(fail(format!("tensor `{}{missing}` is missing", shown(name.as_bytes()))));
        };
        let factor = |tensor: &TensorInfo| {
            Factor::new(&tensor.name, tensor.ggml_type, tensor.shape.dims(), file.shared_data(tensor))
                .map_err(&fail)
        };
        let (a, b) = (factor(a)?, factor(b)?);
        let (left, right) = if is_looked_up(name) { (a, b.transposed()) } else { (b, a) };
        let strength = adapter.alpha.map_or(1.0, |alpha| alpha / left.columns() as f64);
        let change = LowRank { left, right, strength, permuted_heads: None };
        if let Some(problem) = change.problem() {
            return Err(fail(problem));
        }
        adapter.changes.insert(name.to_owned(), change);
    }
    Ok(adapter)
}

/// Proves by its keys that `file` is an adapter for `model`, and returns its alpha and its invocation tokens.
fn check_keys(path: &Path, file: &GgufFile, model: &GgufModel) -> Result<(f64, Vec<i32>), LoraError> {
    let fail = |problem: String| Err(LoraError::adapter(path, problem));
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let value = file.metadata().get(key);
        let found = value.as_ref().and_then(Value::as_str);
        if found != Some(expected) {
            let found =
                found.map_or_else(|| "no text".to_owned(), |text| format!("`{}`", shown(text.as_bytes())));
            return fail(format!("key `{key}` must be `{expected}`, but is {found}"));
        }
    }
    if file.byte_order() != ByteOrder::Little {
        return fail("it is big-endian; use the little-endian file".to_owned());
    }
    let (theirs, ours) =
        (file.architecture().unwrap_or_default(), model.first().architecture().unwrap_or_default());
    if theirs != ours {
        let (theirs, ours, model) =
            (shown(theirs.as_bytes()), shown(ours.as_bytes()), model.first().file_name());
        return fail(format!("it is for architecture `{theirs}`, but `{model}` has architecture `{ours}`"));
    }
    let Some(tokens) = invocation_tokens(file) else {
        return fail(format!("key `{INVOCATION_TOKENS}` must be a list of token ids"));
    };
    match file.metadata().get("adapter.lora.alpha") {
        None => Ok((0.0, tokens)),
        // llama.cpp keeps it as an F32.
        Some(value) => match value.as_f64().filter(|alpha| (*alpha as f32).is_finite()) {
            Some(alpha) => Ok((alpha, tokens)),
            None => fail("key `adapter.lora.alpha` must be a finite float".to_owned()),
        },
    }
}

/// The tokens from which on an activated adapter works; `None` if they are no token ids.
fn invocation_tokens(file: &GgufFile) -> Option<Vec<i32>> {
    let Some(value) = file.metadata().get(INVOCATION_TOKENS) else { return Some(Vec::new()) };
    let id = |value: Value| value.as_u64().and_then(|id| i32::try_from(id).ok());
    value.as_array()?.iter().map(id).collect()
}
