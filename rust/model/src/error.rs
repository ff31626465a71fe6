//! What can go wrong with a loaded model, or on the way to one.

use std::io;
use std::path::PathBuf;

use tabagent_chat::ChatTemplateError;
use tabagent_chat::format::ToolChoiceError;
use tabagent_llama::{
    AdapterError, ContextConfigError, ContextError, ControlVectorError, ElsewhereError, LibraryError,
    ModelError, RpcError, VocabError,
};
use tabagent_runtime::{EngineError, QueueFull, RequestError, SubmitError};
use tabagent_sampling::constraint::GrammarError;
use tabagent_sampling::{ConfigError, SampleError};

use crate::draft::DraftError;
use crate::memory::MemoryShortage;
use crate::own_engine::OwnEngineError;
use crate::rewritten::RewriteError;
use crate::session_error::SessionError;
use crate::trial::TrialError;
use crate::value::OptionError;

/// Why a model could not be loaded, or could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that it does not take.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// llama.cpp could not be loaded.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The file could not be loaded.
    #[error(transparent)]
    Load(#[from] ModelError),
    /// It was tried in a child process, which it took down.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The project's own engine does not compute it.
    #[error(transparent)]
    OwnEngine(#[from] OwnEngineError),
    /// It has tensors of a fork of llama.cpp, and could not be rewritten.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// No process could be started for it.
    #[error("cannot load `{}` in a process of its own: `{}` does not start: {source}", path.display(), program.display())]
    NoIsolation {
        /// The file.
        path: PathBuf,
        /// The program of the process.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The program of the process is of another version.
    #[error(
        "the program of model processes is of version {version}, which is not that of this library; install tabagent again"
    )]
    OtherChild {
        /// Its version.
        version: &'static str,
    },
    /// This system has no way to do it.
    #[error(
        "a process of its own for a model (`isolation`) is not supported on this system; load the model without it"
    )]
    IsolationUnsupported,
    /// A server with devices on another machine cannot be used.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Devices of other machines are for a process that may end.
    #[error(
        "devices of other machines (`rpc://`) are for a model in a process of its own (`isolation`), as ggml ends the process in which a connection to one fails; leave them out here"
    )]
    RpcInThisProcess,
    /// The process that has the model refused it, or has ended.
    #[error(transparent)]
    Elsewhere(#[from] ElsewhereError),
    /// It does not fit into memory.
    #[error(transparent)]
    Memory(#[from] MemoryShortage),
    /// The context could not be made, or the model cannot generate.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// An adapter could not be loaded or used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A control vector could not be loaded or used.
    #[error(transparent)]
    ControlVector(#[from] ControlVectorError),
    /// A text could not be tokenized, or tokens could not be turned into text.
    #[error(transparent)]
    Vocab(#[from] VocabError),
    /// The sampler's settings are wrong.
    #[error(transparent)]
    Sampler(#[from] ConfigError),
    /// No token can be chosen from the logits.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A schema or grammar cannot be compiled or begun.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// A chat template is none, failed, or refused the conversation.
    #[error(transparent)]
    Chat(#[from] ChatTemplateError),
    /// A choice of tools that cannot be met.
    #[error(transparent)]
    ToolChoice(#[from] ToolChoiceError),
    /// The request is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The model was closed, is used in a forked child, or its decode thread has failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// As many requests wait as may.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// A prompt that is surely too long, which was not tokenized.
    #[error(
        "prompt has at least {fewest} tokens but the context holds {n_ctx}; raise `context_size` or shorten the prompt"
    )]
    PromptTooLong {
        /// The fewest tokens that the text can have.
        fewest: usize,
        /// Tokens that the context holds.
        n_ctx: usize,
    },
    /// A text with more tokens than fit.
    #[error(
        "`{name}` has {tokens} tokens and {longest} fit; shorten it, cut it with `truncate=True`, or raise `context_size` if the model knows longer texts"
    )]
    TextTooLong {
        /// What the text is called.
        name: String,
        /// Its tokens.
        tokens: usize,
        /// How many fit.
        longest: usize,
    },
    /// A query and a document with more tokens together than fit.
    #[error(
        "`{name}` and `query` have {tokens} tokens together, {query} of them beside the document, and {longest} fit; shorten them, cut documents with `truncate=True`, or raise `context_size` if the model knows longer texts"
    )]
    PairTooLong {
        /// What the document is called.
        name: String,
        /// Tokens that are not the document's.
        query: usize,
        /// All tokens.
        tokens: usize,
        /// How many fit.
        longest: usize,
    },
    /// A text without tokens.
    #[error("`{name}` has no tokens, and this model adds none to a text; give it some text")]
    NoTokens {
        /// What the text is called.
        name: String,
    },
    /// More dimensions than a vector has.
    #[error(
        "`dimensions` must be between 1 and {width}, the width of this model's vectors, got {dimensions}"
    )]
    TooManyDimensions {
        /// How many were asked for.
        dimensions: usize,
        /// How many there are.
        width: usize,
    },
    /// A result that is not finite.
    #[error(
        "the result for `{name}` has numbers that are not finite, so the weights are damaged or too coarse; load the model with `check_tensors=True` to find out"
    )]
    NotFinite {
        /// What the text is called.
        name: String,
    },
    /// A model that was not made to rank documents.
    #[error("{source}, or `embed` query and documents and compare their vectors by the scalar product")]
    NoClassifier {
        /// What the context says.
        source: ContextError,
    },
    /// A model that was not made to fill in.
    #[error(
        "this model cannot fill in: its vocabulary has no token for {missing}; take a model that was trained for it, such as Qwen2.5-Coder"
    )]
    NoInfill {
        /// What there is no token for.
        missing: String,
    },
    /// Vectors are no longer wanted.
    #[error("the work was stopped before it was done")]
    Stopped,
    /// A model cannot draft for another one.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// A session cannot do what was asked of it, or cannot be saved or loaded.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A grammar whose tokens are those of another model.
    #[error("`grammar` was compiled by another model; compile it with this model's `compile_grammar`")]
    ForeignGrammar,
    /// Texts among the breakers, and no vocabulary to find them in.
    #[error("`dry_breakers` has texts, which need a vocabulary; give `model`, or sequences of token ids")]
    BreakersWithoutModel,
}

impl From<ContextConfigError> for Error {
    fn from(error: ContextConfigError) -> Self {
        Self::Context(error.into())
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Request(error) => Self::Request(error),
            SubmitError::Engine(error) => Self::Engine(error),
            SubmitError::QueueFull(error) => Self::QueueFull(error),
        }
    }
}
