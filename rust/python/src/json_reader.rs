//! The reader of JSON that is being written.

use crate::errors::value_error;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::sync::{Mutex, PoisonError};
use tabagent_chat::json::{self, JsonEvent};

/// Reads JSON in pieces.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct JsonReader {
    inner: Mutex<json::JsonReader>,
}

#[pymethods]
impl JsonReader {
    #[new]
    fn new() -> Self {
        Self { inner: Mutex::new(json::JsonReader::new()) }
    }

    /// Reads a piece, and gives what it has as pairs of a kind and a value.
    fn feed<'py>(&self, py: Python<'py>, piece: &str) -> PyResult<Bound<'py, PyList>> {
        self.read(py, |reader, found| reader.feed(piece.as_bytes(), found).map(drop))
    }

    /// Says that the text ends.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.read(py, |reader, found| reader.finish(found))
    }

    #[getter]
    fn is_complete(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_complete()
    }
}

impl JsonReader {
    fn read<'py>(
        &self,
        py: Python<'py>,
        read: impl FnOnce(&mut json::JsonReader, &mut dyn FnMut(JsonEvent<'_>)) -> Result<(), json::JsonFault>,
    ) -> PyResult<Bound<'py, PyList>> {
        let events = PyList::empty(py);
        let mut failure = None;
        let mut reader = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut reader, &mut |event| {
            if let Err(error) = pair(py, &event).and_then(|pair| events.append(pair)) {
                failure.get_or_insert(error);
            }
        })
        .map_err(value_error)?;
        failure.map_or(Ok(events), Err)
    }
}

fn pair<'py>(py: Python<'py>, event: &JsonEvent<'_>) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        JsonEvent::BeginObject => ("{", py.None()).into_pyobject(py),
        JsonEvent::BeginArray => ("[", py.None()).into_pyobject(py),
        JsonEvent::EndObject | JsonEvent::EndArray => ("end", py.None()).into_pyobject(py),
        JsonEvent::Key(key) => ("key", key.as_ref()).into_pyobject(py),
        JsonEvent::BeginString => ("string", "").into_pyobject(py),
        JsonEvent::Text(text) => ("text", *text).into_pyobject(py),
        JsonEvent::EndString => ("end of string", py.None()).into_pyobject(py),
        JsonEvent::Number(number) => ("number", *number).into_pyobject(py),
        JsonEvent::Bool(value) => ("value", *value).into_pyobject(py),
        JsonEvent::Null => ("value", py.None()).into_pyobject(py),
    }
}
