//! How much memory a model and its context take, counted by llama.cpp itself: before anything is allocated, or after.

use crate::context_config::{ContextConfig, Resolved};
use crate::context_error::ContextError;
use crate::device::Device;
use crate::layer_shares::LayerBytes;
use crate::library::Library;
use crate::model::Model;
use crate::model_config::ModelConfig;
use crate::model_error::ModelError;
use crate::placement::Placement;
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

/// Bytes of a model and its context that lie in the memory of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNeed {
    /// The device's name, as users write it.
    pub device: String,
    /// Repeating layers there.
    pub layers: u32,
    /// Their weights, and those of the output if it is there.
    pub weights: u64,
    /// Their part of the context's memory.
    pub cache: u64,
    /// Intermediate results.
    pub compute: u64,
    /// Bytes free on it before; 0 where it does not tell.
    pub free: u64,
    /// Bytes of these that must stay free, for what the driver and its libraries take.
    pub margin: u64,
}

impl DeviceNeed {
    /// All that is needed there.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.compute)
    }

    /// Whether it fits, as far as the device tells.
    pub fn fits(&self) -> bool {
        self.free == 0 || self.total() == 0 || self.total().saturating_add(self.margin) <= self.free
    }
}

/// Memory of a device that is left free, at most; of small ones an eighth. CUDA takes about 500 MiB for itself and cuBLAS.
const MARGIN: u64 = 1 << 30;

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
    layers: LayerBytes,
    placement: Placement,
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
        let placement = config.placement().clone();
        let model = Model::load(library, dry)?;
        let layers = LayerBytes::of(&files, model.facts().layers, &placement);
        Ok(Self { model, weights, layers, placement })
    }

    /// What a context and the model take, wherever it lies.
    ///
    /// # Errors
    /// See [`ContextError`]: a configuration that no context can be made with has no size.
    pub fn count(&self, config: &ContextConfig) -> Result<MemoryCount, ContextError> {
        let tokens = config.tokens(self.model.facts().context_train_size)?;
        let (need, computes) = if tokens <= COUNTED {
            self.count_tokens(config, tokens)?
        } else {
            let (small, small_computes) = self.count_tokens(config, COUNTED / 2)?;
            let (large, large_computes) = self.count_tokens(config, COUNTED)?;
            let grown = |small: u64, large: u64| {
                let more = large.saturating_sub(small).saturating_mul(u64::from(tokens - COUNTED));
                large.saturating_add(more.div_ceil(u64::from(COUNTED / 2)))
            };
            let need = MemoryNeed {
                cache: grown(small.cache, large.cache),
                compute: grown(small.compute, large.compute),
                ..large
            };
            let pairs = small_computes.into_iter().zip(large_computes);
            (need, pairs.map(|(small, large)| grown(small, large)).collect())
        };
        let need = MemoryNeed { mapped: self.weights.mapped, weights: self.weights.allocated, ..need };
        Ok(MemoryCount { need, computes, offloads_cache: config.offload_cache })
    }

    /// How what was counted is shared where so many layers go to devices: the bytes in the host's memory, and those on each device.
    ///
    /// How weights and cache are shared follows llama.cpp's rules. Each layer counts as having an equal part of the cache.
    pub fn shared(&self, counted: &MemoryCount, count: u32) -> (MemoryNeed, Vec<DeviceNeed>) {
        let devices = self.model.devices();
        let layers = u64::from(self.model.facts().layers.max(1));
        let (mut host, cache) = (counted.need, counted.need.cache);
        let shares = self.layers.shares(count, devices, &self.placement);
        let needs = devices.iter().zip(shares).zip(&counted.computes).map(|((device, share), compute)| {
            let cache = if counted.offloads_cache { cache / layers * u64::from(share.layers) } else { 0 };
            host.cache = host.cache.saturating_sub(cache);
            host.compute = host.compute.saturating_sub(*compute);
            // Mapped weights are read from the file once; others take memory only where they stay.
            let mapped = share.weights.min(host.mapped);
            host.mapped -= mapped;
            host.weights = host.weights.saturating_sub(share.weights);
            DeviceNeed {
                device: device.user_name(),
                layers: share.layers,
                weights: share.weights,
                cache,
                compute: if count == 0 { 0 } else { *compute },
                free: device.memory_free,
                margin: MARGIN.min(device.memory_total / 8),
            }
        });
        let needs = needs.collect();
        (host, needs)
    }

    /// The most layers that fit into the memory of the devices, with the output as one of them: from 0 to one more than the model has.
    pub fn most_layers(&self, counted: &MemoryCount) -> u32 {
        let all = self.model.facts().layers.saturating_add(1);
        let fits = |count: &u32| self.shared(counted, *count).1.iter().all(DeviceNeed::fits);
        (1..=all).rev().find(fits).unwrap_or(0)
    }

    /// The bytes of the model and a context of it.
    ///
    /// # Errors
    /// See [`ContextError`]: a configuration that no context can be made with has no size.
    pub fn need(&self, config: &ContextConfig) -> Result<MemoryNeed, ContextError> {
        Ok(self.count(config)?.need)
    }

    /// A context of so many tokens, and what each device computes with.
    fn count_tokens(
        &self,
        config: &ContextConfig,
        tokens: u32,
    ) -> Result<(MemoryNeed, Vec<u64>), ContextError> {
        let config = config.clone().with_context_size(tokens);
        let context = self.model.create_context_with(&config)?;
        let computes = self.model.devices().iter().map(|device| context.compute_on(device)).collect();
        Ok((context.memory_need(), computes))
    }

    /// The model, of which nothing can be asked but facts.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// What a model and a context take, before it is shared by host and devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCount {
    /// All of it.
    pub need: MemoryNeed,
    /// Intermediate results on each device that the model may use, in their order.
    computes: Vec<u64>,
    /// Whether the cache goes where the layers go.
    offloads_cache: bool,
}

/// Bytes of intermediate results on a device, from the lines that llama.cpp wrote while it made a context.
pub(crate) fn compute_on(lines: &[String], device: &Device) -> u64 {
    let own = lines.iter().filter(|line| line.contains(&format!(" {} compute buffer size =", device.name)));
    own.filter_map(|line| size_after(line, "compute buffer size =")).sum()
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
