//! Errors of contexts.

use crate::adapter_error::{AdapterError, ControlVectorError};
use crate::vocab_error::VocabError;
use tabagent_sys::{Thrown, UnsupportedSetting};

/// Where memory was short, in words.
fn on(device: Option<&str>) -> String {
    device.map(|device| format!(" on `{device}`")).unwrap_or_default()
}

/// What gives a context more room, in words.
fn more_room(device: Option<&str>) -> &'static str {
    if device.is_some() {
        "put fewer layers there with `gpu_layers`"
    } else {
        "raise the limits of the process"
    }
}

/// An option of a context is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextConfigError {
    /// A number out of its range.
    #[error("`{option}` must be between {minimum} and {maximum}, got `{got}`")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// The smallest allowed value.
        minimum: u32,
        /// The largest allowed value.
        maximum: u32,
        /// What was given.
        got: u64,
    },
    /// A number format in blocks that do not divide the model's heads.
    #[error(
        "`kv_type` `{kv_type}` stores blocks of {block} numbers, and this model has heads of {size}; take `f16`, `bf16` or `f32`"
    )]
    KvTypeBlocks {
        /// The format.
        kv_type: &'static str,
        /// Numbers of a block.
        block: u32,
        /// Numbers of a head.
        size: u32,
    },
    /// A number format of values that only fused attention reads.
    #[error(
        "`kv_type` `{kv_type}` needs fused attention; leave `flash_attention` on `auto`, or take `f16`, `bf16` or `f32`"
    )]
    KvTypeNeedsFlashAttention {
        /// The format.
        kv_type: &'static str,
    },
    /// A number format of values that only fused attention reads, and an architecture that llama.cpp runs without it.
    #[error(
        "`kv_type` `{kv_type}` needs fused attention, which llama.cpp does not use for `{architecture}`; take `f16`, `bf16` or `f32`"
    )]
    KvTypeWithoutFlashAttention {
        /// The format.
        kv_type: &'static str,
        /// The architecture.
        architecture: String,
    },
    /// Two number formats, and a model that keeps keys and values together.
    #[error(
        "`kv_type` `{keys}` for keys and `{values}` for values: `{architecture}` keeps both as one, so take one type for both"
    )]
    KvTypesDiffer {
        /// The format of the keys.
        keys: &'static str,
        /// The format of the values.
        values: &'static str,
        /// The architecture.
        architecture: String,
    },
    /// A pattern of names that cannot be read.
    #[error(
        "pattern `{pattern}` of `captures` cannot be read: {problem}; write `*` for any text, `?` for one character and `[ab]` for one of several"
    )]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A name that does not exist.
    #[error("unknown `{option}` `{got}`; known are {known}")]
    UnknownName {
        /// The option.
        option: &'static str,
        /// What was given.
        got: String,
        /// The known names.
        known: String,
    },
}

/// A context could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The model is in another process.
    #[error(
        "this model runs in another process, where its own stream of requests is all there is: `create_context`, and drafting for other models \
         (`Draft`), need it in this one; load it without `isolation`"
    )]
    Elsewhere,
    /// An option is unusable.
    #[error(transparent)]
    Config(#[from] ContextConfigError),
    /// The model holds no weights.
    #[error(
        "llama.cpp has the vocabulary of this model alone, which was loaded with `vocab_only` or `engine='rust'`; load it with its weights to decode"
    )]
    VocabOnly,
    /// The model cannot generate.
    #[error("`{architecture}` models do not generate text: {reason}")]
    NotGenerative {
        /// The architecture.
        architecture: String,
        /// Why not.
        reason: &'static str,
    },
    /// The model gives no vectors.
    #[error("`{architecture}` models give no embeddings: {reason}")]
    NotEmbedding {
        /// The architecture.
        architecture: String,
        /// Why not.
        reason: &'static str,
    },
    /// The model does not rank documents.
    #[error("this `{architecture}` model has no classifier that ranks documents; load a reranking model")]
    NotRanking {
        /// The architecture.
        architecture: String,
    },
    /// A vector that the last batch did not compute.
    #[error(
        "no vector for {what} {index}: it was not in the last batch, or the context pools in another way"
    )]
    NoVector {
        /// `token` or `sequence`.
        what: &'static str,
        /// Its number.
        index: usize,
    },
    /// The KV cache does not fit in memory.
    #[error(
        "a context of {context_size} tokens needs about {} MiB for its KV cache and {} MiB are available; lower `context_size`",
        needed >> 20, available >> 20
    )]
    OutOfMemory {
        /// Tokens asked for.
        context_size: u32,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// llama.cpp could not allocate memory.
    #[error("no memory{} for a context of {context_size} tokens; lower `context_size`, or {}", on(device.as_deref()), more_room(device.as_deref()))]
    NoMemory {
        /// Tokens asked for.
        context_size: u32,
        /// The device whose memory did not suffice; `None` for the host's.
        device: Option<String>,
    },
    /// llama.cpp refused to make the context.
    #[error("llama.cpp cannot create the context: {}", crate::model_error::reason(log))]
    Refused {
        /// The errors it logged.
        log: Vec<String>,
    },
    /// llama.cpp failed to save or load a state.
    #[error("llama.cpp could not {task}")]
    StateFailed {
        /// What it was asked to do.
        task: &'static str,
    },
    /// A snapshot of another context.
    #[error("the snapshot is of another context; restore it in the context that it was taken of")]
    OtherContext,
    /// No tokens to decode.
    #[error("the batch is empty; add at least one token")]
    EmptyBatch,
    /// More tokens than one decode takes.
    #[error(
        "the batch has {tokens} tokens but one decode takes at most {n_batch}; split it or raise `batch_size`"
    )]
    BatchTooLarge {
        /// Tokens in it.
        tokens: usize,
        /// The limit.
        n_batch: u32,
    },
    /// More logits wanted than the context has room for.
    #[error(
        "the batch wants logits of {outputs} tokens but the context keeps at most {max_outputs}; raise `max_outputs`"
    )]
    TooManyOutputs {
        /// Tokens that want logits.
        outputs: usize,
        /// The limit.
        max_outputs: u32,
    },
    /// A token id out of range.
    #[error("token {index} is `{token}`, but ids go from 0 to {}", vocab_size.saturating_sub(1))]
    TokenOutOfRange {
        /// Its index in the batch.
        index: usize,
        /// The id.
        token: i32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A sequence that does not exist.
    #[error("sequence `{sequence}` does not exist; this context has {n_seq_max} (`max_sequences`)")]
    SequenceOutOfRange {
        /// The sequence asked for.
        sequence: i64,
        /// How many there are.
        n_seq_max: u32,
    },
    /// A token of several sequences, which have cells of their own.
    #[error(
        "token {index} belongs to several sequences, which have cells of their own; make the context with `kv_unified`"
    )]
    SplitCells {
        /// Its index in the batch.
        index: usize,
    },
    /// A token in no sequence, or twice in one.
    #[error("token {index} must be in at least one sequence, and in each only once")]
    BadSequences {
        /// Its index in the batch.
        index: usize,
    },
    /// A position that does not follow the one before.
    #[error("token {index} has position {position} in sequence {sequence}, which continues at {expected}")]
    WrongPosition {
        /// Its index in the batch.
        index: usize,
        /// The sequence.
        sequence: u32,
        /// Its position.
        position: i32,
        /// The position that comes next.
        expected: i32,
    },
    /// A position beyond those that the model has learned.
    #[error("token {index} has position {position}, but this model has learned {positions} positions only")]
    UnknownPosition {
        /// Its index in the batch.
        index: usize,
        /// Its position.
        position: i32,
        /// How many positions there are.
        positions: i64,
    },
    /// An invalid range of positions.
    #[error("positions {start}..{end} are no range")]
    BadRange {
        /// First position.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// No free cells.
    #[error(
        "the context is full: {tokens} more tokens do not fit beside the sequences in its {n_ctx} cells; remove one or raise `context_size`"
    )]
    Full {
        /// Tokens that did not fit.
        tokens: usize,
        /// Cells of the context.
        n_ctx: u32,
    },
    /// The abort flag was raised.
    #[error("the decode was aborted")]
    Aborted,
    /// llama.cpp failed.
    #[error("llama.cpp failed to decode (code {code}): {}", crate::model_error::reason(log))]
    Failed {
        /// What `llama_decode` returned.
        code: i32,
        /// The errors it logged.
        log: Vec<String>,
    },
    /// llama.cpp threw, or failed an assertion, and left the context half changed.
    #[error("llama.cpp failed to decode: {thrown}; this context cannot go on, so load the model again")]
    Broken {
        /// What it threw.
        thrown: Thrown,
    },
    /// Logits that the last decode did not compute.
    #[error("no logits for token {index}: the last decode computed them for {available}")]
    NoLogits {
        /// The index asked for.
        index: usize,
        /// For which tokens there are logits, in words.
        available: String,
    },
    /// A pattern that no tensor of the model's graph matches.
    #[error("no tensor matches `{pattern}` of `captures`; this model has {known} and more")]
    NoSuchTensor {
        /// The pattern.
        pattern: String,
        /// Some of the names that exist.
        known: String,
    },
    /// Captured tensors take more memory than they may.
    #[error(
        "with `{tensor}` the captured tensors take {needed} bytes but may take {limit}; capture fewer, decode fewer tokens at once, or raise `capture_limit`"
    )]
    CapturesTooLarge {
        /// The tensor that did not fit.
        tensor: String,
        /// Bytes needed.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// A captured tensor whose parts cannot be joined.
    #[error(
        "tensor `{tensor}` was computed in {count} micro-batches, whose parts cannot be joined because they are no rows of one width; raise `micro_batch_size`, or decode fewer tokens at once"
    )]
    CaptureInPieces {
        /// The tensor.
        tensor: String,
        /// The number of its parts.
        count: usize,
    },
    /// A captured tensor of a type that holds no numbers.
    #[error("tensor `{tensor}` has a type that is not read as numbers; leave it out of `captures`")]
    CaptureOfNoNumbers {
        /// The tensor.
        tensor: String,
    },
    /// Memory from which a part cannot be removed.
    #[error("this model's memory cannot remove positions {start}..{end} alone; remove the whole sequence")]
    CannotRemove {
        /// First position.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// A copy onto a sequence in use.
    #[error("sequence {sequence} is in use; remove it before copying onto it")]
    SequenceInUse {
        /// The target.
        sequence: u32,
    },
    /// The build of llama.cpp does not support a setting.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedSetting),
    /// The adapters of a context cannot be set in another one.
    #[error(transparent)]
    Adapter(#[from] Box<AdapterError>),
    /// The control vector of a context cannot be set in another one.
    #[error(transparent)]
    ControlVector(#[from] Box<ControlVectorError>),
    /// Tokenizing failed.
    #[error(transparent)]
    Vocab(#[from] VocabError),
}
