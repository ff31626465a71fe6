//! A loaded model as an application uses it, behind whichever face (Python, HTTP).
//!
//! [`LibraryPlaces`] chooses the llama.cpp library, [`Model::load`] loads a model with it and starts its decode thread, and a [`Model`] tokenizes,
//! generates, scores, embeds, ranks and compiles grammars. Options come as plain structs ([`LoadOptions`], [`GenerateOptions`], [`SamplerSettings`],
//! [`GrammarRequest`]), each of which also reads itself from a [`Value`]: what a face has of them before it knows their types, such as a Python dict
//! or a JSON body.
//!
//! Calls block, some of them for long; a face decides on which thread they run. Nothing here knows Python or HTTP.

mod adapter_set;
mod cache_options;
mod changes;
mod chat;
mod child;
mod context_options;
mod decoder;
mod draft;
mod embed;
mod error;
mod error_kind;
mod failure;
mod figures;
mod generate;
mod generating;
mod grammar;
mod infill;
mod isolation;
mod last_words;
mod library;
mod load;
mod memory;
mod model;
mod offload;
mod open;
mod own_engine;
mod placement_options;
mod pool;
mod prefix_folder;
mod probe;
mod prompt;
mod rewritten;
mod rpc_server;
mod session;
mod session_error;
mod session_file;
mod session_saving;
mod settings;
mod stopwatch;
mod texts;
mod thought;
mod thread_count;
mod threads_in_use;
mod token_table;
mod trial;
mod value;
mod vocabulary_facts;

pub use adapter_set::AdapterSet;
pub use cache_options::CacheOptions;
pub use changes::Changes;
pub use chat::{
    CallGrammar, ChatEvent, ChatFinish, ChatPoll, ChatPrompt, ChatRequest, ChatStream, PreparedChat,
    ThinkingBudget,
};
pub use child::run_child;
pub use decoder::LlamaDecoder;
pub use draft::{Draft, DraftError, DraftLimits};
pub use embed::{EmbedOptions, RerankOptions, TextPooling, Vectors};
pub use error::Error;
pub use error_kind::ErrorKind;
pub use failure::Failure;
pub use figures::prometheus;
pub use generate::{GenerateOptions, WORTH_CACHING};
pub use generating::distribution;
pub use grammar::GrammarRequest;
pub use infill::{InfillFile, InfillRequest};
pub use isolation::{Isolation, read_messages};
pub use library::{
    LibraryPlaces, VariantError, describe_library, open_library, open_library_adding, open_library_unverified,
};
pub use load::LoadOptions;
pub use memory::{Fitted, MemoryPrediction, MemoryShortage};
pub use model::Model;
pub use offload::Offload;
pub use open::ContextSizes;
pub use own_engine::{EngineChoice, OwnEngine, OwnEngineError};
pub use pool::{
    LoadFailure, ModelPool, PoolError, PoolLease, PoolModel, PoolOptions, PoolPhase, PoolSource, PoolTicket,
    Pooled, Stay, Watch,
};
pub use prefix_folder::DiskCache;
pub use probe::Probe;
pub use prompt::PromptInput;
pub use rewritten::{RewriteError, Rewritten};
pub use session::Session;
pub use session_error::SessionError;
pub use session_file::SessionFile;
pub use settings::SamplerSettings;
pub use thought::ThoughtOptions;
pub use threads_in_use::ThreadsInUse;
pub use token_table::token_table;
pub use trial::{Trial, TrialError};
pub use value::{Fields, OptionError, Value};
pub use vocabulary_facts::Breaker;

pub use tabagent_chat::format::{Delta, ParsedCall, ParsedMessage, ToolChoice, ToolChoiceError, Unenforced};
pub use tabagent_chat::{ChatTemplate, ChatTemplateError, Conversation};
pub use tabagent_llama::{
    Adapter, AdapterError, AdapterFacts, AddedBackends, AtWork, Batch, CAPTURE_LIMIT, Captured, Context,
    ContextConfigError, ContextError, ControlSum, ControlVector, ControlVectorError, DetokenizeOptions,
    Device, DeviceNeed, ElsewhereError, EmbeddingFacts, FileFault, FlashAttention, KvType, Library,
    LibraryError, LogLevel, LogRecord, MemoryKind, MemoryNeed, MetadataOverride, Model as LlamaModel,
    ModelError, Pooling, Prompt, RPC_PORT, RpcAddress, RpcError, StateError, StateShape, TokenAttributes,
    TokenId, Vocab, VocabError, VocabKind, drain_log, guard_exit, note, set_crash_file, set_log_level,
};
pub use tabagent_runtime::{
    AbortFlag, ContextShift, EngineError, EngineStats, Finish, FinishReason, HookPoll, HookWorker, HookedRow,
    LogprobsMode, Lookup, Metrics, OnCrash, Overflow, Poll, PromptProgress, QueueFull, RequestError,
    ScoreRequest, StopMatch, StreamId, Summary, Timings, TokenEvent, TokenLogprob, TokenStream, TopLogprob,
    Usage,
};
pub use tabagent_sampling::constraint::{
    AfterConstruct, GrammarError, GrammarOptions, GrammarSource, Trigger, TriggerStart, Whitespace,
};
pub use tabagent_sampling::{ConfigError, SamplerConfig, Stage};
