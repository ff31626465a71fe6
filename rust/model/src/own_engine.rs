//! Models that the project's own engine computes: llama.cpp has their vocabulary alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tabagent_engine::{Cpu, DecoderOptions, DeviceError, EngineDecoder, LoadError, LoadedModel};
use tabagent_gguf::GgufModel;
use tabagent_llama::{KvType, MemoryNeed, Model as LlamaModel, Placement};
use tabagent_variants::{Hardware, default_threads};

use crate::decoder::LlamaVocabulary;
use crate::error::Error;
use crate::library::open_library;
use crate::load::{LoadOptions, MAX_OUTPUTS, sequences};
use crate::open::{ContextSizes, DecoderFacts, Open};
use crate::threads_in_use::{ThreadsGauge, ThreadsInUse};
use crate::trial;

/// Which engine computes a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// Whichever is known to be faster: llama.cpp, for now.
    #[default]
    Auto,
    /// llama.cpp.
    LlamaCpp,
    /// The project's own, on the processor.
    Rust,
}

/// What is known of a model that the project's own engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnEngine {
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of all tensors in the file.
    pub size: u64,
}

/// Why the project's own engine does not compute a model.
#[derive(Debug, thiserror::Error)]
pub enum OwnEngineError {
    /// An option that it does not have.
    #[error(
        "`{option}` does not go with `engine='rust'`, which {reason}; leave it away, or load with `engine='llama.cpp'`"
    )]
    Option {
        /// The option.
        option: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The model.
    #[error("cannot load `{}` with `engine='rust'`: {source}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<LoadError>,
    },
}

/// Tokens of context where none are asked for, at most.
const CONTEXT: usize = 4096;
/// Tokens of a batch where none are asked for, at most.
const BATCH: u32 = 512;

impl EngineChoice {
    /// The engines by their names.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("llama.cpp", Self::LlamaCpp), ("rust", Self::Rust)];
}

/// Loads a file's vocabulary by llama.cpp and its weights here, and starts its decode thread.
pub(crate) fn open(
    path: &Path,
    library: &Path,
    module: Option<String>,
    options: &LoadOptions,
    progress: impl Fn(f32) -> bool + Send + Sync + 'static,
) -> Result<Open, Error> {
    check(options)?;
    let failed = |source| OwnEngineError::Load { path: path.to_owned(), source: Box::new(source) };
    let library = open_library(library, module)?;
    let vocabulary = LoadOptions { vocab_only: true, ..options.clone() };
    let mut config = vocabulary.model_config(path.to_owned())?;
    trial::hold(&library, &mut config, &vocabulary, || progress(0.0))?;
    let model = LlamaModel::load(&library, config)?;
    let file = GgufModel::open(path).map_err(|error| failed(error.into()))?;
    let threads = options.threads.map_or_else(|| default_threads(&Hardware::probe()), |n| n as usize);
    let started = |DeviceError(text)| failed(LoadError::System(text));
    let cpu = Cpu::new(threads).map_err(started)?;
    let told =
        |done: u64, total: u64| progress(if total == 0 { 0.0 } else { (done as f64 / total as f64) as f32 });
    let loaded = LoadedModel::load(&file, &cpu, &told).map_err(failed)?;
    let own = OwnEngine {
        parameters: file.tensors().map(|tensor| tensor.info.shape.n_elements()).sum(),
        size: file.tensors().map(|tensor| tensor.info.n_bytes).sum(),
    };
    drop(file);
    let weights = loaded.n_bytes() as u64;
    let n_ctx = match options.context_size {
        Some(0) | None => loaded.blueprint().context_train.min(CONTEXT),
        Some(tokens) => tokens as usize,
    };
    let (running, n_seq_max) = sequences(options);
    let batch = options.micro_batch_size.or(options.batch_size).unwrap_or(BATCH).min(n_ctx as u32).max(1);
    let decoder_options = DecoderOptions {
        n_ctx,
        n_cells: n_ctx,
        n_seq_max: n_seq_max as usize,
        n_batch: batch as usize,
        n_outputs_max: MAX_OUTPUTS as usize,
    };
    let words = Arc::new(LlamaVocabulary(model.clone()));
    let decoder = EngineDecoder::new(Arc::new(loaded), cpu, words, decoder_options).map_err(failed)?;
    let engine_config = options.engine_config();
    let most = options.sequence_size.unwrap_or(u32::MAX);
    let facts = DecoderFacts {
        sizes: ContextSizes {
            context_size: n_ctx as u32,
            sequence_size: most.min(n_ctx as u32),
            batch_size: batch,
            max_sequences: running,
            threads: threads as u32,
        },
        memory: MemoryNeed { weights, cache: decoder.memory_bytes() as u64, ..MemoryNeed::default() },
        kv_types: (KvType::F16, KvType::F16),
        sequence_settings: vec![("build", concat!("engine=rust ", env!("CARGO_PKG_VERSION")).to_owned())],
    };
    let gauge = ThreadsGauge::default();
    gauge.set(ThreadsInUse { generation: threads, prompt: threads });
    Ok(Open::generating_by(model, decoder, gauge, facts, &engine_config, options)?.computed_by(own))
}

/// Refuses options that this engine has nothing for.
fn check(options: &LoadOptions) -> Result<(), OwnEngineError> {
    let here = "computes in this process";
    let on_cpu = "computes on the processor";
    let as_is = "takes the file as it is";
    let f16 = (KvType::F16, KvType::F16);
    let plain = Placement::default();
    let in_memory = "has packed weights in memory of its own";
    for (is_given, option, reason) in [
        (options.isolation.is_some(), "isolation", here),
        (options.gpu_layers.is_some_and(|layers| layers > 0), "gpu_layers", on_cpu),
        (options.placement != plain && options.placement != Placement::on_cpu(), "devices", on_cpu),
        (!options.metadata_overrides.is_empty(), "metadata_overrides", as_is),
        (options.cache.kv_types != f16, "kv_type", "keeps keys and values in `f16`"),
        (!options.cache.unified, "kv_unified", "has one memory for all sequences"),
        (options.mlock, "mlock", in_memory),
        (options.prompt_threads.is_some(), "prompt_threads", "computes all with the same threads"),
        (options.fit.is_some(), "fit", "takes its context as asked"),
    ] {
        if is_given {
            return Err(OwnEngineError::Option { option, reason });
        }
    }
    Ok(())
}
