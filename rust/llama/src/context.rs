//! Contexts: a model's working memory.

use crate::abort::{AbortSource, NEVER, Stop, should_abort};
use crate::adapter::Adapter;
use crate::available::available_memory;
use crate::batch::{Batch, CBatch, TokenId};
use crate::budget::{check_kv_type, context_bytes, vector_bytes};
use crate::capture::{TensorTap, on_tensor};
use crate::context_config::{ContextConfig, KvType, Resolved};
use crate::context_error::{ContextConfigError, ContextError};
use crate::control_vector::ControlSum;
use crate::device::Device;
use crate::guard::guarded;
use crate::held::Held;
use crate::log;
use crate::memory_need::{MemoryNeed, compute_on, of_context};
use crate::model::Model;
use crate::pooling::Pooling;
use crate::threadpool::{Threadpool, startable};
use crate::threadpools::Threadpools;
use crate::vocab_error::VocabError;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use tabagent_sys::{
    Api, ContextSettings, Thrown, ggml_backend_sched_eval_callback, llama_batch, llama_context, llama_memory,
    llama_pooling_type, llama_pos,
};

/// A context: the KV cache of some sequences, and the buffers to decode with.
///
/// It moves between threads but is used by one at a time; decoding takes `&mut self`. It keeps its model alive.
pub struct Context {
    // Fields are dropped in this order: the context before its threads, its tap, its adapters and its model.
    handle: OwnedContext,
    pools: Option<Threadpools>,
    /// Threads that the next decode uses, once they were set.
    threads_in_use: Option<u32>,
    pub(crate) config: ContextConfig,
    pub(crate) resolved: Resolved,
    /// Identifies this context: unlike an address, it is never used twice.
    pub(crate) id: u64,
    /// It took the place of another one.
    pub(crate) is_rearranged: bool,
    abort: Box<AbortSource>,
    pub(crate) tap: Option<Box<TensorTap>>,
    /// The adapters that change the model, which live as long as they do.
    pub(crate) adapters: Vec<(Adapter, f32)>,
    pub(crate) control: ControlSum,
    /// Whether llama.cpp reserves memory for a new graph at the next decode, for which it looks at all adapters of the model.
    pub(crate) reserves: bool,
    pub(crate) model: Model,
    arrays: CBatch,
    /// For each token of the last decode, whether its logits were computed.
    outputs: Vec<bool>,
    memory_need: MemoryNeed,
    /// Positions were moved, which llama.cpp does to what is in the cells at the next decode (`memory_update` in src/llama-context.cpp).
    pub(crate) is_moving: bool,
    /// What devices compute with, in the order of the model's devices.
    computes: Vec<u64>,
    /// Why llama.cpp left a decode half done, after which nothing else can be computed.
    broken: Option<Thrown>,
    /// What its sequences hold, where the build does not tell.
    pub(crate) held: Option<Held>,
}

/// What a context computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Logits,
    /// Vectors, pooled so. Such a context may be without memory.
    Vectors(Pooling),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// `llama_decode` or `llama_encode`.
pub(crate) type Compute = unsafe extern "C-unwind" fn(*mut llama_context, llama_batch) -> i32;

struct OwnedContext {
    ptr: NonNull<llama_context>,
    free: unsafe extern "C-unwind" fn(*mut llama_context),
}

impl Drop for OwnedContext {
    fn drop(&mut self) {
        // SAFETY: made by `llama_init_from_model`, freed only here.
        unsafe { (self.free)(self.ptr.as_ptr()) };
    }
}

// SAFETY: a `llama_context` has no thread affinity on the C side; it must only not be used by two threads at once, which `&mut self`
// and the missing `Sync` see to (llama.h: contexts are not thread-safe).
unsafe impl Send for OwnedContext {}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("model", &self.model)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

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
        if let Some(pool) = &pool {
            // SAFETY: both are live, and the context is freed before the pool; null means "the same for prompts".
            unsafe {
                (model.api().llama_attach_threadpool)(ptr.as_ptr(), pool.as_ptr(), std::ptr::null_mut());
            };
        }
        let mut config = config.clone();
        // Builds without the setting always keep the whole window.
        config.full_sliding_window |= !model.here().library.layout().has_context_setting("swa_full");
        let mut context = Self {
            handle,
            pools: pool.map(Threadpools::new),
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

    /// Decodes a batch: computes its tokens into the KV cache and keeps the logits that it asks for until the next call.
    ///
    /// Blocks until the model has computed it. After an error, [`Context::next_position`] says what each sequence holds.
    ///
    /// # Errors
    /// See [`ContextError`]. Nothing is computed when the batch is refused.
    pub fn decode(&mut self, batch: &Batch) -> Result<(), ContextError> {
        self.decode_unless(batch, NEVER)
    }

    /// [`Context::decode`] that stops soon after `stop` says so.
    ///
    /// # Errors
    /// See [`ContextError`]; [`ContextError::Aborted`] when it stopped early.
    pub fn decode_unless(&mut self, batch: &Batch, stop: Stop<'_>) -> Result<(), ContextError> {
        self.compute(batch, stop, self.model.api().llama_decode)
    }

    /// Computes a batch by `call`, which is `llama_decode`, or `llama_encode` for a model that has an encoder.
    pub(crate) fn compute(
        &mut self,
        batch: &Batch,
        stop: Stop<'_>,
        call: Compute,
    ) -> Result<(), ContextError> {
        self.outputs.clear();
        if let Some(tap) = &self.tap {
            tap.begin();
        }
        if let Some(thrown) = &self.broken {
            return Err(ContextError::Broken { thrown: thrown.clone() });
        }
        self.check(batch)?;
        let c_batch = self.arrays.fill(batch);
        let context = self.handle.ptr.as_ptr();
        let (code, lines) = self.with_reserve(|this| {
            let tap = this.tap.as_deref();
            let stop = || tap.is_some_and(TensorTap::wants_stop) || stop();
            // SAFETY: ids, sequences, positions and counts were checked; the arrays live in `self` and stay untouched during the
            // call; `&mut self` excludes another decode.
            let run = || unsafe { call(context, c_batch) };
            log::capture_warnings(|| this.abort.watch(&stop, || guarded(run)))
        });
        let code = code.map_err(|thrown| {
            self.broken = Some(thrown.clone());
            ContextError::Broken { thrown }
        })?;
        if let Some(tap) = &self.tap
            && let Err(error) = tap.finish(code == 0)
        {
            if code == 2 {
                log::retract(&lines);
            }
            return Err(error);
        }
        if code == 0 {
            if let Some(held) = &mut self.held {
                held.decoded(batch);
            }
        } else if self.held.is_some() {
            self.undo(batch)?;
        }
        match code {
            0 => {
                self.is_moving = false;
                self.outputs.extend_from_slice(&batch.outputs);
                Ok(())
            }
            1 => Err(ContextError::Full { tokens: batch.len(), n_ctx: self.sequence_size() }),
            2 => {
                log::retract(&lines);
                Err(ContextError::Aborted)
            }
            code => Err(ContextError::Failed { code, log: log::errors(lines) }),
        }
    }

    /// Removes what a decode that failed has left of a batch, in builds that do not tell what that is.
    fn undo(&mut self, batch: &Batch) -> Result<(), ContextError> {
        for (sequence, start) in Held::starts(batch) {
            let from = i32::try_from(start).unwrap_or(i32::MAX);
            // SAFETY: the memory is live, and the sequence exists: the batch was checked.
            let removed =
                unsafe { (self.api().llama_memory_seq_rm)(self.memory(), sequence.cast_signed(), from, -1) };
            // A recurrent state loses all or nothing.
            if start == 0 || !removed {
                self.remove_sequence(sequence)?;
            }
        }
        Ok(())
    }

    /// The logits of token `index` of the last batch: one `f32` a token of the vocabulary. Valid until the next decode.
    ///
    /// # Errors
    /// [`ContextError::NoLogits`] when the last decode failed or did not compute them.
    pub fn logits(&self, index: usize) -> Result<&[f32], ContextError> {
        let missing = || ContextError::NoLogits { index, available: self.describe_outputs() };
        if !self.outputs.get(index).copied().unwrap_or(false) {
            return Err(missing());
        }
        let row = i32::try_from(index).map_err(|_| missing())?;
        // SAFETY: the context is live; llama.cpp answers null for rows it did not compute.
        let logits = unsafe { (self.model.api().llama_get_logits_ith)(self.handle.ptr.as_ptr(), row) };
        if logits.is_null() {
            return Err(missing());
        }
        // SAFETY: a row has one value a token; the next decode, which would overwrite it, needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.model.vocab().len()) })
    }

    /// Generates tokens after `prompt` in sequence 0, which is emptied first. `select` picks each token from the logits, or ends
    /// the generation with `None`; it also ends with an end-of-generation token, which is not returned.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn generate(
        &mut self,
        prompt: &[TokenId],
        max_tokens: usize,
        mut select: impl FnMut(&[f32]) -> Option<TokenId>,
    ) -> Result<Vec<TokenId>, ContextError> {
        self.remove_sequence(0)?;
        let mut generated = Vec::new();
        for chunk in prompt.chunks(self.resolved.n_batch as usize) {
            let start = self.next_position(0)?;
            self.decode(&Batch::prompt(0, start, chunk))?;
        }
        while generated.len() < max_tokens {
            let row = self.outputs.len().saturating_sub(1);
            let Some(token) = select(self.logits(row)?) else { break };
            if self.model.vocab().is_eog(token) {
                break;
            }
            generated.push(token);
            let next = self.next_position(0)?;
            if generated.len() == max_tokens || next == self.sequence_size() {
                break;
            }
            self.decode(&Batch::prompt(0, next, &[token]))?;
        }
        Ok(generated)
    }

    /// Text to tokens of the model; see [`Vocab::tokenize`](crate::Vocab::tokenize).
    ///
    /// # Errors
    /// See [`VocabError`].
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        self.model.vocab().tokenize(text, add_special, parse_special)
    }

    /// Tokens to text; see [`Vocab::detokenize`](crate::Vocab::detokenize).
    ///
    /// # Errors
    /// See [`VocabError`].
    pub fn detokenize(&self, tokens: &[TokenId]) -> Result<String, VocabError> {
        self.model.vocab().detokenize(tokens, false, true)
    }

    /// Number formats of its keys and values.
    pub fn kv_types(&self) -> (KvType, KvType) {
        self.config.kv_types()
    }

    /// Bytes of the model and of this context, as llama.cpp counted them.
    pub fn memory_need(&self) -> MemoryNeed {
        self.memory_need
    }

    /// Bytes of intermediate results on one of the model's devices, as llama.cpp counted them.
    pub(crate) fn compute_on(&self, device: &Device) -> u64 {
        let place = self.model.devices().iter().position(|other| other.name == device.name);
        place.and_then(|place| self.computes.get(place)).copied().unwrap_or(0)
    }

    /// Whether its sequences share the cells.
    pub fn is_unified(&self) -> bool {
        self.config.unified_cache
    }

    /// Number of sequences that were asked for: [`max_sequences`](Self::max_sequences) without spare ones.
    pub fn asked_sequences(&self) -> u32 {
        self.config.max_sequences.min(self.resolved.n_seq_max)
    }

    /// Its model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Context size in tokens, shared by its sequences, as llama.cpp rounded it.
    pub fn context_size(&self) -> u32 {
        self.resolved.n_ctx
    }

    /// Tokens that one sequence can hold: all of the context, or its own part where sequences do not share the cells.
    pub fn sequence_size(&self) -> u32 {
        self.resolved.sequence_size(&self.config)
    }

    /// Cells for all sequences together: as many as the context has tokens, or more where each sequence has its own.
    pub fn cells(&self) -> u32 {
        self.resolved.cells(&self.config)
    }

    /// Maximum number of tokens per decode.
    pub fn batch_size(&self) -> u32 {
        self.resolved.n_batch
    }

    /// Maximum number of tokens per decode whose logits can be wanted.
    pub fn max_outputs(&self) -> u32 {
        self.resolved.n_outputs_max.min(self.resolved.n_batch)
    }

    /// Number of sequences.
    pub fn max_sequences(&self) -> u32 {
        self.resolved.n_seq_max
    }

    /// Threads that generate, unless [`Context::set_threads`] has set another number.
    pub fn threads(&self) -> u32 {
        self.resolved.n_threads
    }

    /// Sets the number of threads that the next decodes use, for prompts too: at least 1, at most the number that the context was made with.
    /// Results of attention over more than 512 tokens may differ in the last bits between numbers of threads, which split its sums
    /// (`ggml_compute_forward_flash_attn_ext_f16` in ggml/src/ggml-cpu/ops.cpp).
    pub fn set_threads(&mut self, count: u32) {
        let most = self.resolved.n_threads.max(self.resolved.n_threads_batch);
        let count = count.clamp(1, most);
        if self.threads_in_use == Some(count) {
            return;
        }
        self.threads_in_use = Some(count);
        let ptr = self.ptr();
        let (pool, replaced) =
            self.pools.as_mut().map(|pools| pools.fit(&self.model.here().library, count)).unzip();
        if let Some(pool) = pool {
            // SAFETY: both are live; a pool is freed when another one is attached, or after the context; null means "the same for prompts".
            unsafe { (self.model.api().llama_attach_threadpool)(ptr, pool, std::ptr::null_mut()) };
        }
        drop(replaced);
        let count = count.cast_signed();
        // SAFETY: the context is live, and nothing is being decoded; its pool has as many threads.
        unsafe { (self.model.api().llama_set_n_threads)(ptr, count, count) };
    }

    pub(crate) fn api(&self) -> &Api {
        self.model.api()
    }

    pub(crate) fn ptr(&self) -> *mut llama_context {
        self.handle.ptr.as_ptr()
    }

    pub(crate) fn memory(&self) -> *mut llama_memory {
        // SAFETY: the context is live.
        unsafe { self.api().memory(self.ptr()) }
    }

    /// Number of tokens of the last batch; 0 after one that failed.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Marks all logits as gone, after something has overwritten them.
    pub(crate) fn forget_outputs(&mut self) {
        self.outputs.clear();
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

    fn check(&self, batch: &Batch) -> Result<(), ContextError> {
        if batch.is_empty() {
            return Err(ContextError::EmptyBatch);
        }
        if batch.len() > self.resolved.n_batch as usize {
            return Err(ContextError::BatchTooLarge { tokens: batch.len(), n_batch: self.resolved.n_batch });
        }
        let outputs = batch.outputs.iter().filter(|o| **o).count();
        if outputs > self.resolved.n_outputs_max as usize {
            return Err(ContextError::TooManyOutputs { outputs, max_outputs: self.resolved.n_outputs_max });
        }
        let vocab_size = self.model.vocab().len();
        let positions = self.model.embedding_facts().learned_positions.map_or(i64::MAX, i64::from);
        // The next position of each sequence that the batch touches.
        let mut next: Vec<Option<llama_pos>> = vec![None; self.resolved.n_seq_max as usize];
        for (index, token) in batch.tokens.iter().enumerate() {
            if usize::try_from(*token).map_or(true, |t| t >= vocab_size) {
                return Err(ContextError::TokenOutOfRange { index, token: *token, vocab_size });
            }
            let sequences = &batch.sequences[index];
            let repeated = sequences.iter().enumerate().any(|(i, s)| sequences[..i].contains(s));
            if sequences.is_empty() || repeated {
                return Err(ContextError::BadSequences { index });
            }
            if sequences.len() > 1 && !self.config.unified_cache {
                return Err(ContextError::SplitCells { index });
            }
            for sequence in sequences {
                let slot = self.check_sequence(i64::from(*sequence))?;
                let expected = match next[slot as usize] {
                    Some(expected) => expected,
                    None => self.next_position(slot)?.cast_signed(),
                };
                let position = batch.positions[index];
                if position != expected || position == llama_pos::MAX {
                    return Err(ContextError::WrongPosition { index, sequence: slot, position, expected });
                }
                // Beyond its positions a model reads past their table, and ggml aborts (`ggml_compute_forward_get_rows` in `ggml/src/ggml-cpu/ops.cpp`).
                if i64::from(position) >= positions {
                    return Err(ContextError::UnknownPosition { index, position, positions });
                }
                next[slot as usize] = Some(expected + 1);
            }
        }
        Ok(())
    }

    pub(crate) fn check_sequence(&self, sequence: i64) -> Result<u32, ContextError> {
        let n_seq_max = self.resolved.n_seq_max;
        match u32::try_from(sequence) {
            Ok(slot) if slot < n_seq_max => Ok(slot),
            _ => Err(ContextError::SequenceOutOfRange { sequence, n_seq_max }),
        }
    }

    fn describe_outputs(&self) -> String {
        let rows: Vec<_> =
            self.outputs.iter().enumerate().filter(|(_, o)| **o).map(|(i, _)| i.to_string()).collect();
        match rows.len() {
            0 => "none".to_owned(),
            1..=8 => rows.join(", "),
            n => format!("{n} tokens, {} to {}", rows[0], rows[n - 1]),
        }
    }

    /// Whether decoding uses a thread pool of its own.
    #[doc(hidden)]
    pub fn has_threadpool(&self) -> bool {
        self.pools.is_some()
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
