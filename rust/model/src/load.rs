//! Loading a model, with a context for its decode thread.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tabagent_llama::{
    AddedBackends, ContextConfig, ContextError, FlashAttention, Library, LogLevel, MetadataOverride,
    Model as LlamaModel, ModelConfig, ModelError, Placement, note,
};
use tabagent_runtime::EngineConfig;
use tabagent_variants::{Hardware, default_threads};

use crate::cache_options::CacheOptions;
use crate::decoder::LlamaDecoder;
use crate::error::Error;
use crate::isolation::{self, Isolation};
use crate::library::{open_library, open_library_adding};
use crate::memory::{self, Fitted, MemoryPrediction};
use crate::model::Model;
use crate::offload::Offload;
use crate::open::{NoEngine, Open};
use crate::own_engine::{self, EngineChoice};
use crate::placement_options;
use crate::prefix_folder::{DISK_BYTES, DiskCache};
use crate::rewritten::load_rewriting;
use crate::trial::{self, Trial};
use crate::value::{COUNT, Fields, OptionError, Value, text};

/// How to load a model. A field that is `None` is fitted to the model and the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Which engine computes.
    pub engine: EngineChoice,
    /// Layers on GPUs, with the output as one of them; as many as fit.
    pub gpu_layers: Option<u32>,
    /// Where the parts of the model go.
    pub placement: Placement,
    /// Backends of a companion package to open the library with, where it is not open yet.
    pub added: AddedBackends,
    /// Tokens of context, shared by all requests; what the model was trained with, at most 4,096 if it generates.
    pub context_size: Option<u32>,
    /// Most tokens of one request, prompt and text together; as many as the context holds.
    pub sequence_size: Option<u32>,
    /// Requests that are decoded together; by default 8, or as many as fit.
    pub max_sequences: Option<u32>,
    /// Requests that may wait for their beginning; any number.
    pub max_queue: Option<usize>,
    /// Give each request the results that it would have alone, bit for bit, one after another.
    pub deterministic: bool,
    /// Maximum size of what requests leave in host memory for others that begin alike, in bytes.
    pub cache_bytes: usize,
    /// Where what has no room there is kept, and what is left when the model is closed.
    pub disk_cache: Option<DiskCache>,
    /// Threads that compute; by default, as many as are fastest beside what else runs, at most one for each usable core.
    pub threads: Option<u32>,
    /// Threads that read prompts, if they are to be others.
    pub prompt_threads: Option<u32>,
    /// Maximum number of tokens decoded at once; 2,048, at most the context.
    pub batch_size: Option<u32>,
    /// Maximum number of tokens computed at once; 512, at most the batch.
    pub micro_batch_size: Option<u32>,
    /// How the context keeps keys and values, and how it reads them.
    pub cache: CacheOptions,
    /// Map the file instead of reading it.
    pub use_mmap: bool,
    /// Keep the weights from being swapped out.
    pub mlock: bool,
    /// Load the vocabulary alone.
    pub vocab_only: bool,
    /// Look for broken numbers in all weights first.
    pub check_tensors: bool,
    /// Keep weights as the file has them, in place of packing some of them anew for the processor: quicker to load, slower to compute with.
    pub plain_weights: bool,
    /// Metadata that replaces the file's.
    pub metadata_overrides: Vec<(String, MetadataOverride)>,
    /// Take a context that fits where the asked one does not, with at least so many tokens.
    pub fit: Option<u32>,
    /// Try the model in a child process first; `None` loads it at once.
    pub trial: Option<Trial>,
    /// Load it in a process of its own.
    pub isolation: Option<Isolation>,
    /// The folder for rewritten files with tensors of Microsoft's BitNet fork; without one such a file is refused.
    pub rewrites: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            engine: EngineChoice::default(),
            gpu_layers: None,
            placement: Placement::default(),
            added: AddedBackends::default(),
            context_size: None,
            sequence_size: None,
            max_sequences: None,
            max_queue: None,
            deterministic: false,
            cache_bytes: EngineConfig::default().cache_bytes,
            disk_cache: None,
            threads: None,
            prompt_threads: None,
            batch_size: None,
            micro_batch_size: None,
            cache: CacheOptions::default(),
            use_mmap: true,
            mlock: false,
            vocab_only: false,
            check_tensors: false,
            plain_weights: false,
            metadata_overrides: Vec::new(),
            fit: None,
            trial: None,
            isolation: None,
            rewrites: None,
        }
    }
}

/// Maximum number of tokens per decode whose logits the decode thread's context gives. With fewer, scoring takes longer; each takes a row of 4
/// bytes per token of the vocabulary.
pub(crate) const MAX_OUTPUTS: u32 = 32;
/// Tokens of the longest text of a model that only embeds and does not say with how many it was trained.
const DEFAULT_TEXT: u32 = 512;
/// Default number of requests that are decoded together, if they fit.
const SEQUENCES: u32 = 8;
/// Sequences of the decode thread's context beside those, for what requests leave behind.
const LEFTOVERS: u32 = 24;

/// How many requests are decoded together, and how many sequences a memory without parts has for them and for what they leave behind.
pub(crate) fn sequences(options: &LoadOptions) -> (u32, u32) {
    let running = options.max_sequences.unwrap_or(SEQUENCES);
    (running, running.saturating_add(LEFTOVERS))
}

impl LoadOptions {
    /// Reads options by their names; missing ones have their defaults.
    ///
    /// # Errors
    /// [`Error::Option`] names the option that is unknown or has a wrong type; [`Error::Context`] for an unknown `kv_type`.
    pub fn read(options: Value) -> Result<Self, Error> {
        let mut given = Fields::new(options, "options")?;
        let default = Self::default();
        let read = Self {
            engine: given.named("engine", &EngineChoice::NAMES)?.unwrap_or(default.engine),
            gpu_layers: given.integer("gpu_layers", COUNT)?,
            placement: placement_options::read(&mut given)?,
            added: AddedBackends {
                needed: paths(given.texts("needed")?),
                modules: paths(given.texts("backends")?),
            },
            context_size: given.integer("context_size", COUNT)?,
            sequence_size: given.integer("sequence_size", COUNT)?,
            max_sequences: given.integer("max_sequences", COUNT)?,
            max_queue: given.integer("max_queue", COUNT)?,
            deterministic: given.flag("deterministic")?.unwrap_or(default.deterministic),
            cache_bytes: given.integer("cache_bytes", COUNT)?.unwrap_or(default.cache_bytes),
            disk_cache: disk_cache(&mut given)?,
            threads: given.integer("threads", COUNT)?,
            prompt_threads: given.integer("prompt_threads", COUNT)?,
            batch_size: given.integer("batch_size", COUNT)?,
            micro_batch_size: given.integer("micro_batch_size", COUNT)?,
            cache: CacheOptions::read(&mut given)?,
            use_mmap: given.flag("use_mmap")?.unwrap_or(default.use_mmap),
            mlock: given.flag("mlock")?.unwrap_or(default.mlock),
            vocab_only: given.flag("vocab_only")?.unwrap_or(default.vocab_only),
            check_tensors: given.flag("check_tensors")?.unwrap_or(default.check_tensors),
            plain_weights: given.flag("plain_weights")?.unwrap_or(default.plain_weights),
            metadata_overrides: overrides(given.map("metadata_overrides")?.unwrap_or_default())?,
            fit: given.integer("fit", COUNT)?,
            trial: given.take("trial").map(Trial::read).transpose()?,
            isolation: given.take("isolation").map(Isolation::read).transpose()?,
            rewrites: given
                .take("rewrites")
                .map(|path| text("rewrites", path))
                .transpose()?
                .map(PathBuf::from),
        };
        given.finish()?;
        Ok(read)
    }

    /// These options, by the names that [`read`](Self::read) knows, without the metadata that replaces the file's.
    pub(crate) fn told(&self) -> Json {
        let texts = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
        };
        let flash_attention = match self.cache.flash_attention {
            FlashAttention::Auto => "auto",
            FlashAttention::On => "on",
            FlashAttention::Off => "off",
        };
        let mut told = json!({
            "gpu_layers": self.gpu_layers,
            "context_size": self.context_size,
            "max_sequences": self.max_sequences,
            "max_queue": self.max_queue,
            "sequence_size": self.sequence_size,
            "deterministic": self.deterministic,
            "cache_bytes": self.cache_bytes,
            "threads": self.threads,
            "prompt_threads": self.prompt_threads,
            "batch_size": self.batch_size,
            "micro_batch_size": self.micro_batch_size,
            "kv_type": [self.cache.kv_types.0.name(), self.cache.kv_types.1.name()],
            "flash_attention": flash_attention,
            "full_sliding_window": self.cache.full_sliding_window,
            "kv_unified": self.cache.unified,
            "offload_kv": self.cache.offload_kv,
            "offload_ops": self.cache.offload_ops,
            "use_mmap": self.use_mmap,
            "mlock": self.mlock,
            "vocab_only": self.vocab_only,
            "check_tensors": self.check_tensors,
            "plain_weights": self.plain_weights,
            "fit": self.fit,
            "trial": self.trial.as_ref().map(Trial::told),
            "backends": texts(&self.added.modules),
            "needed": texts(&self.added.needed),
        });
        placement_options::write(&self.placement, &mut told);
        told
    }

    pub(crate) fn model_config(&self, path: PathBuf) -> Result<ModelConfig, ModelError> {
        let mut config = ModelConfig::new(path)?
            .with_mmap(self.use_mmap)
            .with_mlock(self.mlock)
            .with_vocab_only(self.vocab_only)
            .with_check_tensors(self.check_tensors)
            .with_plain_weights(self.plain_weights)
            .with_placement(self.placement.clone());
        if let Some(layers) = self.gpu_layers {
            config = config.with_gpu_layers(layers);
        }
        let overrides = self.metadata_overrides.iter().cloned();
        Ok(overrides.fold(config, |config, (key, value)| config.with_override(key, value)))
    }

    pub(crate) fn engine_config(&self) -> EngineConfig {
        let running = self.max_sequences.unwrap_or(SEQUENCES);
        EngineConfig {
            max_running: usize::try_from(running).ok(),
            max_queue: self.max_queue,
            sequence_size: self.sequence_size.and_then(|size| usize::try_from(size).ok()),
            deterministic: self.deterministic,
            cache_bytes: self.cache_bytes,
            threads: default_threads(&Hardware::probe()),
            ..EngineConfig::default()
        }
    }

    /// The same with all of the model on the CPU, and without what computes elsewhere.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such processes"))]
    pub(crate) fn on_cpu(&self) -> Self {
        Self {
            gpu_layers: Some(0),
            placement: Placement::on_cpu(),
            added: AddedBackends::default(),
            ..self.clone()
        }
    }

    /// Whether the number of threads follows what else runs. Long sums depend on it in their last bits (`Context::set_threads`).
    fn threads_adapt(&self) -> bool {
        self.threads.is_none() && !self.deterministic
    }

    fn context_config(&self) -> ContextConfig {
        self.cache.set(&ContextConfig {
            context_size: self.context_size,
            batch_size: self.batch_size,
            micro_batch_size: self.micro_batch_size,
            max_sequences: self.max_sequences.unwrap_or(SEQUENCES),
            spare_sequences: LEFTOVERS,
            fits_sequences: self.max_sequences.is_none(),
            max_outputs: Some(MAX_OUTPUTS),
            threads: self.threads.or_else(|| u32::try_from(default_threads(&Hardware::probe())).ok()),
            prompt_threads: self.prompt_threads,
            ..ContextConfig::default()
        })
    }
}

fn paths(texts: Option<Vec<String>>) -> Vec<PathBuf> {
    texts.unwrap_or_default().into_iter().map(PathBuf::from).collect()
}

fn overrides(given: Vec<(String, Value)>) -> Result<Vec<(String, MetadataOverride)>, OptionError> {
    let read = |(key, value): (String, Value)| {
        let value = match value {
            Value::Bool(flag) => MetadataOverride::Bool(flag),
            Value::Text(text) => MetadataOverride::Str(text),
            Value::Float(number) => MetadataOverride::Float(number),
            Value::Int(wide) => MetadataOverride::Int(i64::try_from(wide).map_err(|_| {
                OptionError::out_of_range(
                    format!("metadata_overrides[{key}]"),
                    "a number of 64 bits or less",
                    &wide,
                )
            })?),
            other => {
                let name = format!("metadata_overrides[{key}]");
                return Err(OptionError::wrong_type(name, "an int, float, bool or str", &other));
            }
        };
        Ok((key, value))
    };
    given.into_iter().map(read).collect()
}

fn disk_cache(given: &mut Fields) -> Result<Option<DiskCache>, OptionError> {
    let bytes = given.integer("cache_disk_bytes", COUNT)?.unwrap_or(DISK_BYTES);
    let folder = given.take("cache_disk").map(|path| text("cache_disk", path)).transpose()?;
    Ok(folder.map(|folder| DiskCache { folder: folder.into(), bytes }))
}

impl Model {
    /// Loads the GGUF file at `path` by the library in `library` (see [`open_library`]), and starts its decode thread, unless the model only gives
    /// vectors. Blocks.
    ///
    /// A file with `I2_S` tensors of Microsoft's BitNet fork is rewritten into `rewrites` first, once, and loaded from there.
    ///
    /// `progress` is called with the part loaded, 0 to 1, on threads of the load's own; when it returns false, the load ends soon.
    ///
    /// # Errors
    /// [`Error::Library`], [`Error::Load`] ([`ModelError::Cancelled`] when `progress` said so), [`Error::Rewrite`], [`Error::Trial`],
    /// [`Error::Context`], [`Error::Engine`].
    pub fn load(
        path: PathBuf,
        library: &std::path::Path,
        module: Option<String>,
        options: &LoadOptions,
        progress: impl Fn(f32) -> bool + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let progress = Arc::new(progress);
        let watched = move |part| progress(part);
        let open_file =
            move |path, progress| Self::open_file(path, library, module.clone(), options, progress);
        let (open, rewritten) = load_rewriting(path, options.rewrites.as_deref(), watched, open_file)?;
        Ok(open.rewritten(rewritten).into())
    }

    /// Loads the file as it is.
    fn open_file(
        path: PathBuf,
        library: &std::path::Path,
        module: Option<String>,
        options: &LoadOptions,
        progress: impl Fn(f32) -> bool + Send + Sync + 'static,
    ) -> Result<Open, Error> {
        if options.engine == EngineChoice::Rust && !options.vocab_only {
            return own_engine::open(&path, library, module, options, progress);
        }
        if let Some(isolation) = &options.isolation {
            return isolation::load(path, library, module, options, isolation, &progress);
        }
        if !options.placement.servers().is_empty() {
            return Err(Error::RpcInThisProcess);
        }
        let prepared = Prepared::load(&path, library, module, options, progress)?;
        let Prepared { model, seat, fitted, offload, longest, batch_size, threads } = prepared;
        let open = match seat {
            Seat::Tokenizes => Open::vocab_only(model),
            Seat::Embeds { architecture, reason } => {
                let why = NoEngine::NotGenerative { architecture, reason };
                Open::embedding(model, why, longest, batch_size, threads)
            }
            Seat::Generates(decoder) => Open::generating(model, *decoder, options)?.fitted(fitted),
        };
        Ok(open.offloaded(offload))
    }

    /// What [`load`](Self::load) would take of memory, and what is free. Reads metadata and vocabulary, and allocates nothing.
    ///
    /// # Errors
    /// As [`load`](Self::load), with [`Error::Trial`]; [`ModelError::Unsupported`] where the library cannot count.
    pub fn predict_memory(
        path: PathBuf,
        library: &std::path::Path,
        module: Option<String>,
        options: &LoadOptions,
    ) -> Result<MemoryPrediction, Error> {
        if !options.placement.servers().is_empty() {
            return Err(Error::RpcInThisProcess);
        }
        let library = open_library(library, module)?;
        let predict = |path, _| {
            let mut config = options.model_config(path)?;
            trial::hold(&library, &mut config, options, || true)?;
            memory::predict(&library, &config, &options.context_config(), options.gpu_layers)
        };
        Ok(load_rewriting(path, options.rewrites.as_deref(), |_| true, predict)?.0)
    }
}

/// A loaded model before anything uses it.
pub(crate) struct Prepared {
    pub(crate) model: LlamaModel,
    pub(crate) seat: Seat,
    pub(crate) fitted: Option<Fitted>,
    pub(crate) offload: Offload,
    /// Tokens of the longest text, if it only embeds.
    pub(crate) longest: u32,
    pub(crate) batch_size: Option<u32>,
    pub(crate) threads: u32,
}

/// What a model can do.
pub(crate) enum Seat {
    /// It was loaded without weights.
    Tokenizes,
    /// It gives vectors only.
    Embeds {
        architecture: String,
        reason: &'static str,
    },
    Generates(Box<LlamaDecoder>),
}

impl Prepared {
    /// Loads a model in this process, and makes the context of its decode thread.
    pub(crate) fn load(
        path: &std::path::Path,
        library: &std::path::Path,
        module: Option<String>,
        options: &LoadOptions,
        progress: impl Fn(f32) -> bool + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let context = options.context_config();
        let library = if options.added.modules.is_empty() {
            open_library(library, module)?
        } else {
            open_library_adding(library, module, &options.added)?
        };
        for server in options.placement.servers() {
            library.add_rpc_server(&server)?;
        }
        let progress = Arc::new(progress);
        let mut config = options.model_config(path.to_owned())?;
        trial::hold(&library, &mut config, options, || progress(0.0))?;
        let plan = if options.vocab_only {
            memory::Plan { context, ..memory::Plan::default() }
        } else {
            memory::fitted(&library, &mut config, context, options.gpu_layers, options.fit)?
        };
        let layers = u32::try_from(config.outline()?.layers).unwrap_or(u32::MAX).saturating_add(1);
        let mut offload = Offload::planned(options.gpu_layers, &plan);
        loop {
            if let Some(layers) = offload.layers {
                config = config.with_gpu_layers(layers);
            }
            match load_once(&library, config, &plan.context, options, &progress) {
                Err(error) if offload.retries_after(&error, layers) => {
                    note(LogLevel::Warn, &format!("{error}; trying with fewer layers there"));
                    config = options.model_config(path.to_owned())?;
                }
                loaded => {
                    let (model, seat) = loaded?;
                    let longest = longest_text(&model, plan.context.context_size);
                    let (batch_size, threads) = (plan.context.batch_size, plan.context.threads.unwrap_or(1));
                    return Ok(Self {
                        model,
                        seat,
                        fitted: plan.fitted,
                        offload,
                        longest,
                        batch_size,
                        threads,
                    });
                }
            }
        }
    }
}

/// Loads the model and makes the context of its decode thread.
fn load_once(
    library: &Library,
    config: ModelConfig,
    context: &ContextConfig,
    options: &LoadOptions,
    progress: &Arc<impl Fn(f32) -> bool + Send + Sync + 'static>,
) -> Result<(LlamaModel, Seat), Error> {
    let path = config.path().to_owned();
    if !progress(0.0) {
        return Err(ModelError::Cancelled(path).into());
    }
    let watched = Arc::clone(progress);
    let model = LlamaModel::load(library, config.with_progress(move |part| watched(part)))?;
    if options.vocab_only {
        return Ok((model, Seat::Tokenizes));
    }
    if !progress(1.0) {
        return Err(ModelError::Cancelled(path).into());
    }
    match model.create_context_with(context) {
        Ok(context) => {
            let decoder = if options.threads_adapt() {
                LlamaDecoder::with_adapting_threads(context, options.prompt_threads)
            } else {
                LlamaDecoder::new(context)
            };
            Ok((model, Seat::Generates(Box::new(decoder))))
        }
        Err(ContextError::NotGenerative { architecture, reason }) => {
            Ok((model, Seat::Embeds { architecture, reason }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Tokens of the longest text of a model that only embeds: those asked for, else those that the model was trained with. They take no memory before
/// there is such a text.
fn longest_text(model: &LlamaModel, asked: Option<u32>) -> u32 {
    let trained = model.facts().context_train_size;
    let longest = asked.unwrap_or(if trained == 0 { DEFAULT_TEXT } else { trained });
    longest.min(model.embedding_facts().learned_positions.unwrap_or(u32::MAX))
}
