//! The kinds of errors of adapters and control vectors.

use std::io;
use std::path::Path;

use tabagent_gguf::GgufError;
use tabagent_llama::{AdapterError, ControlVectorError};

use super::Failure;
use crate::error_kind::ErrorKind;

/// Whatever is wrong with a file, somebody tried to load it as an adapter.
fn of_file(kind: ErrorKind) -> ErrorKind {
    if kind == ErrorKind::Gguf { ErrorKind::Adapter } else { kind }
}

impl Failure for AdapterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Lora(error) => of_file(error.kind()),
            Self::ModelFile(error) => of_file(error.kind()),
            Self::Elsewhere(error) => error.kind(),
            Self::Trial(error) => error.kind(),
            Self::VocabOnly => ErrorKind::UnsupportedModel,
            Self::ModelFileChanged(_)
            | Self::Unused { .. }
            | Self::InvocationToken { .. }
            | Self::Refused { .. }
            | Self::Activated { .. }
            | Self::OtherModel { .. } => ErrorKind::Adapter,
            Self::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            Self::NoFolder { .. } => ErrorKind::Io,
            Self::Twice { .. } | Self::Scale { .. } | Self::TooMany { .. } => ErrorKind::Value,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Lora(error) => error.io(),
            Self::ModelFile(error) => error.io(),
            Self::NoFolder { path, source } => Some((path, source)),
            Self::Elsewhere(_)
            | Self::Trial(_)
            | Self::VocabOnly
            | Self::ModelFileChanged(_)
            | Self::Unused { .. }
            | Self::InvocationToken { .. }
            | Self::Refused { .. }
            | Self::OtherModel { .. }
            | Self::Activated { .. }
            | Self::OutOfMemory { .. }
            | Self::Twice { .. }
            | Self::Scale { .. }
            | Self::TooMany { .. } => None,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Lora(error) => error.gguf(),
            Self::ModelFile(error) => Some(error),
            Self::Elsewhere(_)
            | Self::Trial(_)
            | Self::VocabOnly
            | Self::ModelFileChanged(_)
            | Self::Unused { .. }
            | Self::InvocationToken { .. }
            | Self::Refused { .. }
            | Self::OtherModel { .. }
            | Self::Activated { .. }
            | Self::OutOfMemory { .. }
            | Self::NoFolder { .. }
            | Self::Twice { .. }
            | Self::Scale { .. }
            | Self::TooMany { .. } => None,
        }
    }
}

impl Failure for ControlVectorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => of_file(error.kind()),
            Self::Unfit { .. } => ErrorKind::Adapter,
            Self::Layers { .. } | Self::Scale { .. } => ErrorKind::Value,
            Self::Architecture { .. } => ErrorKind::UnsupportedModel,
            Self::Refused { .. } => ErrorKind::Decode,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        self.gguf().and_then(Failure::io)
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::File(error) => Some(error),
            Self::Unfit { .. }
            | Self::Layers { .. }
            | Self::Scale { .. }
            | Self::Architecture { .. }
            | Self::Refused { .. } => None,
        }
    }
}
