//! Opening an adapter of either form.

use std::path::Path;

use crate::model::GgufModel;
use crate::text::shown;

use super::adapter::Adapter;
use super::base::Names;
use super::error::LoraError;
use super::gguf_adapter::INVOCATION_TOKENS;
use super::{gguf_adapter, peft};

/// Opens the adapter at `path` to be merged into `model`, and proves that it belongs to it.
pub(super) fn open_to_merge(path: &Path, model: &GgufModel) -> Result<Adapter, LoraError> {
    let adapter = open(path, model)?;
    if adapter.invocation_tokens.is_empty() {
        return Ok(adapter);
    }
    let problem = format!(
        "key `{INVOCATION_TOKENS}` makes it work only after some tokens, which a merged model cannot; load it beside the model"
    );
    Err(LoraError::adapter(path, problem))
}

/// Opens the adapter at `path` and proves that it belongs to `model`.
pub(super) fn open(path: &Path, model: &GgufModel) -> Result<Adapter, LoraError> {
    let is_peft = path.is_dir() || path.extension().is_some_and(|end| end == "safetensors");
    let adapter =
        if is_peft { peft::open(path, &Names::of_model(model)?)? } else { gguf_adapter::open(path, model)? };
    let model_name = model.first().file_name();
    for (name, change) in &adapter.changes {
        let Some(tensor) = model.tensor(name) else {
            let problem = format!(
                "tensor `{}` changes `{name}`, which `{model_name}` does not have; it is for another model",
                shown(change.right.name.as_bytes())
            );
            return Err(LoraError::adapter(path, problem));
        };
        if let Some(problem) = change.mismatch(tensor.info, model_name) {
            return Err(LoraError::adapter(path, problem));
        }
    }
    Ok(adapter)
}
