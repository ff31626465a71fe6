//! Rust errors to the classes of `tabagent.errors`.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::fmt::Display;
use tabagent_gguf::{ConvertError, GgufError, LoraError, QuantizeError, Subject};
use tabagent_llama::{ConfigError, ContextError, LibraryError, ModelError, StateError, VocabError};
use tabagent_runtime::{EngineError, RequestError, SubmitError};
use tabagent_sampling::constraint::GrammarError;
use tabagent_variants::SelectError;

/// An exception of `tabagent.errors` by the name of its class.
pub(crate) fn raise(py: Python<'_>, class: &str, message: impl Display) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let class = py.import("tabagent.errors")?.getattr(class)?;
        Ok(PyErr::from_value(class.call1((message.to_string(),))?))
    };
    // Only a broken installation has no `tabagent.errors`; the message must not be lost with it.
    make().unwrap_or_else(|_| PyRuntimeError::new_err(message.to_string()))
}

pub(crate) fn value_error(message: impl Display) -> PyErr {
    PyValueError::new_err(message.to_string())
}

/// An error that knows its Python class.
pub(crate) trait IntoPyErr {
    fn into_py(self, py: Python<'_>) -> PyErr;
}

impl IntoPyErr for LibraryError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        let class = match &self {
            Self::Incompatible { .. } | Self::MissingSymbols { .. } | Self::ForeignGgml { .. } => {
                "IncompatibleLibraryError"
            }
            Self::AlreadyLoaded { .. } | Self::ModuleAlreadyLoaded { .. } => "LibraryAlreadyLoadedError",
            Self::NoSuchModule { .. } => "VariantError",
            Self::Load(_) | Self::NoCpuBackend { .. } | Self::BadPath(_) => "LibraryLoadError",
        };
        raise(py, class, self)
    }
}

impl IntoPyErr for GgufError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match &self {
            Self::Open { path, source } | Self::Write { path, source } => {
                crate::gguf::raised(&self, py).unwrap_or_else(|| os_error(py, path, source, &self))
            }
            Self::Cancelled => raise(py, "GgufCancelledError", self),
            Self::SameFile { .. } => value_error(self),
            _ => with_facts(py, raise(py, "GgufError", &self), &self),
        }
    }
}

impl IntoPyErr for ConvertError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Gguf(error) => error.into_py(py),
            Self::Read { ref path, ref source } => os_error(py, path, source, &self),
            Self::Source { .. } | Self::Architecture { .. } => raise(py, "GgufError", &self),
        }
    }
}

impl IntoPyErr for LoraError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Gguf(error) => error.into_py(py),
            Self::Read { ref path, ref source } => os_error(py, path, source, &self),
            Self::Adapter { .. } | Self::Model { .. } => raise(py, "GgufError", &self),
            Self::Options(_) => value_error(self),
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
            other => raise(py, "GgufError", other),
        }
    }
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
        let class = match self {
            Self::Library(error) => return error.into_py(py),
            Self::BadPath(_) | Self::BadOverride { .. } | Self::BadOption { .. } => return value_error(self),
            Self::NotFound(_) => "ModelNotFoundError",
            Self::Gguf(ref error) => {
                return with_facts(py, raise(py, "InvalidModelError", &self), error);
            }
            Self::Cancelled(_) => "ModelLoadCancelledError",
            Self::UnknownField(_) => "IncompatibleLibraryError",
            Self::IsDirectory(_) | Self::Refused { .. } | Self::NoLibrary => "ModelLoadError",
        };
        raise(py, class, self)
    }
}

impl IntoPyErr for VocabError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::NoTokenizer => raise(py, "UnsupportedModelError", self),
            Self::NoStack { .. } => raise(py, "OutOfMemoryError", self),
            Self::Failed { .. } | Self::Stopped => raise(py, "DecodeError", self),
            Self::TextTooLong { .. } | Self::TooSlow { .. } | Self::TokenOutOfRange { .. } => {
                value_error(self)
            }
        }
    }
}

impl IntoPyErr for ContextError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        let class = match self {
            Self::Config(error) => return config_error(&error),
            Self::Vocab(error) => return error.into_py(py),
            Self::VocabOnly | Self::NotGenerative { .. } => "UnsupportedModelError",
            Self::OutOfMemory { .. } | Self::NoMemory { .. } => "OutOfMemoryError",
            Self::Full { .. } => "ContextFullError",
            Self::UnknownField(_) => "IncompatibleLibraryError",
            Self::Refused { .. } | Self::Aborted | Self::Failed { .. } | Self::CannotRemove { .. } => {
                "DecodeError"
            }
            Self::EmptyBatch
            | Self::BatchTooLarge { .. }
            | Self::TooManyOutputs { .. }
            | Self::TokenOutOfRange { .. }
            | Self::SequenceOutOfRange { .. }
            | Self::BadSequences { .. }
            | Self::WrongPosition { .. }
            | Self::BadRange { .. }
            | Self::NoLogits { .. }
            | Self::SequenceInUse { .. } => return value_error(self),
        };
        raise(py, class, self)
    }
}

pub(crate) fn config_error(error: &ConfigError) -> PyErr {
    value_error(error)
}

impl IntoPyErr for StateError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Io { ref path, ref source } => os_error(py, path.as_ref(), source, &self),
            other => raise(py, "StateError", other),
        }
    }
}

impl IntoPyErr for EngineError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        let class = match self {
            Self::Closed => "ClosedError",
            Self::Forked => "ForkedError",
            Self::Sampler { .. } | Self::Hook { .. } => "SamplingError",
            Self::NoSpace { .. } => "ContextFullError",
            Self::Constraint { .. } => "GrammarError",
            Self::Panicked { .. } | Self::Decode { .. } | Self::Spawn { .. } => "DecodeError",
        };
        raise(py, class, self)
    }
}

impl IntoPyErr for SubmitError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Engine(error) => error.into_py(py),
            Self::Request(
                error @ (RequestError::PromptTooLong { .. } | RequestError::ContinuationTooLong { .. }),
            ) => raise(py, "ContextFullError", error),
            Self::Request(error) => value_error(error),
        }
    }
}

impl IntoPyErr for GrammarError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        raise(py, "GrammarError", self)
    }
}

impl IntoPyErr for SelectError {
    fn into_py(self, py: Python<'_>) -> PyErr {
        raise(py, "VariantError", self)
    }
}
