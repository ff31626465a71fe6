//! Contexts: a model's working memory.

mod decoding;
mod making;

use crate::abort::AbortSource;
use crate::adapter::Adapter;
use crate::batch::{CBatch, TokenId};
use crate::capture::TensorTap;
use crate::context_config::{ContextConfig, KvType, Resolved};
use crate::control_vector::ControlSum;
use crate::device::Device;
use crate::held::Held;
use crate::memory_need::MemoryNeed;
use crate::model::Model;
use crate::pooling::Pooling;
use crate::threadpools::Threadpools;
use crate::vocab_error::VocabError;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use tabagent_sys::{Api, Thrown, llama_batch, llama_context, llama_memory};

/// A context: the KV cache of some sequences, and the buffers to decode with.
///
/// It moves between threads but is used by one at a time; decoding takes `&mut self`. It keeps its model alive.
pub struct Context {
    // Fields are dropped in this order: the context before its threads, its tap, its adapters and its model.
    handle: OwnedContext,
    pub(crate) pools: Option<Threadpools>,
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
    pub(crate) broken: Option<Thrown>,
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

impl Context {
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

    /// Threads that read prompts, unless [`Context::set_threads`] has set another number.
    pub fn prompt_threads(&self) -> u32 {
        self.resolved.n_threads_batch
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
        if let Some(pools) = &mut self.pools {
            let pool = pools.fit(&self.model.here().library, count);
            // SAFETY: both are live; a pool is freed when a graph was computed with another one, or after the context; null means "the same for prompts".
            unsafe { (self.model.api().llama_attach_threadpool)(ptr, pool, std::ptr::null_mut()) };
        }
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

    /// Whether decoding uses a thread pool of its own.
    #[doc(hidden)]
    pub fn has_threadpool(&self) -> bool {
        self.pools.is_some()
    }
}
