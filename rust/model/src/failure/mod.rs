//! Errors that know their kind.

mod adapter;
mod chat;
mod draft;
mod gguf;
mod llama;
mod own_engine;
mod runtime;
mod sampling;
mod session;
mod tokenizer;
mod variants;

use std::io;
use std::path::Path;

use tabagent_chat::ChatTemplateError;
use tabagent_gguf::GgufError;
use tabagent_llama::{AdapterError, ElsewhereError, FileFault, VocabError};

use crate::error::Error;
use crate::error_kind::ErrorKind;
use crate::value::OptionError;

/// An error of one of the crates, as a face sees it: its text, its kind, and the wrapped errors whose facts a face may pass on.
pub trait Failure: std::error::Error {
    /// What kind of failure it is.
    fn kind(&self) -> ErrorKind;

    /// The file, and the operating system's error about it; there for errors of the kind [`ErrorKind::Io`] and for no others.
    fn io(&self) -> Option<(&Path, &io::Error)> {
        None
    }

    /// The error of a GGUF file that it is or wraps.
    fn gguf(&self) -> Option<&GgufError> {
        None
    }

    /// What is wrong in which GGUF file, if it is that.
    fn fault(&self) -> Option<FileFault> {
        let elsewhere = self.elsewhere().and_then(|error| error.fault.as_deref().cloned());
        elsewhere.or_else(|| self.gguf().and_then(gguf::fault))
    }

    /// The error of another process that it is or wraps.
    fn elsewhere(&self) -> Option<&ElsewhereError> {
        None
    }

    /// The error of a chat template that it is or wraps.
    fn chat(&self) -> Option<&ChatTemplateError> {
        None
    }
}

impl Failure for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Option(error) => error.kind(),
            Self::Library(error) => error.kind(),
            Self::Load(error) => error.kind(),
            Self::Trial(error) => error.kind(),
            Self::Rewrite(error) => error.kind(),
            Self::OwnEngine(error) => error.kind(),
            Self::NoIsolation { .. } | Self::OtherChild { .. } => ErrorKind::ModelLoad,
            Self::Elsewhere(error) => error.kind(),
            Self::Rpc(error) => error.kind(),
            Self::Memory(_) => ErrorKind::OutOfMemory,
            Self::Context(error) => error.kind(),
            Self::Adapter(error) => error.kind(),
            Self::ControlVector(error) => error.kind(),
            Self::Vocab(error) => error.kind(),
            Self::Sampler(error) => error.kind(),
            Self::Sample(error) => error.kind(),
            Self::Grammar(error) => error.kind(),
            Self::Chat(error) => error.kind(),
            Self::ToolChoice(error) => error.kind(),
            Self::Request(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::QueueFull(_) => ErrorKind::QueueFull,
            Self::PromptTooLong { .. } | Self::TextTooLong { .. } | Self::PairTooLong { .. } => {
                ErrorKind::ContextFull
            }
            Self::NoClassifier { source } => source.kind(),
            Self::NoInfill { .. } => ErrorKind::UnsupportedModel,
            Self::Session(error) => error.kind(),
            Self::Draft(error) => error.kind(),
            Self::NotFinite { .. } => ErrorKind::Decode,
            Self::Stopped => ErrorKind::EmbeddingCancelled,
            Self::IsolationUnsupported
            | Self::RpcInThisProcess
            | Self::ForeignGrammar
            | Self::BreakersWithoutModel
            | Self::NoTokens { .. }
            | Self::TooManyDimensions { .. } => ErrorKind::Value,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Adapter(error) => error.io(),
            Self::ControlVector(error) => error.io(),
            Self::Session(error) => error.io(),
            Self::Option(_)
            | Self::Library(_)
            | Self::Load(_)
            | Self::Trial(_)
            | Self::Rewrite(_)
            | Self::OwnEngine(_)
            | Self::NoIsolation { .. }
            | Self::OtherChild { .. }
            | Self::IsolationUnsupported
            | Self::Rpc(_)
            | Self::RpcInThisProcess
            | Self::Elsewhere(_)
            | Self::Memory(_)
            | Self::Context(_)
            | Self::Vocab(_)
            | Self::Sampler(_)
            | Self::Sample(_)
            | Self::Grammar(_)
            | Self::Request(_)
            | Self::Engine(_)
            | Self::QueueFull(_)
            | Self::PromptTooLong { .. }
            | Self::TextTooLong { .. }
            | Self::PairTooLong { .. }
            | Self::NoTokens { .. }
            | Self::TooManyDimensions { .. }
            | Self::NotFinite { .. }
            | Self::NoClassifier { .. }
            | Self::NoInfill { .. }
            | Self::Stopped
            | Self::Draft(_)
            | Self::ForeignGrammar
            | Self::BreakersWithoutModel
            | Self::Chat(_)
            | Self::ToolChoice(_) => None,
        }
    }

    fn elsewhere(&self) -> Option<&ElsewhereError> {
        match self {
            Self::Elsewhere(error)
            | Self::Vocab(VocabError::Elsewhere(error))
            | Self::Adapter(AdapterError::Elsewhere(error)) => Some(error),
            _ => None,
        }
    }

    fn chat(&self) -> Option<&ChatTemplateError> {
        if let Self::Chat(error) = self { Some(error) } else { None }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Load(error) => error.gguf(),
            Self::Rewrite(error) => error.gguf(),
            Self::OwnEngine(error) => error.gguf(),
            Self::Adapter(error) => error.gguf(),
            Self::ControlVector(error) => error.gguf(),
            Self::Option(_)
            | Self::Library(_)
            | Self::Trial(_)
            | Self::NoIsolation { .. }
            | Self::OtherChild { .. }
            | Self::IsolationUnsupported
            | Self::Rpc(_)
            | Self::RpcInThisProcess
            | Self::Elsewhere(_)
            | Self::Memory(_)
            | Self::Context(_)
            | Self::Vocab(_)
            | Self::Sampler(_)
            | Self::Sample(_)
            | Self::Grammar(_)
            | Self::Chat(_)
            | Self::ToolChoice(_)
            | Self::Request(_)
            | Self::Engine(_)
            | Self::QueueFull(_)
            | Self::PromptTooLong { .. }
            | Self::TextTooLong { .. }
            | Self::PairTooLong { .. }
            | Self::NoTokens { .. }
            | Self::TooManyDimensions { .. }
            | Self::NotFinite { .. }
            | Self::NoClassifier { .. }
            | Self::NoInfill { .. }
            | Self::Stopped
            | Self::Session(_)
            | Self::Draft(_)
            | Self::ForeignGrammar
            | Self::BreakersWithoutModel => None,
        }
    }
}

impl Failure for ElsewhereError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::named(&self.kind).unwrap_or(ErrorKind::Decode)
    }

    fn elsewhere(&self) -> Option<&ElsewhereError> {
        Some(self)
    }
}

impl Failure for OptionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongType { .. } | Self::Missing { .. } | Self::Unknown { .. } => ErrorKind::Type,
            Self::OutOfRange { .. } => ErrorKind::Value,
        }
    }
}
