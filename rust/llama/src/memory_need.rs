//! How much memory a model and its context take, counted by llama.cpp itself: before anything is allocated, or after.

use crate::context_config::{ContextConfig, Resolved};
use crate::context_error::ContextError;
use crate::library::Library;
use crate::model::Model;
use crate::model_config::ModelConfig;
use crate::model_error::ModelError;
use crate::preflight;
use crate::vocab_kind::VocabKind;
use crate::weight_bytes::WeightBytes;
use serde::{Deserialize, Serialize};
use tabagent_gguf::GgufFile;

/// Bytes of a model and its context, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// Weights that are read from the mapped file: the system takes their memory back when it needs it, and reads them again.
    pub mapped: u64,
    /// Weights in memory of their own.
    pub weights: u64,
    /// The memory of the context: keys and values, recurrent states, and what is kept about each cell.
    pub cache: u64,
    /// Intermediate results of the largest computation, and the logits.
    pub compute: u64,
    /// The vocabulary and the descriptions of tensors, by a rule of thumb.
    pub vocabulary: u64,
}

impl MemoryNeed {
    /// What must be free: all but the mapped weights.
    pub fn allocated(&self) -> u64 {
        [self.weights, self.cache, self.compute, self.vocabulary]
            .iter()
            .fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.allocated().saturating_add(self.mapped)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            mapped: self.mapped.saturating_add(other.mapped),
            weights: self.weights.saturating_add(other.weights),
            cache: self.cache.saturating_add(other.cache),
            compute: self.compute.saturating_add(other.compute),
            vocabulary: self.vocabulary.saturating_add(other.vocabulary),
        }
    }
}

/// Bytes of memory that this process may still take, beside `mapped` bytes of files; `None` where the system does not tell.
pub fn available_memory(mapped: u64) -> Option<u64> {
    crate::available::available_memory(mapped)
}

/// Bytes that llama.cpp keeps about each cell (`llama_kv_cells` in `src/llama-kv-cells.h`).
const CELL_BYTES: u64 = 52;
/// Bytes for each token of a vocabulary with merges and of one without, measured: text, score and attributes, the tables to find it by, its merges.
const TOKEN_BYTES: (u64, u64) = (430, 180);
/// Most tokens of a context that is counted; larger ones grow in proportion. llama.cpp writes its tables of cells while it counts.
const COUNTED: u32 = 1 << 17;
/// Bytes beside all that, measured: descriptions of graphs and tensors, and the stacks of threads, which limits of the process count whole.
const BASE_BYTES: u64 = 24 << 20;

/// A model of which only the metadata were read, to ask what it and its contexts would take. Costs as much time as reading the vocabulary.
#[derive(Debug)]
pub struct DryModel {
    model: Model,
    weights: WeightBytes,
}

impl DryModel {
    /// Reads the metadata of the model that `config` would load.
    ///
    /// # Errors
    /// See [`ModelError`]; [`ModelError::Unsupported`] where this build of llama.cpp cannot do it.
    pub fn load(library: &Library, config: &ModelConfig) -> Result<Self, ModelError> {
        let preflight::Checked { paths, .. } = preflight::check(&config.path, &config.overrides)?;
        let files = paths.iter().map(|path| GgufFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut weights = WeightBytes::of(&files, library.info().cpu_module.as_deref(), config.use_mmap);
        if config.mlock {
            // Locked pages cannot be taken back.
            weights.allocated += std::mem::take(&mut weights.mapped);
        }
        let dry = ModelConfig {
            dry_run: true,
            use_mmap: false,
            mlock: false,
            check_tensors: false,
            ..config.without_progress()
        };
        Ok(Self { model: Model::load(library, dry)?, weights })
    }

    /// The bytes of the model and a context of it.
    ///
    /// # Errors
    /// See [`ContextError`]: a configuration that no context can be made with has no size.
    pub fn need(&self, config: &ContextConfig) -> Result<MemoryNeed, ContextError> {
        let tokens = config.tokens(self.model.facts().context_train_size)?;
        let need = if tokens <= COUNTED {
            self.count(config, tokens)?
        } else {
            let small = self.count(config, COUNTED / 2)?;
            let large = self.count(config, COUNTED)?;
            let grown = |small: u64, large: u64| {
                let more = large.saturating_sub(small).saturating_mul(u64::from(tokens - COUNTED));
                large.saturating_add(more.div_ceil(u64::from(COUNTED / 2)))
            };
            MemoryNeed {
                cache: grown(small.cache, large.cache),
                compute: grown(small.compute, large.compute),
                ..large
            }
        };
        Ok(MemoryNeed { mapped: self.weights.mapped, weights: self.weights.allocated, ..need })
    }

    fn count(&self, config: &ContextConfig, tokens: u32) -> Result<MemoryNeed, ContextError> {
        let config = config.clone().with_context_size(tokens);
        Ok(self.model.create_context_with(&config)?.memory_need())
    }

    /// The model, of which nothing can be asked but facts.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// What the lines that llama.cpp wrote while it loaded weights tell of them.
pub(crate) fn of_weights(lines: &[String]) -> MemoryNeed {
    let mut need = MemoryNeed::default();
    for line in lines {
        let Some(bytes) = size_after(line, "model buffer size =") else { continue };
        if line.contains("_Mapped ") { need.mapped += bytes } else { need.weights += bytes }
    }
    need
}

/// What the lines that llama.cpp wrote while it made a context tell of it (`llama_context::llama_context` and `sched_reserve` in
/// `src/llama-context.cpp`, `llama_kv_cache`, `llama_memory_recurrent`).
pub(crate) fn of_context(
    model: &Model,
    lines: &[String],
    resolved: &Resolved,
    config: &ContextConfig,
) -> MemoryNeed {
    let mut need = MemoryNeed::default();
    for line in lines {
        if line.contains(" cells,") {
            need.cache += size_after(line, ": size =").unwrap_or(0);
        }
        need.cache += size_after(line, "state buffer size =").unwrap_or(0);
        need.compute += size_after(line, "compute buffer size =").unwrap_or(0);
    }
    let tokens = model.vocab().len() as u64;
    // llama.cpp makes room for logits when they are asked for, at most for so many tokens.
    let outputs = u64::from(resolved.n_outputs_max.max(resolved.n_seq_max));
    need.compute += outputs.saturating_mul(tokens).saturating_mul(4);
    if !model.facts().recurrent {
        need.cache += CELL_BYTES.saturating_mul(u64::from(resolved.cells(config)));
    }
    let (merged, plain) = TOKEN_BYTES;
    need.vocabulary =
        BASE_BYTES + tokens * if model.vocab().kind() == VocabKind::Bpe { merged } else { plain };
    need
}

/// The size in MiB that follows `label`, in bytes, rounded up by what the two decimals may hide.
fn size_after(line: &str, label: &str) -> Option<u64> {
    let text = line.split_once(label)?.1.trim_start();
    let (whole, rest) = text.split_once('.')?;
    let cents: u64 = rest.get(..2)?.parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    let hundredths = whole.checked_mul(100)?.checked_add(cents)?;
    Some((hundredths.saturating_mul(2) + 1).saturating_mul(1 << 20).div_ceil(200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_lines_and_rounded_up() {
        let mib = |text: &str| size_after(text, "size =").map(|bytes| bytes as f64 / f64::from(1 << 20));
        assert!((mib("KV buffer size =    90.00 MiB").unwrap() - 90.005).abs() < 1e-6);
        assert!((mib("a size = 0.00 MiB").unwrap() - 0.005).abs() < 1e-6);
        assert_eq!(mib("a size = huge"), None);
        assert_eq!(mib("a size = 12"), None);
        assert_eq!(mib("no such label 1.00 MiB"), None);
    }

    #[test]
    fn weights_are_mapped_or_their_own() {
        let lines = [
            "load_tensors:   CPU_Mapped model buffer size =   100.00 MiB",
            "load_tensors:   CPU_REPACK model buffer size =    50.00 MiB",
            "load_tensors: layer 0 assigned",
        ]
        .map(str::to_owned);
        let need = of_weights(&lines);
        assert_eq!((need.mapped >> 20, need.weights >> 20), (100, 50));
        assert_eq!(need.total(), need.mapped + need.weights);
        assert_eq!(need.allocated(), need.weights);
    }
}
