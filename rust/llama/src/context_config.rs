//! How to make a context.

use crate::capture::check_patterns;
use crate::context_error::ContextConfigError;
use serde::{Deserialize, Serialize};
use tabagent_gguf::usable_cores;
use tabagent_sys::{ggml_type, llama_flash_attn_type};

/// The number format of a KV cache. Other ggml types crash llama.cpp and cannot be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KvType {
    /// 32-bit float.
    F32,
    /// 16-bit float, the default.
    #[default]
    F16,
    /// Brain float.
    Bf16,
    /// 8 bits.
    Q8_0,
    /// 5 bits with minimum.
    Q5_1,
    /// 5 bits.
    Q5_0,
    /// 4 bits with minimum.
    Q4_1,
    /// 4 bits.
    Q4_0,
    /// 4 bits, non-linear.
    Iq4Nl,
}

impl KvType {
    const ALL: [(&'static str, Self); 9] = [
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("q8_0", Self::Q8_0),
        ("q5_1", Self::Q5_1),
        ("q5_0", Self::Q5_0),
        ("q4_1", Self::Q4_1),
        ("q4_0", Self::Q4_0),
        ("iq4_nl", Self::Iq4Nl),
    ];

    /// The names of all, as they are parsed.
    pub fn names() -> [&'static str; 9] {
        Self::ALL.map(|(name, _)| name)
    }

    pub(crate) fn to_c(self) -> ggml_type {
        match self {
            Self::F32 => ggml_type::F32,
            Self::F16 => ggml_type::F16,
            Self::Bf16 => ggml_type::BF16,
            Self::Q8_0 => ggml_type::Q8_0,
            Self::Q5_1 => ggml_type::Q5_1,
            Self::Q5_0 => ggml_type::Q5_0,
            Self::Q4_1 => ggml_type::Q4_1,
            Self::Q4_0 => ggml_type::Q4_0,
            Self::Iq4Nl => ggml_type::IQ4_NL,
        }
    }

    /// Its name, as it is parsed.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("f16", |(name, _)| *name)
    }

    /// How many values a block has; `None` for formats without blocks.
    pub(crate) fn block(self) -> Option<u32> {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q8_0 | Self::Q5_1 | Self::Q5_0 | Self::Q4_1 | Self::Q4_0 | Self::Iq4Nl => Some(32),
        }
    }

    /// Bytes of 32 values.
    pub(crate) fn bytes_of_32(self) -> u64 {
        match self {
            Self::F32 => 128,
            Self::F16 | Self::Bf16 => 64,
            Self::Q8_0 => 34,
            Self::Q5_1 => 24,
            Self::Q5_0 => 22,
            Self::Q4_1 => 20,
            Self::Q4_0 | Self::Iq4Nl => 18,
        }
    }
}

/// The formats of keys and values in words: one name where both are alike.
pub(crate) fn describe_kv_types((keys, values): (KvType, KvType)) -> String {
    if keys == values { keys.name().to_owned() } else { format!("{} and {}", keys.name(), values.name()) }
}

impl std::str::FromStr for KvType {
    type Err = ContextConfigError;

    fn from_str(name: &str) -> Result<Self, ContextConfigError> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, t)| *t).ok_or_else(|| {
            ContextConfigError::UnknownName {
                option: "kv_type",
                got: name.to_owned(),
                known: Self::names().join(", "),
            }
        })
    }
}

/// When attention runs in one fused operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlashAttention {
    /// Where the device supports it.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always.
    On,
}

impl FlashAttention {
    pub(crate) fn to_c(self) -> llama_flash_attn_type {
        match self {
            Self::Auto => llama_flash_attn_type::AUTO,
            Self::Off => llama_flash_attn_type::DISABLED,
            Self::On => llama_flash_attn_type::ENABLED,
        }
    }
}

/// Settings of a context.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextConfig {
    /// Context size in tokens, shared by all sequences; `None` takes the model's training context, at most 4,096.
    pub context_size: Option<u32>,
    /// Maximum number of tokens per decode; `None` takes 2,048, at most the context.
    pub batch_size: Option<u32>,
    /// Maximum number of tokens computed at once; `None` takes 512, at most the batch.
    pub micro_batch_size: Option<u32>,
    /// Sequences that can exist at once, 1 to 256.
    pub max_sequences: u32,
    /// Sequences beside these, if a micro-batch has tokens enough and if they cost no memory: the model has neither a recurrent state nor a sliding
    /// window, and sequences share their cells.
    pub spare_sequences: u32,
    /// If a micro-batch has fewer tokens than sequences are asked for, take fewer sequences instead of failing.
    pub fits_sequences: bool,
    /// Maximum number of tokens per decode whose logits are wanted; `None` takes the batch size. Fewer save memory.
    pub max_outputs: Option<u32>,
    /// Threads that generate, at most eight per usable core; `None` takes one per usable core ([`tabagent_gguf::usable_cores`]). An application
    /// that knows the machine's physical cores gives their number: `default_threads` of the crate `tabagent-variants`.
    pub threads: Option<u32>,
    /// Threads that read prompts; `None` takes `threads`.
    pub prompt_threads: Option<u32>,
    /// Number format of the KV cache.
    pub kv_type: KvType,
    /// Number format of the cached values, where it is another than that of the keys.
    pub value_type: Option<KvType>,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Keeps the whole context of sliding-window layers, so that earlier tokens can be removed; costs memory.
    pub full_sliding_window: bool,
    /// All sequences share the cells of the cache. Otherwise each has its own part of the context, `context_size / max_sequences` tokens rounded
    /// up to a multiple of 256, and reads only that: faster for many sequences of equal length, but one cannot take what others leave.
    pub unified_cache: bool,
    /// Keep the cache of layers on a GPU there.
    pub offload_cache: bool,
    /// Let GPUs compute with weights that lie in the host's memory.
    pub offload_operations: bool,
    /// Patterns of names, such as `l_out-*`, of tensors inside of the model whose numbers are kept; see [`Context::captures`](crate::Context::captures).
    pub captures: Vec<String>,
    /// Bytes that the captured numbers of one decode may take.
    pub capture_limit: usize,
}

/// Default of [`ContextConfig::capture_limit`]: 1 GiB.
pub const CAPTURE_LIMIT: usize = 1 << 30;

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            context_size: None,
            batch_size: None,
            micro_batch_size: None,
            max_sequences: 1,
            spare_sequences: 0,
            fits_sequences: false,
            max_outputs: None,
            threads: None,
            prompt_threads: None,
            kv_type: KvType::F16,
            value_type: None,
            flash_attention: FlashAttention::Auto,
            full_sliding_window: false,
            unified_cache: true,
            offload_cache: true,
            offload_operations: true,
            captures: Vec::new(),
            capture_limit: CAPTURE_LIMIT,
        }
    }
}

/// Values that were checked against each other and the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) n_ctx: u32,
    pub(crate) n_batch: u32,
    pub(crate) n_ubatch: u32,
    pub(crate) n_seq_max: u32,
    pub(crate) n_outputs_max: u32,
    pub(crate) n_threads: u32,
    pub(crate) n_threads_batch: u32,
}

impl Resolved {
    /// Cells of the cache: more than the context has tokens where sequences have parts of their own, whose sizes are rounded up.
    pub(crate) fn cells(&self, config: &ContextConfig) -> u32 {
        if config.unified_cache {
            self.n_ctx
        } else {
            self.sequence_size(config).saturating_mul(self.n_seq_max)
        }
    }

    /// The tokens that one sequence can hold (`n_ctx_seq` in `llama_context::llama_context`, `src/llama-context.cpp`).
    pub(crate) fn sequence_size(&self, config: &ContextConfig) -> u32 {
        if config.unified_cache {
            self.n_ctx
        } else {
            (self.n_ctx / self.n_seq_max).next_multiple_of(256).max(256)
        }
    }
}

/// Default context size, for models that were trained with at least as much.
const DEFAULT_CONTEXT: u32 = 4096;
/// Largest context size. llama.cpp makes a context in time linear in its cells, and nothing can stop it meanwhile: it writes 52 bytes for each
/// cell (`llama_kv_cells::resize` in `src/llama-kv-cells.h`), clears the cache (`llama_kv_cache::llama_kv_cache` in `src/llama-kv-cache.cpp`),
/// and only then allocates the masks (`llama_context::graph_reserve` in `src/llama-context.cpp`). With 2^24 cells and a model of one layer that
/// takes 3 s; with 2^27 it takes half a minute, until the allocation of 128 GiB of masks fails and everything is freed again. Up to this limit,
/// the memory is checked before llama.cpp asks for it.
const MAX_CONTEXT: u32 = 1 << 24;
/// `LLAMA_MAX_SEQ` (src/llama-cparams.h).
const MAX_SEQUENCES: u32 = 256;
/// `GGML_MAX_N_THREADS` (ggml/include/ggml.h).
const MAX_THREADS: u32 = 512;
/// Maximum number of threads per core. After every operation, threads wait for each other by spinning (`ggml_barrier` in
/// `ggml/src/ggml-cpu/ggml-cpu.c`); with more threads than cores, each first waits for its turn on a core. On 2 cores, a token of a model of two
/// layers takes 3 ms with 2 threads, 4 s with 16 and 9 s with 32.
const THREADS_PER_CORE: u32 = 8;

impl ContextConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tokens that a context has with a model that was trained with `context_train_size`.
    ///
    /// # Errors
    /// [`ContextConfigError::OutOfRange`].
    pub fn tokens(&self, context_train_size: u32) -> Result<u32, ContextConfigError> {
        match self.context_size {
            Some(tokens) => in_range("context_size", tokens, 1, MAX_CONTEXT),
            None if context_train_size == 0 => Ok(DEFAULT_CONTEXT),
            None => Ok(context_train_size.min(DEFAULT_CONTEXT)),
        }
    }

    /// Sets the context size in tokens.
    #[must_use]
    pub fn with_context_size(mut self, tokens: u32) -> Self {
        self.context_size = Some(tokens);
        self
    }

    /// The number formats of the cached keys and values.
    pub fn kv_types(&self) -> (KvType, KvType) {
        (self.kv_type, self.value_type.unwrap_or(self.kv_type))
    }

    /// Sets the number of sequences.
    #[must_use]
    pub fn with_max_sequences(mut self, count: u32) -> Self {
        self.max_sequences = count;
        self
    }

    /// Sets the number of threads, for prompts too.
    #[must_use]
    pub fn with_threads(mut self, count: u32) -> Self {
        self.threads = Some(count);
        self
    }

    /// Sets the batch size in tokens.
    #[must_use]
    pub fn with_batch_size(mut self, tokens: u32) -> Self {
        self.batch_size = Some(tokens);
        self
    }

    /// Keeps the numbers of tensors whose names match a pattern.
    #[must_use]
    pub fn with_capture(mut self, pattern: &str) -> Self {
        self.captures.push(pattern.to_owned());
        self
    }

    pub(crate) fn resolve(&self, context_train_size: u32) -> Result<Resolved, ContextConfigError> {
        check_patterns(&self.captures)?;
        let n_ctx = self.tokens(context_train_size)?;
        let n_batch = match self.batch_size {
            Some(tokens) => in_range("batch_size", tokens, 1, MAX_CONTEXT)?.min(n_ctx),
            None => 2048.min(n_ctx),
        };
        let n_ubatch = match self.micro_batch_size {
            Some(tokens) => in_range("micro_batch_size", tokens, 1, MAX_CONTEXT)?.min(n_batch),
            None => 512.min(n_batch),
        };
        let n_seq_max = in_range("max_sequences", self.max_sequences, 1, MAX_SEQUENCES)?;
        // A micro-batch has at least a token for each sequence, so it grows to the number of sequences. With `fits_sequences`, a micro-batch
        // size that was asked for limits the sequences instead.
        let most = if self.micro_batch_size.is_some() { n_ubatch } else { n_batch };
        let n_seq_max = if self.fits_sequences { n_seq_max.min(most) } else { n_seq_max };
        let n_ubatch = n_ubatch.max(n_seq_max.min(n_batch));
        if n_seq_max > n_ubatch {
            return Err(ContextConfigError::OutOfRange {
                option: "max_sequences",
                minimum: 1,
                maximum: n_ubatch,
                got: u64::from(n_seq_max),
            });
        }
        let n_seq_max = n_seq_max.saturating_add(self.spare_sequences).min(n_ubatch).min(MAX_SEQUENCES);
        let n_outputs_max = match self.max_outputs {
            Some(count) => {
                in_range("max_outputs", count, 1, MAX_CONTEXT)?.min(n_batch).max(n_seq_max.min(n_batch))
            }
            None => n_batch,
        };
        let usable = u32::try_from(usable_cores()).unwrap_or(MAX_THREADS).min(MAX_THREADS);
        let max_threads = usable.saturating_mul(THREADS_PER_CORE).min(MAX_THREADS);
        let n_threads = match self.threads {
            Some(count) => in_range("threads", count, 1, max_threads)?,
            None => usable,
        };
        let n_threads_batch = match self.prompt_threads {
            Some(count) => in_range("prompt_threads", count, 1, max_threads)?,
            None => n_threads,
        };
        Ok(Resolved { n_ctx, n_batch, n_ubatch, n_seq_max, n_outputs_max, n_threads, n_threads_batch })
    }
}

fn in_range(option: &'static str, value: u32, minimum: u32, maximum: u32) -> Result<u32, ContextConfigError> {
    if (minimum..=maximum).contains(&value) {
        Ok(value)
    } else {
        Err(ContextConfigError::OutOfRange { option, minimum, maximum, got: u64::from(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_model_up_to_4096() {
        let config = ContextConfig::new().with_threads(1);
        assert_eq!(config.resolve(2048).unwrap().n_ctx, 2048);
        assert_eq!(config.resolve(131_072).unwrap().n_ctx, 4096);
        assert_eq!(config.resolve(0).unwrap().n_ctx, 4096);
        let small = config.with_context_size(8).resolve(2048).unwrap();
        assert_eq!((small.n_batch, small.n_ubatch, small.n_outputs_max), (8, 8, 8));
    }

    #[test]
    fn what_would_abort_in_c_is_out_of_range() {
        let base = ContextConfig::new().with_threads(1);
        for (config, option) in [
            (base.clone().with_context_size(0), "context_size"),
            (base.clone().with_context_size(u32::MAX), "context_size"),
            (base.clone().with_batch_size(0), "batch_size"),
            (ContextConfig { micro_batch_size: Some(0), ..base.clone() }, "micro_batch_size"),
            (base.clone().with_max_sequences(0), "max_sequences"),
            (base.clone().with_max_sequences(257), "max_sequences"),
            (base.clone().with_max_sequences(9).with_context_size(8), "max_sequences"),
            (ContextConfig { max_outputs: Some(0), ..base.clone() }, "max_outputs"),
            (base.clone().with_threads(0), "threads"),
            (base.clone().with_threads(513), "threads"),
            (ContextConfig { prompt_threads: Some(0), ..base.clone() }, "prompt_threads"),
        ] {
            let text = config.resolve(2048).unwrap_err().to_string();
            assert!(text.starts_with(&format!("`{option}` must be between")), "{text}");
        }
    }

    #[test]
    fn sequences_that_nobody_asked_for_fit_themselves() {
        let base = ContextConfig { fits_sequences: true, ..ContextConfig::new().with_threads(1) }
            .with_max_sequences(8);
        let fitted = |config: &ContextConfig| config.resolve(2048).map(|r| (r.n_seq_max, r.n_ubatch));
        assert_eq!(fitted(&base), Ok((8, 512)));
        assert_eq!(fitted(&base.clone().with_context_size(1)), Ok((1, 1)));
        assert_eq!(fitted(&base.clone().with_batch_size(4)), Ok((4, 4)));
        assert_eq!(fitted(&ContextConfig { micro_batch_size: Some(2), ..base.clone() }), Ok((2, 2)));
        let asked = ContextConfig { fits_sequences: false, ..base.with_batch_size(4) };
        let text = fitted(&asked).unwrap_err().to_string();
        assert_eq!(text, "`max_sequences` must be between 1 and 4, got `8`");
    }

    #[test]
    fn threads_that_would_wait_for_each_other_all_the_time_are_refused() {
        let most = (usable_cores() as u32).saturating_mul(THREADS_PER_CORE).min(MAX_THREADS);
        assert!(ContextConfig::new().with_threads(most).resolve(2048).is_ok());
        let text = ContextConfig::new().with_threads(most + 1).resolve(2048).unwrap_err().to_string();
        assert_eq!(text, format!("`threads` must be between 1 and {most}, got `{}`", most + 1));
    }

    #[test]
    fn kv_types_are_an_allow_list() {
        assert_eq!("q8_0".parse::<KvType>().unwrap(), KvType::Q8_0);
        let text = "i32".parse::<KvType>().unwrap_err().to_string();
        assert!(text.starts_with("unknown `kv_type` `i32`; known are f32, f16"), "{text}");
    }
}
