//! The kinds of errors of GGUF files and of the work on them.

use std::io;
use std::path::Path;

use tabagent_gguf::{
    ConvertError, GgufError, LoraError, QuantError, QuantizeError, Subject, TargetSizeError, UnknownFileType,
    UnknownOutType,
};

use tabagent_llama::FileFault;

use super::Failure;
use crate::error_kind::ErrorKind;
use crate::rewritten::RewriteError;

/// Which file, and what in it, an error blames.
pub(super) fn fault(error: &GgufError) -> Option<FileFault> {
    let (file, offset, subject, rule) = match error {
        GgufError::Invalid { file, offset, subject, problem }
        | GgufError::Data { file, offset, subject, problem } => (Some(file), Some(*offset), subject, problem),
        GgufError::Unusable { file, offset, subject, problem } => (Some(file), *offset, subject, problem),
        GgufError::Parts { file, subject, problem } => (Some(file), None, subject, problem),
        GgufError::Unwritable { subject, problem } => (None, None, subject, problem),
        GgufError::Open { .. }
        | GgufError::Write { .. }
        | GgufError::MissingParts { .. }
        | GgufError::SameFile { .. }
        | GgufError::Cancelled => return None,
    };
    let (key, tensor) = match subject {
        Subject::Header => (None, None),
        Subject::Key(key) => (Some(key.clone()), None),
        Subject::Tensor(name) => (None, Some(name.clone())),
    };
    Some(FileFault { file: file.cloned(), offset, key, tensor, rule: rule.clone() })
}

impl Failure for GgufError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } | Self::Write { .. } => ErrorKind::Io,
            Self::Cancelled => ErrorKind::GgufCancelled,
            Self::SameFile { .. } => ErrorKind::Value,
            Self::Invalid { .. }
            | Self::Unusable { .. }
            | Self::Data { .. }
            | Self::Parts { .. }
            | Self::MissingParts { .. }
            | Self::Unwritable { .. } => ErrorKind::Gguf,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Open { path, source } | Self::Write { path, source } => Some((path, source)),
            Self::Cancelled
            | Self::SameFile { .. }
            | Self::Invalid { .. }
            | Self::Unusable { .. }
            | Self::Data { .. }
            | Self::Parts { .. }
            | Self::MissingParts { .. }
            | Self::Unwritable { .. } => None,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        Some(self)
    }
}

impl Failure for ConvertError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => error.kind(),
            Self::Read { .. } => ErrorKind::Io,
            Self::Source { .. } | Self::Architecture { .. } => ErrorKind::Gguf,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Gguf(error) => error.io(),
            Self::Read { path, source } => Some((path, source)),
            Self::Source { .. } | Self::Architecture { .. } => None,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Gguf(error) => Some(error),
            Self::Read { .. } | Self::Source { .. } | Self::Architecture { .. } => None,
        }
    }
}

impl Failure for RewriteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Convert(_) => ErrorKind::InvalidModel,
            Self::NoCache { .. } | Self::Cache { .. } => ErrorKind::ModelLoad,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Convert(error) => error.gguf(),
            Self::NoCache { .. } | Self::Cache { .. } => None,
        }
    }
}

impl Failure for LoraError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => error.kind(),
            Self::Read { .. } => ErrorKind::Io,
            Self::Adapter { .. } | Self::Model { .. } => ErrorKind::Gguf,
            Self::NoAdapter | Self::Scale { .. } | Self::OutType { .. } => ErrorKind::Value,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Gguf(error) => error.io(),
            Self::Read { path, source } => Some((path, source)),
            Self::Adapter { .. }
            | Self::Model { .. }
            | Self::NoAdapter
            | Self::Scale { .. }
            | Self::OutType { .. } => None,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Gguf(error) => Some(error),
            Self::Read { .. }
            | Self::Adapter { .. }
            | Self::Model { .. }
            | Self::NoAdapter
            | Self::Scale { .. }
            | Self::OutType { .. } => None,
        }
    }
}

impl Failure for QuantizeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => error.kind(),
            Self::TargetSize(error) => error.kind(),
            Self::UnknownFileType(error) => error.kind(),
            Self::UnknownTensorType { .. }
            | Self::Rule { .. }
            | Self::Prune { .. }
            | Self::ChosenTypes { .. }
            | Self::SplitSize
            | Self::SameFile { .. }
            | Self::Override { .. } => ErrorKind::Value,
            Self::Requantized { .. }
            | Self::ImatrixMissing { .. }
            | Self::NotWeights { .. }
            | Self::ForkType { .. }
            | Self::PartialBlock { .. }
            | Self::NoLayer { .. }
            | Self::Data { .. } => ErrorKind::Gguf,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        self.gguf().and_then(Failure::io)
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Gguf(error) => Some(error),
            Self::TargetSize(_)
            | Self::UnknownFileType(_)
            | Self::UnknownTensorType { .. }
            | Self::Rule { .. }
            | Self::Prune { .. }
            | Self::ChosenTypes { .. }
            | Self::SplitSize
            | Self::SameFile { .. }
            | Self::Override { .. }
            | Self::Requantized { .. }
            | Self::ImatrixMissing { .. }
            | Self::NotWeights { .. }
            | Self::ForkType { .. }
            | Self::PartialBlock { .. }
            | Self::NoLayer { .. }
            | Self::Data { .. } => None,
        }
    }
}

impl Failure for UnknownFileType {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Value
    }
}

impl Failure for UnknownOutType {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Value
    }
}

impl Failure for TargetSizeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSize { .. } | Self::NoBits { .. } | Self::TooSmall { .. } => ErrorKind::Value,
        }
    }
}

/// An error about numbers that are passed in or out as arrays concerns an argument; one about the numbers of a file is [`QuantizeError::Data`].
impl Failure for QuantError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::GgufCancelled,
            Self::PartialBlock { .. }
            | Self::PartialRow { .. }
            | Self::WrongLength { .. }
            | Self::NotAQuantizer { .. }
            | Self::ImatrixMissing { .. }
            | Self::ImatrixLength { .. }
            | Self::ImatrixValue { .. }
            | Self::NotFinite { .. }
            | Self::BadBlock { .. } => ErrorKind::Value,
        }
    }
}
