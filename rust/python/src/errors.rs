//! Rust errors to the classes of `tabagent.errors`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::fmt::Display;
use tabagent_gguf::{ConvertError, GgufError, LoraError, QuantizeError, Subject};
use tabagent_model::{
    ContextError, EngineError, Error, LibraryError, ModelError, OptionError, RequestError, StateError,
    VariantError, VocabError,
};

/// The classes, imported when one is first raised.
pub(crate) mod classes {
    pyo3::import_exception!(tabagent.errors, ClosedError);
    pyo3::import_exception!(tabagent.errors, ContextFullError);
    pyo3::import_exception!(tabagent.errors, DecodeError);
    pyo3::import_exception!(tabagent.errors, ForkedError);
    pyo3::import_exception!(tabagent.errors, GgufCancelledError);
    pyo3::import_exception!(tabagent.errors, GgufError);
    pyo3::import_exception!(tabagent.errors, GrammarError);
    pyo3::import_exception!(tabagent.errors, IncompatibleLibraryError);
    pyo3::import_exception!(tabagent.errors, InvalidModelError);
    pyo3::import_exception!(tabagent.errors, LibraryAlreadyLoadedError);
    pyo3::import_exception!(tabagent.errors, LibraryLoadError);
    pyo3::import_exception!(tabagent.errors, ModelLoadCancelledError);
    pyo3::import_exception!(tabagent.errors, ModelLoadError);
    pyo3::import_exception!(tabagent.errors, ModelNotFoundError);
    pyo3::import_exception!(tabagent.errors, OutOfMemoryError);
    pyo3::import_exception!(tabagent.errors, SamplingError);
    pyo3::import_exception!(tabagent.errors, StateError);
    pyo3::import_exception!(tabagent.errors, UnsupportedModelError);
    pyo3::import_exception!(tabagent.errors, VariantError);
}

pub(crate) fn value_error(message: impl Display) -> PyErr {
    PyValueError::new_err(message.to_string())
}

/// An error that knows its Python class.
pub(crate) trait IntoPyErr {
    fn into_py(self, py: Python<'_>) -> PyErr;
}

impl IntoPyErr for Error {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Option(error) => error.into_py(py),
            Self::Library(error) => error.into_py(py),
            Self::Load(error) => error.into_py(py),
            Self::Context(error) => error.into_py(py),
            Self::Vocab(error) => error.into_py(py),
            Self::Engine(error) => error.into_py(py),
            Self::Request(error) => error.into_py(py),
            Self::Grammar(error) => classes::GrammarError::new_err(error.to_string()),
            Self::Sample(error) => classes::SamplingError::new_err(error.to_string()),
            Self::PromptTooLong { .. } => classes::ContextFullError::new_err(self.to_string()),
            Self::Sampler(_) | Self::ForeignGrammar | Self::BreakersWithoutModel => value_error(self),
        }
    }
}

impl IntoPyErr for OptionError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        match self {
            Self::WrongType { .. } | Self::Missing { .. } | Self::Unknown { .. } => {
                PyTypeError::new_err(self.to_string())
            }
            Self::OutOfRange { .. } => value_error(self),
        }
    }
}

impl IntoPyErr for VariantError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        classes::VariantError::new_err(self.to_string())
    }
}

impl IntoPyErr for LibraryError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Incompatible { .. } | Self::MissingSymbols { .. } | Self::ForeignGgml { .. } => {
                classes::IncompatibleLibraryError::new_err(text)
            }
            Self::AlreadyLoaded { .. } | Self::ModuleAlreadyLoaded { .. } => {
                classes::LibraryAlreadyLoadedError::new_err(text)
            }
            Self::NoSuchModule { .. } => classes::VariantError::new_err(text),
            Self::Load(_) | Self::NoCpuBackend { .. } | Self::BadPath(_) => {
                classes::LibraryLoadError::new_err(text)
            }
        }
    }
}

impl IntoPyErr for GgufError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match &self {
            Self::Open { path, source } | Self::Write { path, source } => {
                raised(source, py).unwrap_or_else(|| os_error(py, path, source, &self))
            }
            Self::Cancelled => classes::GgufCancelledError::new_err(self.to_string()),
            Self::SameFile { .. } => value_error(self),
            _ => with_facts(py, classes::GgufError::new_err(self.to_string()), &self),
        }
    }
}

impl IntoPyErr for ConvertError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Gguf(error) => error.into_py(py),
            Self::Read { ref path, ref source } => os_error(py, path, source, &self),
            Self::Source { .. } | Self::Architecture { .. } => classes::GgufError::new_err(self.to_string()),
        }
    }
}

impl IntoPyErr for LoraError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Gguf(error) => error.into_py(py),
            Self::Read { ref path, ref source } => os_error(py, path, source, &self),
            Self::Adapter { .. } | Self::Model { .. } => classes::GgufError::new_err(self.to_string()),
            Self::NoAdapter | Self::Scale { .. } | Self::OutType { .. } => value_error(self),
        }
    }
}

impl IntoPyErr for QuantizeError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Gguf(error) => error.into_py(py),
            Self::UnknownFileType { .. }
            | Self::UnknownTensorType { .. }
            | Self::Rule { .. }
            | Self::Prune { .. }
            | Self::ChosenTypes { .. }
            | Self::SameFile { .. }
            | Self::TargetSize(_)
            | Self::SplitSize
            | Self::Override { .. } => value_error(self),
            other => classes::GgufError::new_err(other.to_string()),
        }
    }
}

/// What Python raised while a file object was written, if that is why writing failed.
fn raised(source: &std::io::Error, py: Python<'_>) -> Option<PyErr> {
    source.get_ref()?.downcast_ref::<PyErr>().map(|error| error.clone_ref(py))
}

/// An `OSError` of the subclass that its number stands for (`FileNotFoundError` and so on).
fn os_error(py: Python<'_>, path: &std::path::Path, source: &std::io::Error, error: &dyn Display) -> PyErr {
    let path = path.as_os_str().to_owned();
    let Some(code) = source.raw_os_error() else {
        return match errno_named(source.kind())
            .map(|name| py.import("errno")?.getattr(name)?.extract::<i32>())
        {
            Some(Ok(code)) => pyo3::exceptions::PyOSError::new_err((code, source.to_string(), path)),
            _ => pyo3::exceptions::PyOSError::new_err(error.to_string()),
        };
    };
    let reason = py.import("os").and_then(|os| os.call_method1("strerror", (code,))?.extract::<String>());
    let reason = reason.unwrap_or_else(|_| source.to_string());
    pyo3::exceptions::PyOSError::new_err((code, reason, path))
}

/// The number that stands for a refusal of ours, such as to write over a device.
fn errno_named(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind;
    Some(match kind {
        ErrorKind::InvalidInput => "EINVAL",
        ErrorKind::IsADirectory => "EISDIR",
        ErrorKind::NotADirectory => "ENOTDIR",
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::PermissionDenied => "EACCES",
        ErrorKind::AlreadyExists => "EEXIST",
        ErrorKind::WriteZero | ErrorKind::StorageFull => "ENOSPC",
        ErrorKind::UnexpectedEof => "EIO",
        _ => return None,
    })
}

/// Puts file, offset, key or tensor, and rule of `error` on the exception made of it.
fn with_facts(py: Python<'_>, exception: PyErr, error: &GgufError) -> PyErr {
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
        | GgufError::Cancelled => return exception,
    };
    let (key, tensor) = match subject {
        Subject::Header => (None, None),
        Subject::Key(key) => (Some(key), None),
        Subject::Tensor(name) => (None, Some(name)),
    };
    let set = || -> PyResult<()> {
        let object = exception.value(py);
        object.setattr("file", file)?;
        object.setattr("offset", offset)?;
        object.setattr("key", key)?;
        object.setattr("tensor", tensor)?;
        object.setattr("rule", rule)
    };
    // The text says it all, too; an exception without attributes is better than none.
    let _ = set();
    exception
}

impl IntoPyErr for ModelError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Library(error) => error.into_py(py),
            Self::BadPath(_) | Self::BadOverride { .. } | Self::BadOption { .. } => value_error(text),
            Self::NotFound(_) => classes::ModelNotFoundError::new_err(text),
            Self::Gguf(error) => with_facts(py, classes::InvalidModelError::new_err(text), &error),
            Self::Cancelled(_) => classes::ModelLoadCancelledError::new_err(text),
            Self::Unsupported(_) => classes::IncompatibleLibraryError::new_err(text),
            Self::IsDirectory(_) | Self::Refused { .. } | Self::NoThreads { .. } | Self::NoLibrary => {
                classes::ModelLoadError::new_err(text)
            }
        }
    }
}

impl IntoPyErr for VocabError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        match self {
            Self::NoTokenizer => classes::UnsupportedModelError::new_err(self.to_string()),
            Self::NoStack { .. } => classes::OutOfMemoryError::new_err(self.to_string()),
            Self::Failed { .. } | Self::Stopped => classes::DecodeError::new_err(self.to_string()),
            Self::TextTooLong { .. } | Self::TooSlow { .. } | Self::TokenOutOfRange { .. } => {
                value_error(self)
            }
        }
    }
}

impl IntoPyErr for ContextError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Config(_)
            | Self::EmptyBatch
            | Self::BatchTooLarge { .. }
            | Self::TooManyOutputs { .. }
            | Self::TokenOutOfRange { .. }
            | Self::SequenceOutOfRange { .. }
            | Self::BadSequences { .. }
            | Self::WrongPosition { .. }
            | Self::BadRange { .. }
            | Self::NoLogits { .. }
            | Self::SequenceInUse { .. } => value_error(text),
            Self::Vocab(error) => error.into_py(py),
            Self::VocabOnly | Self::NotGenerative { .. } => classes::UnsupportedModelError::new_err(text),
            Self::OutOfMemory { .. } | Self::NoMemory { .. } => classes::OutOfMemoryError::new_err(text),
            Self::Full { .. } => classes::ContextFullError::new_err(text),
            Self::Unsupported(_) => classes::IncompatibleLibraryError::new_err(text),
            Self::Refused { .. }
            | Self::StateFailed { .. }
            | Self::OtherContext
            | Self::Aborted
            | Self::Failed { .. }
            | Self::CannotRemove { .. } => classes::DecodeError::new_err(text),
        }
    }
}

impl IntoPyErr for StateError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Io { ref path, ref source } => os_error(py, path.as_ref(), source, &self),
            other => classes::StateError::new_err(other.to_string()),
        }
    }
}

impl IntoPyErr for EngineError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Closed => classes::ClosedError::new_err(text),
            Self::Forked => classes::ForkedError::new_err(text),
            Self::Sampler { .. } | Self::Hook { .. } => classes::SamplingError::new_err(text),
            Self::NoSpace { .. } => classes::ContextFullError::new_err(text),
            Self::Constraint { .. } => classes::GrammarError::new_err(text),
            Self::Panicked { .. } | Self::Decode { .. } | Self::Spawn { .. } => {
                classes::DecodeError::new_err(text)
            }
        }
    }
}

impl IntoPyErr for RequestError {
    fn into_py(self, _py: Python<'_>) -> PyErr {
        match self {
            Self::PromptTooLong { .. } | Self::ContinuationTooLong { .. } => {
                classes::ContextFullError::new_err(self.to_string())
            }
            Self::EmptyPrompt
            | Self::TokenOutOfRange { .. }
            | Self::NoContinuations
            | Self::EmptyContinuation { .. }
            | Self::EmptyStop { .. } => value_error(self),
        }
    }
}
