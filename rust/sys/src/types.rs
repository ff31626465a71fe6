//! The C types that cross the boundary, under their C names.
#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_void};

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
            _marker: std::marker::PhantomData<(*mut u8, std::marker::PhantomPinned)>,
        }
    )*};
}

opaque! {
    /// A loaded model (`struct llama_model`).
    llama_model;
    /// The vocabulary inside a model (`struct llama_vocab`); lives as long as its model.
    llama_vocab;
    /// An inference context (`struct llama_context`).
    llama_context;
    /// The KV cache or recurrent state of a context (`struct llama_memory_i`); lives as long as its context.
    llama_memory;
    /// A compute device of ggml (`struct ggml_backend_device`); never freed.
    ggml_backend_device;
    /// A kind of memory that tensors can lie in (`struct ggml_backend_buffer_type`); never freed.
    ggml_backend_buffer_type;
    /// A registered backend of ggml (`struct ggml_backend_reg`); never freed.
    ggml_backend_reg;
    /// A thread pool of ggml's CPU backend (`struct ggml_threadpool`).
    ggml_threadpool;
    /// A loaded low-rank adapter (`struct llama_adapter_lora`); freed with its model, unless it was freed before.
    llama_adapter_lora;
    /// A tensor of a compute graph (`struct ggml_tensor`). Its fields are read where [`TensorLayout`](crate::TensorLayout) says they are.
    ggml_tensor;
}

/// A token id (`llama_token`).
pub type llama_token = i32;
/// A position in a sequence (`llama_pos`).
pub type llama_pos = i32;
/// The number of a sequence in a context (`llama_seq_id`).
pub type llama_seq_id = i32;

macro_rules! c_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:expr,)* }) => {
        $(#[$doc])*
        ///
        /// A newtype over the integer: C may hand us any value, and a Rust enum with an unknown value is undefined behaviour.
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub i32);
        impl $name {
            $($(#[$vdoc])* pub const $variant: Self = Self($value);)*
            /// Every value of the pinned header that this crate uses, with its C suffix, for the header test.
            pub const ALL: &'static [(&'static str, i32)] = &[$((stringify!($variant), $value),)*];
        }
    };
}

c_enum! {
    /// `enum llama_vocab_type`
    llama_vocab_type {
        /// No vocabulary.
        NONE = 0,
        /// `SentencePiece`: byte-level BPE with byte fallback.
        SPM = 1,
        /// GPT-2 byte-level BPE.
        BPE = 2,
        /// `WordPiece`.
        WPM = 3,
        /// Unigram (T5).
        UGM = 4,
        /// Greedy (RWKV).
        RWKV = 5,
        /// `PLaMo-2`.
        PLAMO2 = 6,
    }
}

c_enum! {
    /// `enum llama_load_mode`: how weights come into memory.
    llama_load_mode {
        /// Chosen by what the devices can do.
        AUTO = -1,
        /// Read into allocated memory.
        NONE = 0,
        /// Memory-mapped.
        MMAP = 1,
        /// Read, and locked in RAM.
        MLOCK = 2,
        /// Memory-mapped, and locked in RAM.
        MMAP_MLOCK = 3,
        /// Direct I/O.
        DIRECT_IO = 4,
    }
}

c_enum! {
    /// `enum llama_pooling_type`: how token embeddings become one per sequence.
    llama_pooling_type {
        /// The model's own.
        UNSPECIFIED = -1,
        /// One embedding a token.
        NONE = 0,
        /// Mean over tokens.
        MEAN = 1,
        /// The first token's.
        CLS = 2,
        /// The last token's.
        LAST = 3,
        /// Reranking score.
        RANK = 4,
    }
}

c_enum! {
    /// `enum llama_flash_attn_type`
    llama_flash_attn_type {
        /// On where the backend can.
        AUTO = -1,
        /// Off.
        DISABLED = 0,
        /// On.
        ENABLED = 1,
    }
}

c_enum! {
    /// `enum ggml_type`, the ones allowed for KV caches.
    ggml_type {
        /// 32-bit float.
        F32 = 0,
        /// 16-bit float.
        F16 = 1,
        /// 4-bit, block scale.
        Q4_0 = 2,
        /// 4-bit, block scale and minimum.
        Q4_1 = 3,
        /// 5-bit, block scale.
        Q5_0 = 6,
        /// 5-bit, block scale and minimum.
        Q5_1 = 7,
        /// 8-bit, block scale.
        Q8_0 = 8,
        /// 4-bit, non-linear.
        IQ4_NL = 20,
        /// Brain float.
        BF16 = 30,
    }
}

c_enum! {
    /// `enum ggml_log_level`
    ggml_log_level {
        /// No level.
        NONE = 0,
        /// Debug.
        DEBUG = 1,
        /// Info.
        INFO = 2,
        /// Warning.
        WARN = 3,
        /// Error.
        ERROR = 4,
        /// Continues the line before.
        CONT = 5,
    }
}

c_enum! {
    /// `enum ggml_backend_dev_type`
    ggml_backend_dev_type {
        /// The CPU.
        CPU = 0,
        /// A GPU with its own memory.
        GPU = 1,
        /// A GPU that shares the host's memory.
        IGPU = 2,
        /// An accelerator used together with the CPU (BLAS, AMX).
        ACCEL = 3,
        /// A device made of other devices.
        META = 4,
    }
}

c_enum! {
    /// `enum llama_split_mode`: how several devices share a model.
    llama_split_mode {
        /// One device has all of it.
        NONE = 0,
        /// Each has some of the layers.
        LAYER = 1,
        /// Each has some rows of each matrix.
        ROW = 2,
        /// Each has a part of each tensor and of the cache.
        TENSOR = 3,
    }
}

c_enum! {
    /// `enum llama_model_kv_override_type`
    llama_model_kv_override_type {
        /// `int64_t`
        INT = 0,
        /// `double`
        FLOAT = 1,
        /// `bool`
        BOOL = 2,
        /// `char[128]`
        STR = 3,
    }
}

/// `struct llama_model_kv_override`: one replaced metadata value; an array of them ends with an empty key.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llama_model_kv_override {
    /// Which member of `value` counts.
    pub tag: llama_model_kv_override_type,
    /// NUL-terminated key.
    pub key: [u8; 128],
    /// The C union, as its largest member; integers, floats and bools lie in its first bytes.
    pub value: KvOverrideValue,
}

/// The union inside [`llama_model_kv_override`]: 128 bytes, aligned as `int64_t`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct KvOverrideValue(pub [u8; 128]);

/// `struct llama_model_tensor_buft_override`: the memory for tensors whose names match; an array of them ends with one without a pattern.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llama_model_tensor_buft_override {
    /// A NUL-terminated regular expression of C++ that matches a part of the tensor's name; null ends the array.
    pub pattern: *const c_char,
    /// The memory to take.
    pub buft: *mut ggml_backend_buffer_type,
}

/// `struct llama_batch`, as a superset of every layout since build 3681.
///
/// The pinned struct has the first seven fields (56 bytes); builds before 3943 read three integers after them. Passed by value
/// in memory, so the longer form serves both.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct llama_batch {
    /// How many tokens.
    pub n_tokens: i32,
    /// Their ids.
    pub token: *mut llama_token,
    /// Embeddings instead of ids; null here.
    pub embd: *mut f32,
    /// Their positions.
    pub pos: *mut llama_pos,
    /// In how many sequences each is.
    pub n_seq_id: *mut i32,
    /// In which sequences each is.
    pub seq_id: *mut *mut llama_seq_id,
    /// Whether each one's logits are wanted.
    pub logits: *mut i8,
    /// Fields of builds before 3943, zero.
    pub legacy: [i32; 4],
}

/// `struct ggml_threadpool_params`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ggml_threadpool_params {
    /// Cores to run on; all false means no affinity.
    pub cpumask: [bool; 512],
    /// Threads, the calling one included.
    pub n_threads: i32,
    /// Priority, 0 is normal.
    pub prio: i32,
    /// How long a waiting thread polls before it sleeps, 0 to 100.
    pub poll: u32,
    /// Pin each thread to one core.
    pub strict_cpu: bool,
    /// Start paused.
    pub paused: bool,
}

/// `ggml_log_callback`
pub type ggml_log_callback = Option<unsafe extern "C-unwind" fn(ggml_log_level, *const c_char, *mut c_void)>;
/// `llama_progress_callback`: progress from 0 to 1; returning false cancels the load.
pub type llama_progress_callback = unsafe extern "C-unwind" fn(f32, *mut c_void) -> bool;
/// `ggml_abort_callback`: returning true ends the computation.
pub type ggml_abort_callback = unsafe extern "C-unwind" fn(*mut c_void) -> bool;
/// `ggml_backend_sched_eval_callback`: asked (`true`) whether the tensor's value is wanted, and told (`false`) when it is computed.
pub type ggml_backend_sched_eval_callback =
    unsafe extern "C-unwind" fn(*mut ggml_tensor, bool, *mut c_void) -> bool;
/// `ggml_threadpool_new`, found through the CPU backend's `get_proc_address`.
pub type ggml_threadpool_new_fn =
    unsafe extern "C-unwind" fn(*mut ggml_threadpool_params) -> *mut ggml_threadpool;
/// `ggml_threadpool_free`, found the same way.
pub type ggml_threadpool_free_fn = unsafe extern "C-unwind" fn(*mut ggml_threadpool);
