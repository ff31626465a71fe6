//! Errors of the crates as exceptions: the classes of `tabagent.errors`, and what these carry.

use crate::os_error::os_error;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Display;
use std::io;
use std::path::Path;
use tabagent_chat::ChatTemplateError;
use tabagent_model::{ErrorKind, Failure, FileFault};

/// The classes, imported when one is first raised.
pub(crate) mod classes {
    pyo3::import_exception!(tabagent.errors, AdapterError);
    pyo3::import_exception!(tabagent.errors, ChatTemplateError);
    pyo3::import_exception!(tabagent.errors, ClosedError);
    pyo3::import_exception!(tabagent.errors, ContextFullError);
    pyo3::import_exception!(tabagent.errors, DecodeError);
    pyo3::import_exception!(tabagent.errors, EmbeddingCancelledError);
    pyo3::import_exception!(tabagent.errors, EngineCrashedError);
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
    pyo3::import_exception!(tabagent.errors, QueueFullError);
    pyo3::import_exception!(tabagent.errors, SamplingError);
    pyo3::import_exception!(tabagent.errors, StateError);
    pyo3::import_exception!(tabagent.errors, UnsupportedModelError);
    pyo3::import_exception!(tabagent.errors, VariantError);
}

pub(crate) fn value_error(message: impl Display) -> PyErr {
    PyValueError::new_err(message.to_string())
}

/// Makes the exception of an error.
pub(crate) trait IntoPyErr {
    fn into_py(self, py: Python<'_>) -> PyErr;
}

impl<E: Failure> IntoPyErr for E {
    fn into_py(self, py: Python<'_>) -> PyErr {
        if let Some((path, source)) = self.io() {
            return raised(source, py).unwrap_or_else(|| os_error(py, path, source, &self));
        }
        if let Some((path, code)) = self.elsewhere().and_then(|error| error.file.as_deref()) {
            return os_error(py, Path::new(path), &io::Error::from_raw_os_error(*code), &self);
        }
        let exception = exception(self.kind(), self.to_string());
        match (self.fault(), self.chat()) {
            (Some(fault), _) => with_facts(py, exception, &fault),
            (None, Some(error)) => with_line(py, exception, error),
            (None, None) => exception,
        }
    }
}

/// An exception of the class that stands for `kind`.
fn exception(kind: ErrorKind, text: String) -> PyErr {
    match kind {
        ErrorKind::Value => PyValueError::new_err(text),
        ErrorKind::Type => PyTypeError::new_err(text),
        ErrorKind::Io => PyOSError::new_err(text),
        ErrorKind::LibraryLoad => classes::LibraryLoadError::new_err(text),
        ErrorKind::IncompatibleLibrary => classes::IncompatibleLibraryError::new_err(text),
        ErrorKind::LibraryAlreadyLoaded => classes::LibraryAlreadyLoadedError::new_err(text),
        ErrorKind::Variant => classes::VariantError::new_err(text),
        ErrorKind::Gguf => classes::GgufError::new_err(text),
        ErrorKind::Adapter => classes::AdapterError::new_err(text),
        ErrorKind::GgufCancelled => classes::GgufCancelledError::new_err(text),
        ErrorKind::ModelLoad => classes::ModelLoadError::new_err(text),
        ErrorKind::ModelNotFound => classes::ModelNotFoundError::new_err(text),
        ErrorKind::InvalidModel => classes::InvalidModelError::new_err(text),
        ErrorKind::ModelLoadCancelled => classes::ModelLoadCancelledError::new_err(text),
        ErrorKind::UnsupportedModel => classes::UnsupportedModelError::new_err(text),
        ErrorKind::ContextFull => classes::ContextFullError::new_err(text),
        ErrorKind::QueueFull => classes::QueueFullError::new_err(text),
        ErrorKind::Decode => classes::DecodeError::new_err(text),
        ErrorKind::EngineCrashed => classes::EngineCrashedError::new_err(text),
        ErrorKind::EmbeddingCancelled => classes::EmbeddingCancelledError::new_err(text),
        ErrorKind::Sampling => classes::SamplingError::new_err(text),
        ErrorKind::Grammar => classes::GrammarError::new_err(text),
        ErrorKind::ChatTemplate => classes::ChatTemplateError::new_err(text),
        ErrorKind::State => classes::StateError::new_err(text),
        ErrorKind::OutOfMemory => classes::OutOfMemoryError::new_err(text),
        ErrorKind::Closed => classes::ClosedError::new_err(text),
        ErrorKind::Forked => classes::ForkedError::new_err(text),
    }
}

/// The class that stands for each kind of error of the core, by the kind's name.
#[pyfunction]
pub(crate) fn error_kinds(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let kinds = PyDict::new(py);
    for kind in ErrorKind::ALL {
        kinds.set_item(kind.name(), exception(*kind, String::new()).get_type(py))?;
    }
    Ok(kinds)
}

/// The exception that Python raised while a file object was written, if that is why writing failed.
fn raised(source: &io::Error, py: Python<'_>) -> Option<PyErr> {
    source.get_ref()?.downcast_ref::<PyErr>().map(|error| error.clone_ref(py))
}

/// Puts file, offset, key or tensor, and rule of `fault` on the exception made of it.
fn with_facts(py: Python<'_>, exception: PyErr, fault: &FileFault) -> PyErr {
    let FileFault { file, offset, key, tensor, rule } = fault;
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

/// Puts line, the template's own words and the kind of fault of `error` on the exception made of it.
fn with_line(py: Python<'_>, exception: PyErr, error: &ChatTemplateError) -> PyErr {
    let ChatTemplateError::Template { line, message, fault } = error else { return exception };
    let set = || -> PyResult<()> {
        let object = exception.value(py);
        object.setattr("line", line)?;
        object.setattr("message", message)?;
        object.setattr("fault", fault.name())
    };
    // The text says it all, too; an exception without attributes is better than none.
    let _ = set();
    exception
}
