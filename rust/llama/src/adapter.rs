//! Low-rank adapters (`LoRA`), which change a model while it computes.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use tabagent_gguf::{GgufModel, LoadableAdapter};
use tabagent_sys::llama_adapter_lora;

use crate::adapter_error::AdapterError;
use crate::available::available_memory;
use crate::batch::Batch;
use crate::capture::TensorTap;
use crate::context::Context;
use crate::context_config::ContextConfig;
use crate::context_error::ContextError;
use crate::fingerprint::Fingerprint;
use crate::guard::guarded;
use crate::log;
use crate::model::Model;
use crate::strings;

/// A loaded adapter. Cheap to clone; it keeps its model, and is freed when the last clone and the last context that uses it are dropped.
///
/// Equality is identity: the same file loaded twice makes two adapters.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tabagent_llama::{Model, ModelConfig};
/// let model = Model::load_with_auto_select(ModelConfig::new("model.gguf")?)?;
/// let style = model.load_adapter("style.gguf")?;
/// let mut context = model.create_context()?;
/// context.set_adapters(&[(style, 0.8)])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Adapter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` for an adapter of a model in another process.
    ptr: Option<NonNull<llama_adapter_lora>>,
    model: Model,
    facts: AdapterFacts,
    /// Identifies it: unlike an address, it is never used twice.
    id: u64,
    /// The process that loaded it.
    process: u32,
    /// Tensors of the model.
    model_tensors: usize,
}

/// What an adapter is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterFacts {
    /// The name of its file or folder.
    pub name: String,
    /// Where it was loaded from; not sent to other processes.
    #[serde(skip)]
    pub path: PathBuf,
    /// The largest rank of its matrices.
    pub rank: u64,
    /// What the product of its matrices is multiplied with before it is divided by the rank; `None` where that equals the rank.
    pub alpha: Option<f64>,
    /// How many tensors of the model it changes.
    pub tensors: usize,
    /// Bytes of its matrices.
    pub size: u64,
    /// The tokens from which on it works (activated `LoRA`); empty for an adapter that always works. llama.cpp itself applies it always: who
    /// decodes sets it from the first of these tokens on.
    pub invocation_tokens: Vec<i32>,
    /// Tensors of the adapter that are passed over: those of norms, and of parts that llama.cpp does not use.
    pub ignored: Vec<String>,
    /// The most that a product of its matrices is multiplied with at scale 1.
    pub strength: f64,
    /// A digest (SHA-256) of what llama.cpp read: its length, its beginning, its end and samples between. It is the same for the same adapter, wherever its file lies.
    pub digest: [u8; 32],
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

// SAFETY: after loading, llama.cpp only reads an adapter (`llama_adapter_lora::get_weight` in `src/llama-adapter.cpp`); the list of a model's
// adapters, which loading and freeing change, is under `Model::adapter_list`.
unsafe impl Send for Inner {}
// SAFETY: as above: nothing is changed through `&Inner`.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there; the memory goes with the process.
        if self.process != std::process::id() {
            return;
        }
        let Some(ptr) = self.ptr else {
            if let Some(owner) = self.model.owner() {
                owner.drop_adapter(self.id);
            }
            return;
        };
        let _list = self.model.adapter_list().write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: made by `llama_adapter_lora_init` and freed only here; contexts that have it set hold an `Arc` of this, and so do clones; its
        // model is alive, because `self` holds it.
        unsafe { (self.model.api().llama_adapter_lora_free)(ptr.as_ptr()) };
    }
}

impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Adapter {}

impl Hash for Adapter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Adapter {
    /// What it is.
    pub fn facts(&self) -> &AdapterFacts {
        &self.0.facts
    }

    /// The model that it was loaded for.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Tensors of its model.
    pub fn model_tensors(&self) -> usize {
        self.0.model_tensors
    }

    /// A number that no other adapter of this process has.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Checks adapters that are to be used together, and brings them into a form in which equal sets are equal: without those of scale 0, which
    /// change nothing, and in the order in which they were loaded.
    ///
    /// # Errors
    /// [`AdapterError::OtherModel`], [`AdapterError::Twice`], [`AdapterError::Scale`], [`AdapterError::TooMany`].
    pub fn normalized(model: &Model, adapters: &[(Self, f32)]) -> Result<Vec<(Self, f32)>, AdapterError> {
        let mut seen = BTreeSet::new();
        for (adapter, scale) in adapters {
            let AdapterFacts { name, strength, .. } = adapter.facts();
            if !adapter.model().is_same(model) {
                return Err(AdapterError::OtherModel { name: name.clone() });
            }
            if !seen.insert(adapter.id()) {
                return Err(AdapterError::Twice { name: name.clone() });
            }
            if !((f64::from(*scale) * strength) as f32).is_finite() {
                return Err(AdapterError::Scale { name: name.clone(), scale: *scale, strength: *strength });
            }
        }
        let mut used: Vec<_> = adapters.iter().filter(|(_, scale)| *scale != 0.0).cloned().collect();
        used.sort_by_key(|(adapter, _)| adapter.id());
        check_room(model, &used)?;
        Ok(used)
    }
}

/// Architectures for whose graphs llama.cpp has room that does not grow with the adapters (`llama_context::graph_max_nodes` in
/// `src/llama-context.cpp`).
const FIXED_ROOM: [&str; 15] = [
    "bailingmoe3",
    "deepseek4",
    "dflash",
    "glm5-next",
    "hrm_text",
    "hy_v4",
    "kimi-k3",
    "kimi-linear",
    "minimax-01",
    "minimax-m3",
    "nanbeige",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
];

/// Refuses adapters that could overflow such a graph, on which llama.cpp aborts. Each change takes 4 of the 32 nodes that there are for each tensor
/// of the model, so one change of every tensor is allowed.
fn check_room(model: &Model, used: &[(Adapter, f32)]) -> Result<(), AdapterError> {
    let architecture = &model.facts().architecture;
    let changes: usize = used.iter().map(|(adapter, _)| adapter.facts().tensors).sum();
    let most = used.first().map_or(0, |(adapter, _)| adapter.0.model_tensors);
    if changes <= most || !FIXED_ROOM.contains(&architecture.as_str()) {
        return Ok(());
    }
    Err(AdapterError::TooMany { architecture: architecture.clone(), changes, most })
}

impl Model {
    /// Loads an adapter for this model: a GGUF file, a folder of the `peft` library, or the `.safetensors` file in one.
    ///
    /// Everything in it is checked against the model's file first, and the model computes one token with it, which shows that llama.cpp uses all
    /// of it. What llama.cpp reads is a temporary file that is gone afterwards.
    ///
    /// # Errors
    /// See [`AdapterError`].
    pub fn load_adapter(&self, path: impl AsRef<Path>) -> Result<Adapter, AdapterError> {
        let path = path.as_ref();
        if self.is_vocab_only() {
            return Err(AdapterError::VocabOnly);
        }
        if let Some(owner) = self.owner() {
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            let (facts, model_tensors) = owner.load_adapter(id, path).map_err(AdapterError::Elsewhere)?;
            let (model, process) = (self.clone(), std::process::id());
            return Ok(Adapter(Arc::new(Inner { ptr: None, model, facts, id, process, model_tensors })));
        }
        let file = GgufModel::open(self.path()).map_err(AdapterError::ModelFile)?;
        let elements: u64 = file.tensors().map(|tensor| tensor.info.shape.n_elements()).sum();
        if elements != self.facts().parameters
            || file.first().architecture() != Some(self.facts().architecture.as_str())
        {
            return Err(AdapterError::ModelFileChanged(self.path().to_owned()));
        }
        let loadable = LoadableAdapter::open(path, &file)?;
        let vocab_size = self.vocab().len();
        let is_unknown = |token: &&i32| usize::try_from(**token).map_or(true, |token| token >= vocab_size);
        if let Some(token) = loadable.invocation_tokens().iter().find(is_unknown) {
            return Err(AdapterError::InvocationToken { path: path.to_owned(), token: *token, vocab_size });
        }
        let needed = loadable.n_bytes();
        if let Some(available) = available_memory(0).filter(|available| needed > *available) {
            return Err(AdapterError::OutOfMemory { path: path.to_owned(), needed, available });
        }
        let facts = AdapterFacts {
            name: loadable.name().to_owned(),
            path: path.to_owned(),
            rank: loadable.rank(),
            alpha: loadable.alpha(),
            tensors: loadable.changed().len(),
            size: needed,
            invocation_tokens: loadable.invocation_tokens().to_vec(),
            ignored: loadable.ignored().to_vec(),
            strength: loadable.strength(),
            digest: [0; 32],
        };
        let (ptr, digest) = self.init_adapter(path, &loadable)?;
        let facts = AdapterFacts { digest, ..facts };
        let adapter = Adapter(Arc::new(Inner {
            ptr: Some(ptr),
            model: self.clone(),
            facts,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            process: std::process::id(),
            model_tensors: file.n_tensors(),
        }));
        let used = adapter.factors_in_use()?;
        let is_unused = |name: &&str| !used.contains(&format!("{name}.lora_a"));
        let tensors: Vec<String> = loadable.changed().filter(is_unused).map(str::to_owned).collect();
        if tensors.is_empty() {
            Ok(adapter)
        } else {
            Err(AdapterError::Unused { path: path.to_owned(), tensors })
        }
    }

    /// Has llama.cpp read `adapter`, from a file that is gone afterwards; returns a digest of it, too.
    fn init_adapter(
        &self,
        path: &Path,
        adapter: &LoadableAdapter,
    ) -> Result<(NonNull<llama_adapter_lora>, [u8; 32]), AdapterError> {
        let no_folder = |source| AdapterError::NoFolder { path: std::env::temp_dir(), source };
        let folder = tempfile::Builder::new().prefix("tabagent-adapter-").tempdir().map_err(no_folder)?;
        let file = folder.path().join("adapter.gguf");
        adapter.write_to(&file)?;
        let digest = Fingerprint::of_file(&file).map_err(no_folder)?.0;
        let c_path = strings::of_path(&file).ok_or_else(|| {
            no_folder(std::io::Error::other(format!("its path {}", strings::path_problem(&file))))
        })?;
        let list = self.adapter_list().write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the model is live and has weights; the path is NUL-terminated; nobody else looks at the model's list of adapters, which this
        // call changes. Exceptions are caught on the C side (`llama_adapter_lora_init_from_file_ptr` in `src/llama-adapter.cpp`).
        let read = || unsafe { (self.api().llama_adapter_lora_init)(self.ptr(), c_path.as_ptr()) };
        let (ptr, mut log) = log::capture(|| guarded(read));
        drop(list);
        let ptr = ptr.unwrap_or_else(|thrown| {
            log.push(thrown.words);
            std::ptr::null_mut()
        });
        // One for each tensor whose weights the CPU module has packed anew; its matrices are as well off in ordinary memory.
        log::retract_warnings("cannot use buft");
        let ptr = NonNull::new(ptr).ok_or_else(|| AdapterError::Refused { path: path.to_owned(), log })?;
        Ok((ptr, digest))
    }
}

impl Adapter {
    /// Decodes a token with it, and tells from which of its matrices llama.cpp computes.
    fn factors_in_use(&self) -> Result<BTreeSet<String>, AdapterError> {
        let model = self.model();
        let tap = TensorTap::for_factors(&model.here().library).map_err(AdapterError::Trial)?;
        let config = ContextConfig::new().with_context_size(32).with_batch_size(1).with_threads(1);
        let mut context = Context::with_tap(model, &config, Some(tap)).map_err(AdapterError::Trial)?;
        context.set_adapters(&[(self.clone(), 1.0)])?;
        context.decode(&Batch::prompt(0, 0, &[0])).map_err(AdapterError::Trial)?;
        Ok(context.tap().map(TensorTap::factors).unwrap_or_default())
    }
}

impl Context {
    /// Has all decodes from now on change the model by these adapters, each with a scale. They stay set, and alive, until others are.
    ///
    /// Costs nothing where they are set already; otherwise the next decode prepares its graph again, which takes as long as a short decode. What
    /// is in the context was computed with the adapters of its time: remove a sequence to compute it anew.
    ///
    /// # Errors
    /// As for [`Adapter::normalized`]. After an error the adapters are those before.
    pub fn set_adapters(&mut self, adapters: &[(Adapter, f32)]) -> Result<(), AdapterError> {
        if same(&self.adapters, adapters) {
            return Ok(());
        }
        let used = Adapter::normalized(self.model(), adapters)?;
        if same(&self.adapters, &used) {
            return Ok(());
        }
        let mut pairs: Vec<_> =
            used.iter().filter_map(|(adapter, scale)| Some((adapter.0.ptr?.as_ptr(), *scale))).collect();
        // SAFETY: the context and the adapters are live, the adapters are of its model, and each is there once.
        // The context keeps the adapters for as long as they are set.
        unsafe { self.api().set_adapters(self.ptr(), &mut pairs) };
        self.reserves = true;
        self.adapters = used;
        Ok(())
    }

    /// The adapters that are set, without those of scale 0.
    pub fn adapters(&self) -> &[(Adapter, f32)] {
        &self.adapters
    }

    /// Runs a decode. If it reserves memory for a new graph, no adapter of the model is loaded or freed meanwhile: for that, llama.cpp reads the
    /// list of them (`graph_max_nodes` in `src/llama-context.cpp`) without a lock.
    pub(crate) fn with_reserve<T>(&mut self, decode: impl FnOnce(&mut Self) -> T) -> T {
        if !std::mem::take(&mut self.reserves) {
            return decode(self);
        }
        let model = self.model.clone();
        let _list = model.adapter_list().read().unwrap_or_else(PoisonError::into_inner);
        decode(self)
    }

    /// Sets what changes the model in another context of it.
    pub(crate) fn take_changes_of(&mut self, other: &Self) -> Result<(), ContextError> {
        self.set_adapters(&other.adapters).map_err(Box::new)?;
        self.set_control(&other.control).map_err(Box::new)?;
        Ok(())
    }
}

/// Whether both are the same adapters with the same scales in the same order.
fn same(left: &[(Adapter, f32)], right: &[(Adapter, f32)]) -> bool {
    let is_same = |((a, x), (b, y)): (&(Adapter, f32), &(Adapter, f32))| a == b && x.to_bits() == y.to_bits();
    left.len() == right.len() && left.iter().zip(right).all(is_same)
}
