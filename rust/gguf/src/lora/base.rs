//! Finds the GGUF tensors for the module names of a Hugging Face adapter.

use std::path::Path;

use crate::convert::architecture::{Architecture, Family};
use crate::convert::hyperparameters::{BLOCK_COUNT, HEADS, KV_HEADS};
use crate::convert::json::Object;
use crate::convert::tensors::{canonical, permuted_heads};
use crate::model::GgufModel;

use super::error::LoraError;

/// The names that a model's tensors have.
pub(super) struct Names {
    pub(super) architecture: &'static Architecture,
    n_blocks: u32,
    heads: usize,
    kv_heads: usize,
}

/// Where a module of a Hugging Face model is found in GGUF.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tensor {
        name: String,
        /// The number of heads whose rows GGUF orders differently.
        permuted_heads: Option<usize>,
    },
    /// llama.cpp does not use it.
    Unused,
}

impl Names {
    /// The names in an open GGUF model.
    pub(super) fn of_model(model: &GgufModel) -> Result<Self, LoraError> {
        let file = model.first();
        let fail = |problem: String| LoraError::model(file.file_name(), problem);
        let name =
            file.architecture().ok_or_else(|| fail("key `general.architecture` is missing".to_owned()))?;
        let architecture = Architecture::by_name(name).ok_or_else(|| {
            fail(format!(
                "names of Hugging Face adapters are not known for architecture `{name}`, but for {}; convert the adapter to GGUF first",
                Architecture::names()
            ))
        })?;
        let number = |key: &str| {
            let key = format!("{name}.{key}");
            let value = model.metadata().get(&key).and_then(|value| value.as_u64());
            value
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| fail(format!("key `{key}` must be one whole number")))
        };
        let n_blocks = number("block_count")?;
        // Other families keep the order of the rows.
        let (heads, kv_heads) = match architecture.family {
            Family::Llama => {
                let heads = number("attention.head_count")?;
                let has_kv = model.metadata().get(&format!("{name}.attention.head_count_kv")).is_some();
                (heads, if has_kv { number("attention.head_count_kv")? } else { heads })
            }
            _ => (0, 0),
        };
        Ok(Self { architecture, n_blocks, heads: heads as usize, kv_heads: kv_heads as usize })
    }

    /// The names in the model whose `config.json` is in `folder`.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, LoraError> {
        let path = folder.join("config.json");
        let Some(mut config) = Object::read(&path)? else {
            let problem = "there is no `config.json`; name the folder of the Hugging Face model that the adapter is for";
            return Err(LoraError::model(&folder.display().to_string(), problem));
        };
        config.raise("text_config");
        let architecture = Architecture::of(&config)?;
        let heads = config.need_count(HEADS)?;
        let kv_heads = config.count(KV_HEADS)?.unwrap_or(heads);
        let n_blocks = config.need_count(BLOCK_COUNT)?;
        Ok(Self { architecture, n_blocks, heads: heads as usize, kv_heads: kv_heads as usize })
    }

    /// The place of the weights of `module`, such as `model.layers.0.self_attn.q_proj`; `None` if the model has no such module.
    pub(super) fn find(&self, module: &str) -> Option<Place> {
        let source = format!("{module}.weight");
        // Models without a head have no `model.` before their names.
        [false, true].into_iter().find_map(|is_bare| {
            let name = canonical(self.architecture, &source, is_bare);
            if self.architecture.unused.iter().any(|start| name.starts_with(start)) {
                return Some(Place::Unused);
            }
            Some(Place::Tensor {
                permuted_heads: permuted_heads(self.architecture.family, &name, self.heads, self.kv_heads),
                name: self.architecture.tensor_name(&name, self.n_blocks)?,
            })
        })
    }
}
