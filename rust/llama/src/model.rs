//! Loaded models.

use crate::context_config::ContextConfig;
use crate::device::Device;
use crate::elsewhere::{Elsewhere, ModelCopy, TEMPLATE};
use crate::embedding_facts::{EmbeddingFacts, OutputTensors};
use crate::fingerprint::Fingerprint;
use crate::guard::guarded;
use crate::library::Library;
use crate::log;
use crate::memory_need::{self, MemoryNeed};
use crate::model_config::{GpuLayers, ModelConfig};
use crate::model_error::ModelError;
use crate::model_facts::ModelFacts;
use crate::preflight;
use crate::progress::{LoadProgress, on_progress};
use crate::strings;
use crate::threadpool::startable;
use crate::vocab::Vocab;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};
use tabagent_sys::{Api, ModelSettings, ParamBlock, llama_model, llama_progress_callback};

/// A model in memory. Cheap to clone; freed when the last clone and the last context of it are dropped.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

/// Where a model is.
enum Seat {
    Here(Here),
    /// In another process.
    Elsewhere {
        owner: Arc<dyn Elsewhere>,
        templates: Vec<(Option<String>, String)>,
    },
}

/// A model in this process.
pub(crate) struct Here {
    ptr: *mut llama_model,
    pub(crate) library: Library,
}

struct Inner {
    seat: Seat,
    path: PathBuf,
    facts: ModelFacts,
    embedding: EmbeddingFacts,
    metadata: BTreeMap<String, String>,
    vocab_only: bool,
    dry: bool,
    devices: Vec<Device>,
    weights: MemoryNeed,
    context: ContextConfig,
    vocab: Vocab,
    fingerprint: OnceLock<Fingerprint>,
    /// Held for writing while an adapter is loaded or freed, and for reading where llama.cpp looks at all of them: `llama_model::loras` has no lock.
    adapter_list: RwLock<()>,
}

// SAFETY: after loading, llama.cpp only reads a `llama_model`; contexts of several threads share one (llama.h: a model is
// immutable, `llama_init_from_model` takes it from any thread). `Drop` runs once, for the last `Arc`.
unsafe impl Send for Inner {}
// SAFETY: as above: every function called through `&Inner` takes `const llama_model *`, or creates a context from it.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        let Seat::Here(here) = &self.seat else { return };
        // SAFETY: `ptr` came from a load function and is freed only here; contexts hold an `Arc` of this.
        unsafe { (here.library.api().llama_model_free)(here.ptr) };
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("path", &self.0.path)
            .field("facts", &self.0.facts)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads a model. Takes as long as reading the file; with `mmap` the weights are read when they are first used.
    ///
    /// The file's header is checked before llama.cpp sees it.
    ///
    /// # Errors
    /// See [`ModelError`]. A panic of the progress callback is resumed here, after llama.cpp has cleaned up.
    pub fn load(library: &Library, config: ModelConfig) -> Result<Self, ModelError> {
        let preflight::Checked { paths, overrides, outputs, is_vocabulary, .. } = match config.checked {
            Some(checked) => checked,
            None => preflight::check(&config.path, &config.overrides)?,
        };
        if is_vocabulary && !config.vocab_only {
            return Err(ModelError::NoWeights(config.path));
        }
        let has_overrides = !overrides.is_empty();
        let overrides = crate::overrides::to_c(&overrides)?;
        let mut progress = config.progress.map(|callback| Box::new(LoadProgress::new(callback)));

        let placed = config.placement.resolve(library)?;
        let devices = config.placement.devices(library)?;
        let settings = ModelSettings {
            gpu_layers: gpu_layers(config.gpu_layers)?,
            placement: placed.settings(),
            memory_map: config.use_mmap,
            memory_lock: config.mlock,
            vocab_only: config.vocab_only,
            check_tensors: config.check_tensors,
            plain_weights: config.plain_weights,
            dry_run: config.dry_run,
            metadata_overrides: if has_overrides { overrides.as_ptr() } else { std::ptr::null() },
            progress: progress.as_mut().map(|p| {
                (on_progress as llama_progress_callback, std::ptr::from_mut(p.as_mut()).cast::<c_void>())
            }),
        };
        // SAFETY: takes nothing; `ParamBlock` is larger than the struct and the layout was identified.
        let mut params = unsafe { (library.api().llama_model_default_params)() };
        library.layout().write_model(&mut params, &settings)?;

        let ((ptr, mut log), lines) = log::follow(config.dry_run, || {
            log::capture(|| guarded(|| load_files(library.api(), &paths, &params)))
        });
        let ptr = match ptr {
            Ok(ptr) => ptr?,
            Err(thrown) => {
                log.push(thrown.words);
                std::ptr::null_mut()
            }
        };
        if let Some(panic) = progress.as_mut().and_then(|p| p.panic.take()) {
            if !ptr.is_null() {
                // SAFETY: just loaded, and nobody else has it.
                unsafe { (library.api().llama_model_free)(ptr) };
            }
            std::panic::resume_unwind(panic);
        }
        if ptr.is_null() {
            let stopped = progress.is_some_and(|p| p.stopped);
            let path = config.path;
            return Err(if stopped {
                ModelError::Cancelled(path)
            } else if let Some(device) = device_without_room(&log, &devices) {
                ModelError::DeviceMemory { path, device, log }
            } else if startable(1) == 0 {
                // ggml's CPU modules pack weights on threads of their own, which the system could not start.
                ModelError::NoThreads { path, log }
            } else {
                ModelError::Refused { path, log }
            });
        }

        // SAFETY: `ptr` was just loaded by this library and is not null.
        let metadata = unsafe { read_metadata(library.api(), ptr) };
        // SAFETY: as above.
        let vocab = unsafe { library.api().vocabulary(ptr) };
        let pre = metadata.get("tokenizer.ggml.pre").map(String::as_str);
        // SAFETY: it belongs to the model just loaded, which owns the result.
        let vocab = unsafe { Vocab::new(library.api(), vocab, pre) };
        let offloaded = match config.gpu_layers {
            _ if config.vocab_only || !devices.iter().any(Device::is_gpu) => 0,
            GpuLayers::Auto => u32::MAX,
            GpuLayers::Count(count) => count,
        };
        // SAFETY: as above.
        let facts = unsafe { read_facts(library, ptr, &metadata, offloaded) };
        // SAFETY: as above.
        let embedding = unsafe { read_embedding_facts(library.api(), ptr, &facts, &metadata, &outputs) };
        Ok(Self(Arc::new(Inner {
            seat: Seat::Here(Here { ptr, library: library.clone() }),
            path: config.path,
            facts,
            embedding,
            metadata,
            vocab_only: config.vocab_only,
            dry: config.dry_run,
            devices,
            weights: memory_need::of_weights(&lines),
            context: config.context,
            vocab,
            fingerprint: OnceLock::new(),
            adapter_list: RwLock::new(()),
        })))
    }

    /// Loads a model with the library of this process: the one already loaded, else the one that `TABAGENT_LIBRARY_PATH`
    /// names, with the CPU module that ggml scores highest.
    ///
    /// # Errors
    /// See [`ModelError`]; [`ModelError::NoLibrary`] when there is none.
    pub fn load_with_auto_select(config: ModelConfig) -> Result<Self, ModelError> {
        let library = match (Library::current(), std::env::var_os("TABAGENT_LIBRARY_PATH")) {
            (Some(library), _) => library,
            (None, Some(path)) => Library::open(path)?,
            (None, None) => return Err(ModelError::NoLibrary),
        };
        Self::load(&library, config)
    }

    /// Facts about the model.
    pub fn facts(&self) -> &ModelFacts {
        &self.0.facts
    }

    /// What its file says about embeddings.
    pub fn embedding_facts(&self) -> &EmbeddingFacts {
        &self.0.embedding
    }

    /// All metadata that llama.cpp keeps, as text; arrays are cut by llama.cpp's own rules.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The library that runs it, if that is in this process.
    pub fn library(&self) -> Option<&Library> {
        match &self.0.seat {
            Seat::Here(here) => Some(&here.library),
            Seat::Elsewhere { .. } => None,
        }
    }

    /// Whether it is in another process.
    pub fn is_elsewhere(&self) -> bool {
        self.owner().is_some()
    }

    /// Who asks the process that it is in; `None` if that is this one.
    pub(crate) fn owner(&self) -> Option<&Arc<dyn Elsewhere>> {
        match &self.0.seat {
            Seat::Here(_) => None,
            Seat::Elsewhere { owner, .. } => Some(owner),
        }
    }

    /// The model of another process.
    pub(crate) fn of_copy(copy: ModelCopy, owner: Arc<dyn Elsewhere>) -> Self {
        let ModelCopy { path, facts, embedding, metadata, templates, vocab_only, devices, vocab } = copy;
        let pre = metadata.get("tokenizer.ggml.pre").map(String::as_str);
        let vocab = Vocab::of_copy(vocab, pre, Arc::clone(&owner));
        Self(Arc::new(Inner {
            seat: Seat::Elsewhere { owner, templates },
            path,
            facts,
            embedding,
            metadata,
            vocab_only,
            dry: false,
            devices,
            weights: MemoryNeed::default(),
            context: ContextConfig::default(),
            vocab,
            fingerprint: OnceLock::new(),
            adapter_list: RwLock::new(()),
        }))
    }

    /// Whether only the vocabulary was loaded.
    pub fn is_vocab_only(&self) -> bool {
        self.0.vocab_only
    }

    /// Whether only its memory is counted.
    pub(crate) fn is_dry(&self) -> bool {
        self.0.dry
    }

    /// Bytes of its weights, mapped and in memory of their own, as llama.cpp counted them.
    pub(crate) fn weights(&self) -> MemoryNeed {
        self.0.weights
    }

    /// The devices that it may use beside the CPU, as they were before it was loaded.
    pub fn devices(&self) -> &[Device] {
        &self.0.devices
    }

    /// Its tokenizer.
    pub fn vocab(&self) -> &Vocab {
        &self.0.vocab
    }

    /// A built-in chat template of the file, by name or the default one.
    pub fn chat_template(&self, name: Option<&str>) -> Option<String> {
        if let Seat::Elsewhere { templates, .. } = &self.0.seat {
            let found = templates.iter().find(|(known, _)| known.as_deref() == name);
            return found.map(|(_, text)| text.clone());
        }
        // `llama_model_chat_template` looks there, too, and got its second argument at build 4524, which no symbol tells.
        let key = name.map_or_else(|| TEMPLATE.to_owned(), |name| format!("{TEMPLATE}.{name}"));
        self.0.metadata.get(&key).cloned()
    }

    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, std::io::Error> {
        if let Some(fingerprint) = self.0.fingerprint.get() {
            return Ok(*fingerprint);
        }
        let fingerprint = Fingerprint::of_file(&self.0.path)?;
        Ok(*self.0.fingerprint.get_or_init(|| fingerprint))
    }

    /// Whether both are the same model in memory, and not only of the same file.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn adapter_list(&self) -> &RwLock<()> {
        &self.0.adapter_list
    }

    /// The settings of [`Model::create_context`].
    pub(crate) fn context_config(&self) -> &ContextConfig {
        &self.0.context
    }

    pub(crate) fn api(&self) -> &Api {
        self.here().library.api()
    }

    pub(crate) fn ptr(&self) -> *mut llama_model {
        self.here().ptr
    }

    /// The model in this process. Who is here has seen [`is_elsewhere`](Self::is_elsewhere) say no: contexts are made of no other models.
    pub(crate) fn here(&self) -> &Here {
        match &self.0.seat {
            Seat::Here(here) => here,
            Seat::Elsewhere { .. } => {
                unreachable!("nothing of llama.cpp is here of a model in another process")
            }
        }
    }
}

/// The device whose memory did not suffice, by what llama.cpp logged: `unable to allocate CUDA0 buffer` (`llama_model::load_tensors` in
/// `src/llama-model.cpp`).
fn device_without_room(log: &[String], devices: &[Device]) -> Option<String> {
    let says = |device: &&Device| {
        let words = format!("unable to allocate {} buffer", device.name);
        log.iter().any(|line| line.contains(&words))
    };
    devices.iter().find(says).map(Device::user_name)
}

/// Layers that go to GPUs, `None` for all.
fn gpu_layers(layers: GpuLayers) -> Result<Option<u32>, ModelError> {
    match layers {
        GpuLayers::Auto => Ok(None),
        GpuLayers::Count(count) if i32::try_from(count).is_ok() => Ok(Some(count)),
        GpuLayers::Count(count) => Err(ModelError::BadOption {
            option: "gpu_layers",
            range: "at most 2,147,483,647",
            got: count.to_string(),
        }),
    }
}

fn load_files(api: &Api, paths: &[PathBuf], params: &ParamBlock) -> Result<*mut llama_model, ModelError> {
    let c_paths = paths
        .iter()
        .map(|path| strings::of_path(path).ok_or_else(|| ModelError::BadPath(path.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    if let [path] = c_paths.as_slice() {
        // SAFETY: the path is NUL-terminated; `params` holds the library's own defaults with fields set through its layout, and
        // what it points to (overrides, progress) outlives the call.
        return Ok(unsafe { (api.llama_model_load_from_file)(path.as_ptr(), *params) });
    }
    let mut pointers: Vec<_> = c_paths.iter().map(|p| p.as_ptr()).collect();
    match (api.llama_model_load_from_splits, c_paths.first()) {
        // SAFETY: as above, for every path; the array has `len` entries.
        (Some(load), _) => Ok(unsafe { load(pointers.as_mut_ptr(), pointers.len(), *params) }),
        // Builds before 4463 find the other parts by the name of the first one.
        // SAFETY: as above.
        (None, Some(first)) => Ok(unsafe { (api.llama_model_load_from_file)(first.as_ptr(), *params) }),
        (None, None) => Ok(std::ptr::null_mut()),
    }
}

/// # Safety
/// `model` was loaded by the library of `api` and is live.
unsafe fn read_metadata(api: &Api, model: *mut llama_model) -> BTreeMap<String, String> {
    // SAFETY: the caller's contract.
    let count = unsafe { (api.llama_model_meta_count)(model) };
    (0..count)
        .filter_map(|i| {
            // SAFETY: `i` is below the count; `sized` gives a buffer of the size it says.
            let key =
                strings::sized(|out, n| unsafe { (api.llama_model_meta_key_by_index)(model, i, out, n) })?;
            // SAFETY: as above.
            let value = strings::sized(|out, n| unsafe {
                (api.llama_model_meta_val_str_by_index)(model, i, out, n)
            })?;
            Some((key, value))
        })
        .collect()
}

/// # Safety
/// `model` was loaded by `library` and is live.
unsafe fn read_facts(
    library: &Library,
    model: *mut llama_model,
    metadata: &BTreeMap<String, String>,
    offloaded: u32,
) -> ModelFacts {
    let api = library.api();
    let size = |n: i32| u32::try_from(n).unwrap_or(0);
    // SAFETY: the caller's contract; `sized` gives a buffer of the size it says.
    let description =
        strings::sized(|out, n| unsafe { (api.llama_model_desc)(model, out, n) }).unwrap_or_default();
    let architecture = metadata.get("general.architecture").cloned().unwrap_or_default();
    // SAFETY: the caller's contract, here and in the calls below.
    let layers = size(unsafe { (api.llama_model_n_layer)(model) });
    let heads = |f: unsafe extern "C-unwind" fn(*const llama_model) -> i32| {
        // SAFETY: the caller's contract; a vocabulary-only model has no layers to ask about.
        if layers == 0 { 0 } else { size(unsafe { f(model) }) }
    };
    let mut facts = ModelFacts {
        quantization: quantization(&description),
        name: metadata.get("general.name").cloned(),
        architecture,
        // SAFETY: as above.
        parameters: unsafe { (api.llama_model_n_params)(model) },
        // SAFETY: as above.
        size: unsafe { (api.llama_model_size)(model) },
        // SAFETY: as above.
        context_train_size: size(unsafe { (api.llama_model_n_ctx_train)(model) }),
        // SAFETY: as above.
        embedding_dim: size(unsafe { (api.llama_model_n_embd)(model) }),
        layers,
        heads: heads(api.llama_model_n_head),
        kv_heads: api.llama_model_n_head_kv.map_or(0, heads),
        // SAFETY: as above.
        sliding_window: api.llama_model_n_swa.map_or(0, |ask| size(unsafe { ask(model) })),
        // SAFETY: as above.
        has_encoder: unsafe { (api.llama_model_has_encoder)(model) },
        // SAFETY: as above.
        has_decoder: unsafe { (api.llama_model_has_decoder)(model) },
        // SAFETY: as above.
        recurrent: unsafe { (api.llama_model_is_recurrent)(model) },
        // SAFETY: as above.
        hybrid: api.llama_model_is_hybrid.is_some_and(|ask| unsafe { ask(model) }),
        layers_on_gpu: offloaded.min(layers),
        description,
    };
    facts.complete(metadata);
    facts
}

/// # Safety
/// `model` was loaded by the library of `api` and is live.
unsafe fn read_embedding_facts(
    api: &Api,
    model: *mut llama_model,
    facts: &ModelFacts,
    metadata: &BTreeMap<String, String>,
    tensors: &OutputTensors,
) -> EmbeddingFacts {
    // SAFETY: the caller's contract. Builds without this function give vectors as wide as the model.
    let width = api.llama_model_n_embd_out.map(|ask| unsafe { ask(model) });
    let width = width.and_then(|width| u32::try_from(width).ok()).filter(|width| *width > 0);
    // SAFETY: the caller's contract. Builds without this function have classifiers of one output.
    let classes = api.llama_model_n_cls_out.map_or(1, |ask| unsafe { ask(model) });
    EmbeddingFacts::new(&facts.architecture, metadata, tensors, width.unwrap_or(facts.embedding_dim), classes)
}

/// `gemma3 270M Q4_K - Medium` → `Q4_K - Medium`: what stands after architecture and size (`llama_model::desc`).
fn quantization(description: &str) -> String {
    description.splitn(3, ' ').nth(2).unwrap_or("unknown").to_owned()
}
