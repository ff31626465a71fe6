//! The kinds of errors of libraries, models and contexts.

use std::io;
use std::path::Path;

use tabagent_gguf::GgufError;
use tabagent_llama::{
    AbiMismatch, ContextError, LibraryError, LoadFailure, MissingSymbols, ModelError, RpcError, StateError,
    ThrownKind, UnsupportedFeature, UnsupportedSetting, VocabError,
};

use super::Failure;
use crate::ContextConfigError;
use crate::TrialError;
use crate::error_kind::ErrorKind;

impl Failure for LibraryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Load(error) => error.kind(),
            Self::MissingSymbols { source, .. } => source.kind(),
            Self::Incompatible { source, .. } => source.kind(),
            Self::ForeignGgml { .. } => ErrorKind::IncompatibleLibrary,
            Self::AlreadyLoaded { .. }
            | Self::ModuleAlreadyLoaded { .. }
            | Self::BackendsAlreadyLoaded { .. } => ErrorKind::LibraryAlreadyLoaded,
            Self::NoSuchModule { .. } => ErrorKind::Variant,
            Self::Backend { .. } | Self::NoCpuBackend { .. } | Self::BadPath(_) => ErrorKind::LibraryLoad,
        }
    }
}

impl Failure for RpcError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Host { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Closed { .. }
            | Self::Foreign { .. }
            | Self::OtherVersion { .. }
            | Self::NoDevice { .. }
            | Self::Listen { .. }
            | Self::Cache { .. }
            | Self::Ended => ErrorKind::ModelLoad,
            Self::Unsupported { .. } => ErrorKind::IncompatibleLibrary,
            Self::UnknownDevice { .. } => ErrorKind::Value,
        }
    }
}

impl Failure for LoadFailure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. }
            | Self::Unreadable { .. }
            | Self::NotALibrary { .. }
            | Self::WrongFormat { .. }
            | Self::WrongArchitecture { .. }
            | Self::GlibcTooOld { .. }
            | Self::NameTaken { .. }
            | Self::MissingDependency { .. }
            | Self::Loader { .. } => ErrorKind::LibraryLoad,
        }
    }
}

impl Failure for MissingSymbols {
    fn kind(&self) -> ErrorKind {
        ErrorKind::IncompatibleLibrary
    }
}

impl Failure for AbiMismatch {
    fn kind(&self) -> ErrorKind {
        ErrorKind::IncompatibleLibrary
    }
}

impl Failure for UnsupportedSetting {
    fn kind(&self) -> ErrorKind {
        ErrorKind::IncompatibleLibrary
    }
}

impl Failure for UnsupportedFeature {
    fn kind(&self) -> ErrorKind {
        ErrorKind::IncompatibleLibrary
    }
}

impl Failure for ModelError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::ModelNotFound,
            Self::BadPath(_)
            | Self::BadOverride { .. }
            | Self::BadOption { .. }
            | Self::UnknownDevice { .. }
            | Self::UnknownMemory { .. } => ErrorKind::Value,
            Self::DeviceMemory { .. } => ErrorKind::OutOfMemory,
            // Whatever is wrong with the file, somebody tried to load it as a model.
            Self::Gguf(_) | Self::NoWeights(_) => ErrorKind::InvalidModel,
            Self::Cancelled(_) => ErrorKind::ModelLoadCancelled,
            Self::IsDirectory(_) | Self::Refused { .. } | Self::NoThreads { .. } | Self::NoLibrary => {
                ErrorKind::ModelLoad
            }
            Self::Library(error) => error.kind(),
            Self::Unsupported(error) => error.kind(),
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Gguf(error) => Some(error),
            Self::NotFound(_)
            | Self::NoWeights(_)
            | Self::IsDirectory(_)
            | Self::BadPath(_)
            | Self::BadOverride { .. }
            | Self::BadOption { .. }
            | Self::UnknownDevice { .. }
            | Self::UnknownMemory { .. }
            | Self::DeviceMemory { .. }
            | Self::Cancelled(_)
            | Self::Refused { .. }
            | Self::NoThreads { .. }
            | Self::NoLibrary
            | Self::Library(_)
            | Self::Unsupported(_) => None,
        }
    }
}

impl Failure for TrialError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Died { .. } | Self::Hung { .. } => ErrorKind::InvalidModel,
            Self::ShortOfMemory { .. } => ErrorKind::OutOfMemory,
            Self::NoChild { .. } => ErrorKind::ModelLoad,
        }
    }
}

impl Failure for ContextConfigError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. }
            | Self::KvTypeBlocks { .. }
            | Self::KvTypeNeedsFlashAttention { .. }
            | Self::KvTypeWithoutFlashAttention { .. }
            | Self::KvTypesDiffer { .. }
            | Self::BadPattern { .. }
            | Self::UnknownName { .. } => ErrorKind::Value,
        }
    }
}

impl Failure for ContextError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Vocab(error) => error.kind(),
            Self::Unsupported(error) => error.kind(),
            Self::Elsewhere
            | Self::VocabOnly
            | Self::NotGenerative { .. }
            | Self::NotEmbedding { .. }
            | Self::NotRanking { .. } => ErrorKind::UnsupportedModel,
            Self::Adapter(error) => error.kind(),
            Self::ControlVector(error) => error.kind(),
            Self::OutOfMemory { .. } | Self::NoMemory { .. } | Self::CapturesTooLarge { .. } => {
                ErrorKind::OutOfMemory
            }
            Self::Full { .. } => ErrorKind::ContextFull,
            Self::Broken { thrown } if thrown.kind == ThrownKind::NoMemory => ErrorKind::OutOfMemory,
            Self::Broken { .. }
            | Self::Refused { .. }
            | Self::StateFailed { .. }
            | Self::OtherContext
            | Self::Aborted
            | Self::Failed { .. }
            | Self::CannotRemove { .. } => ErrorKind::Decode,
            Self::EmptyBatch
            | Self::BatchTooLarge { .. }
            | Self::TooManyOutputs { .. }
            | Self::TokenOutOfRange { .. }
            | Self::SequenceOutOfRange { .. }
            | Self::BadSequences { .. }
            | Self::SplitCells { .. }
            | Self::WrongPosition { .. }
            | Self::UnknownPosition { .. }
            | Self::BadRange { .. }
            | Self::NoLogits { .. }
            | Self::NoVector { .. }
            | Self::NoSuchTensor { .. }
            | Self::CaptureInPieces { .. }
            | Self::CaptureOfNoNumbers { .. }
            | Self::SequenceInUse { .. } => ErrorKind::Value,
        }
    }
}

impl Failure for VocabError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Elsewhere(error) => error.kind(),
            Self::NoTokenizer => ErrorKind::UnsupportedModel,
            Self::NoStack { .. } => ErrorKind::OutOfMemory,
            Self::Failed { .. } | Self::Threw { .. } | Self::Stopped => ErrorKind::Decode,
            Self::TextTooLong { .. } | Self::TooSlow { .. } | Self::TokenOutOfRange { .. } => {
                ErrorKind::Value
            }
        }
    }
}

impl Failure for StateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAState { .. }
            | Self::Damaged
            | Self::OtherModel
            | Self::OtherBuild { .. }
            | Self::OtherSettings { .. }
            | Self::Failed { .. } => ErrorKind::State,
            Self::Unsupported(error) => error.kind(),
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Io { path, source } => Some((path.as_ref(), source)),
            Self::NotAState { .. }
            | Self::Damaged
            | Self::OtherModel
            | Self::OtherBuild { .. }
            | Self::OtherSettings { .. }
            | Self::Unsupported(_)
            | Self::Failed { .. } => None,
        }
    }
}
