//! How a context is made.

use super::{Context, NEXT_ID, OwnedContext, Purpose};
use crate::abort::{AbortSource, should_abort};
use crate::available::available_memory;
use crate::batch::CBatch;
use crate::budget::{check_kv_type, context_bytes, vector_bytes};
use crate::capture::{TensorTap, on_tensor};
use crate::context_config::{ContextConfig, Resolved};
use crate::context_error::{ContextConfigError, ContextError};
use crate::control_vector::ControlSum;
use crate::device::Device;
use crate::guard::guarded;
use crate::held::Held;
use crate::log;
use crate::memory_need::{MemoryNeed, compute_on, of_context};
use crate::model::Model;
use crate::threadpool::{Threadpool, startable};
use crate::threadpools::Threadpools;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use tabagent_sys::{ContextSettings, ggml_backend_sched_eval_callback, llama_context, llama_pooling_type};

impl Model {
    /// A context with the settings of the model's configuration.
    ///
    /// # Errors
    /// As for [`Model::create_context_with`].
    pub fn create_context(&self) -> Result<Context, ContextError> {
        self.create_context_with(self.context_config())
    }

    /// A context with settings of its own. Allocates its KV cache at once.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn create_context_with(&self, config: &ContextConfig) -> Result<Context, ContextError> {
        Context::new(self, config)
    }
}

impl Context {
    pub(crate) fn new(model: &Model, config: &ContextConfig) -> Result<Self, ContextError> {
        if model.is_elsewhere() {
            return Err(ContextError::Elsewhere);
        }
        let tap = match config.captures.as_slice() {
            [] => None,
            patterns => Some(TensorTap::for_tensors(&model.here().library, patterns, config.capture_limit)?),
        };
        Self::with_tap(model, config, tap)
    }

    /// A context whose tensors `tap` is told of.
    pub(crate) fn with_tap(
        model: &Model,
        config: &ContextConfig,
        tap: Option<TensorTap>,
    ) -> Result<Self, ContextError> {
        let facts = model.facts();
        let mut config = config.clone();
        if facts.recurrent || facts.hybrid || facts.sliding_window > 0 || !config.unified_cache {
            config.spare_sequences = 0;
        }
        let config = &config;
        refuse_unsuitable(model)?;
        Self::build(model, config, Purpose::Logits, tap)
    }

    /// A context for a model that has weights, and what `purpose` needs.
    pub(crate) fn build(
        model: &Model,
        config: &ContextConfig,
        purpose: Purpose,
        tap: Option<TensorTap>,
    ) -> Result<Self, ContextError> {
        if model.is_elsewhere() {
            return Err(ContextError::Elsewhere);
        }
        let mut resolved = config.resolve(model.facts().context_train_size)?;
        if purpose == Purpose::Logits {
            check_positions(model, &resolved)?;
        }
        check_kv_type(model.facts(), model.metadata(), config)?;
        let needed = match purpose {
            Purpose::Logits => context_bytes(model.facts(), model.metadata(), &resolved, config),
            Purpose::Vectors(_) => vector_bytes(model, &resolved, config),
        };
        // What is on a GPU is allocated before anything is written there, so too much is an error and no overcommitment.
        let facts = model.facts();
        let on_host = if config.offload_cache {
            u64::from(facts.layers - facts.layers_on_gpu.min(facts.layers))
        } else {
            1
        };
        let of = if config.offload_cache { u64::from(facts.layers.max(1)) } else { 1 };
        let needed = needed / of * on_host;
        if let Some(available) = available_memory(0)
            && needed > available
            && !model.is_dry()
        {
            return Err(ContextError::OutOfMemory { context_size: resolved.n_ctx, needed, available });
        }
        // The calling thread is one of them.
        let threads = 1 + startable(resolved.n_threads.max(resolved.n_threads_batch) - 1);
        resolved.n_threads = resolved.n_threads.min(threads);
        resolved.n_threads_batch = resolved.n_threads_batch.min(threads);
        let abort = Box::new(AbortSource::default());
        let tap = tap.map(Box::new);
        let make = || init(model, config, &resolved, purpose, tap.as_deref());
        let (ptr, lines) = log::follow(model.is_dry(), make);
        let ptr = ptr?;
        let handle = OwnedContext { ptr, free: model.api().llama_free };
        // SAFETY: the context is live, and the boxed `abort` outlives it, as a later field of the result.
        unsafe { (model.api().llama_set_abort_callback)(ptr.as_ptr(), Some(should_abort), abort.address()) };
        let threads = resolved.n_threads.max(resolved.n_threads_batch);
        let pool = (!model.is_dry()).then(|| Threadpool::new(&model.here().library, threads)).flatten();
        let pools = pool.map(|pool| {
            let mut pools = Threadpools::new(pool);
            let library = &model.here().library;
            let generation = pools.fit(library, resolved.n_threads);
            let prompt = pools.fit(library, resolved.n_threads_batch);
            // SAFETY: all are live, and the context is freed before the pools.
            unsafe { (model.api().llama_attach_threadpool)(ptr.as_ptr(), generation, prompt) };
            pools
        });
        let mut config = config.clone();
        // Builds without the setting always keep the whole window.
        config.full_sliding_window |= !model.here().library.layout().has_context_setting("swa_full");
        let mut context = Self {
            handle,
            pools,
            threads_in_use: None,
            model: model.clone(),
            config,
            resolved,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            is_rearranged: false,
            abort,
            tap,
            adapters: Vec::new(),
            control: ControlSum::default(),
            reserves: false,
            arrays: CBatch::default(),
            outputs: Vec::new(),
            memory_need: MemoryNeed::default(),
            is_moving: false,
            held: None,
            computes: model.devices().iter().map(|device| compute_on(&lines, device)).collect(),
            broken: None,
        };
        context.read_back_limits();
        context.held =
            model.api().llama_memory_seq_pos_min.is_none().then(|| Held::new(context.resolved.n_seq_max));
        if purpose == Purpose::Logits && context.memory().is_null() {
            return Err(ContextError::NotGenerative {
                architecture: context.model.facts().architecture.clone(),
                reason: "they have no KV cache; `embed` gives their vectors",
            });
        }
        context.memory_need =
            model.weights().plus(of_context(model, &lines, &context.resolved, &context.config));
        Ok(context)
    }

    fn read_back_limits(&mut self) {
        let (api, ptr) = (self.model.api(), self.handle.ptr.as_ptr());
        // SAFETY: the context is live.
        let n_ctx = unsafe { (api.llama_n_ctx)(ptr) };
        // llama.cpp rounds the size up, also beyond the positions that there are.
        self.resolved.n_ctx = n_ctx.min(self.model.embedding_facts().learned_positions.unwrap_or(n_ctx));
        // SAFETY: as above.
        self.resolved.n_batch = unsafe { (api.llama_n_batch)(ptr) };
        // SAFETY: as above.
        self.resolved.n_ubatch = unsafe { (api.llama_n_ubatch)(ptr) };
        // SAFETY: as above.
        self.resolved.n_seq_max = unsafe { (api.llama_n_seq_max)(ptr) };
    }
}

/// Refuses a context of more positions than the model has learned.
fn check_positions(model: &Model, resolved: &Resolved) -> Result<(), ContextError> {
    match model.embedding_facts().learned_positions {
        Some(positions) if resolved.n_ctx > positions => Err(ContextConfigError::OutOfRange {
            option: "context_size",
            minimum: 1,
            maximum: positions,
            got: u64::from(resolved.n_ctx),
        }
        .into()),
        _ => Ok(()),
    }
}

fn refuse_unsuitable(model: &Model) -> Result<(), ContextError> {
    if model.is_vocab_only() {
        return Err(ContextError::VocabOnly);
    }
    let facts = model.facts();
    let reason = if facts.has_encoder && facts.has_decoder {
        "they need an encoder pass before the decoder, which is not supported yet"
    } else if !facts.has_decoder {
        "they have no decoder; `embed` gives their vectors"
    } else {
        return Ok(());
    };
    Err(ContextError::NotGenerative { architecture: facts.architecture.clone(), reason })
}

/// Parts of warnings about a context that gives vectors: it pools in another way than the file says on purpose, and has more cells than the model has
/// positions only where llama.cpp rounds up (`llama_init_from_model` and `llama_context::llama_context` in `src/llama-context.cpp`).
const EXPECTED: [&str; 2] = ["model default pooling_type is", "possible training context overflow"];

fn init(
    model: &Model,
    config: &ContextConfig,
    resolved: &Resolved,
    purpose: Purpose,
    tap: Option<&TensorTap>,
) -> Result<NonNull<llama_context>, ContextError> {
    let api = model.api();
    let pooling = match purpose {
        Purpose::Logits => llama_pooling_type::UNSPECIFIED,
        Purpose::Vectors(pooling) => pooling.to_c(),
    };
    let settings = ContextSettings {
        context_size: resolved.n_ctx,
        batch_size: resolved.n_batch,
        micro_batch_size: resolved.n_ubatch,
        sequences: resolved.n_seq_max,
        outputs_per_decode: resolved.n_outputs_max,
        threads: resolved.n_threads,
        prompt_threads: resolved.n_threads_batch,
        embeddings: purpose != Purpose::Logits,
        pooling,
        flash_attention: config.flash_attention.to_c(),
        key_type: config.kv_types().0.to_c(),
        value_type: config.kv_types().1.to_c(),
        full_sliding_window: config.full_sliding_window,
        unified_cache: config.unified_cache,
        cache_on_devices: config.offload_cache,
        offload_operations: config.offload_operations,
        watcher: tap.map(|tap| (on_tensor as ggml_backend_sched_eval_callback, tap.address())),
    };
    // SAFETY: takes nothing; `ParamBlock` is larger than the struct and the layout was identified.
    let mut params = unsafe { (api.llama_context_default_params)() };
    model.here().library.layout().write_context(&mut params, &settings)?;
    let list = model.adapter_list().read().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the model is live and has weights; `params` holds the library's own defaults with fields set through its layout.
    let make = || log::capture(|| guarded(|| unsafe { (api.llama_init_from_model)(model.ptr(), params) }));
    let (ptr, mut log) = match purpose {
        Purpose::Logits => make(),
        Purpose::Vectors(_) => log::expecting(&EXPECTED, make),
    };
    drop(list);
    let ptr = ptr.unwrap_or_else(|thrown| {
        log.push(thrown.words);
        std::ptr::null_mut()
    });
    NonNull::new(ptr).ok_or_else(|| {
        // The messages of `ggml_backend_buft_alloc_buffer`, of the CPU buffer type, and of `std::bad_alloc`.
        let is_memory = |line: &String| ["allocate", "bad_alloc"].iter().any(|sign| line.contains(sign));
        if log.iter().any(is_memory) {
            let device =
                model.devices().iter().find(|device| log.iter().any(|line| is_about(line, &device.name)));
            ContextError::NoMemory { context_size: resolved.n_ctx, device: device.map(Device::user_name) }
        } else {
            ContextError::Refused { log }
        }
    })
}

/// Whether a line that tells of memory that could not be allocated is about a device: `allocating 90.00 MiB on device 0` (CUDA, `ggml_backend_cuda_buffer_type_alloc_buffer`),
/// `failed to allocate CUDA0 buffer of size 94371840` (`ggml_gallocr_reserve_n`), or a device's own words.
fn is_about(line: &str, device: &str) -> bool {
    let number = device.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    line.contains(device) || (!number.is_empty() && line.contains(&format!("on device {number}:")))
}
