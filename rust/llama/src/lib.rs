//! Safe models, contexts and tokenizers over a llama.cpp library that is loaded at run time.
//!
//! [`Library::open`] brings llama.cpp into the process once and for good; [`Model::load`] reads a GGUF file with it;
//! [`Model::create_context`] gives a [`Context`] that decodes. Everything on which the C side would abort is checked here
//! first and comes back as a typed error.
//!
//! ```no_run
//! use tabagent_llama::{Batch, ContextConfig, Library, Model, ModelConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let library = Library::open("/opt/tabagent/lib")?;
//! let model = Model::load(&library, ModelConfig::new("model.gguf")?)?;
//! let mut context = model.create_context_with(&ContextConfig::new().with_context_size(512))?;
//! let tokens = context.tokenize("Once upon a time", true, false)?;
//! context.decode(&Batch::prompt(0, 0, &tokens))?;
//! let logits = context.logits(tokens.len() - 1)?;
//! assert_eq!(logits.len(), model.vocab().len());
//! # Ok(())
//! # }
//! ```

mod abort;
mod adapter;
mod adapter_error;
mod added_backends;
mod additions;
mod available;
mod batch;
mod beginnings;
mod big_stack;
mod budget;
mod capture;
mod context;
mod context_config;
mod context_error;
mod control_vector;
mod cpu_module;
mod detokenize;
mod device;
mod elsewhere;
mod embedding_context;
mod embedding_facts;
mod exit_guard;
mod fingerprint;
mod guard;
mod held;
mod layer_shares;
mod library;
mod library_error;
mod log;
mod memory;
mod memory_need;
mod model;
mod model_config;
mod model_error;
mod model_facts;
mod outline;
mod overrides;
mod parts;
mod placement;
mod pooling;
mod preflight;
mod progress;
mod prompt;
mod rpc;
mod sequence_state;
mod shared_memory;
mod slow_text;
mod special_text;
mod spelling;
mod state;
mod state_reader;
mod streams;
mod strings;
mod tensor;
mod threadpool;
mod threadpools;
mod token_attributes;
mod vocab;
mod vocab_error;
mod vocab_kind;
mod vocab_table;
mod weight_bytes;

pub use abort::Stop;
pub use adapter::{Adapter, AdapterFacts};
pub use adapter_error::{AdapterError, ControlVectorError};
pub use added_backends::AddedBackends;
pub use additions::Additions;
pub use batch::{Batch, SeqId, TokenId};
pub use capture::Captured;
pub use context::Context;
pub use context_config::{CAPTURE_LIMIT, ContextConfig, FlashAttention, KvType};
pub use context_error::{ContextConfigError, ContextError};
pub use control_vector::{ControlSum, ControlVector};
pub use cpu_module::ModuleChoice;
pub use detokenize::DetokenizeOptions;
pub use device::{Device, DeviceKind};
pub use elsewhere::{Elsewhere, ElsewhereError, FileFault, ModelCopy, VocabCopy};
pub use embedding_context::{EmbeddingConfig, EmbeddingContext};
pub use embedding_facts::EmbeddingFacts;
pub use exit_guard::{AtWork, die_by_signals, guard_exit, leave_at_once, leave_no_core};
pub use guard::{catches_exceptions, set_crash_file};
pub use library::{Library, LibraryInfo};
pub use library_error::LibraryError;
pub use log::{LogLevel, LogRecord, drain_log, echo_log, note, relay, set_log_level};
pub use memory_need::{DeviceNeed, DryModel, MemoryCount, MemoryNeed, available_memory};
pub use model::Model;
pub use model_config::{GpuLayers, ModelConfig};
pub use model_error::ModelError;
pub use model_facts::ModelFacts;
pub use outline::ModelOutline;
pub use parts::TextPart;
pub use placement::{Placement, SplitMode};
pub use pooling::Pooling;
pub use prompt::Prompt;
#[cfg(unix)]
pub use rpc::RpcServerConfig;
pub use rpc::{RPC_PORT, RpcAddress, RpcAddressError, RpcError, RpcGreeting, greet};
pub use sequence_state::{MemoryKind, StateShape};
pub use shared_memory::SharedMemory;
pub use state::{SEQUENCE_SETTINGS, SequenceSnapshot, StateError};
pub use tabagent_gguf::MetadataOverride;
pub use token_attributes::TokenAttributes;
pub use vocab::Vocab;
pub use vocab_error::VocabError;
pub use vocab_kind::VocabKind;
pub use vocab_table::VocabTable;

/// What errors of this crate say of a library, in types of `tabagent-sys`.
pub use tabagent_sys::{
    AbiMismatch, BinaryFormat, LoadFailure, MissingSymbols, Thrown, ThrownKind, UnsupportedFeature,
    UnsupportedSetting,
};
