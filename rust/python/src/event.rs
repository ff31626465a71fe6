//! Pieces of a stream.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use tabagent_runtime as runtime;

/// One of the most probable tokens at some place.
#[pyclass(frozen, module = "tabagent")]
pub(crate) struct TopLogprob {
    #[pyo3(get)]
    token: i32,
    #[pyo3(get)]
    logprob: f32,
    bytes: Vec<u8>,
}

#[pymethods]
impl TopLogprob {
    #[getter]
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    #[getter]
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text()).repr()?;
        Ok(format!("TopLogprob(token={}, text={text}, logprob={})", self.token, self.logprob))
    }
}

/// A token with its natural-log probability.
#[pyclass(frozen, module = "tabagent")]
pub(crate) struct TokenLogprob {
    #[pyo3(get)]
    token: i32,
    #[pyo3(get)]
    logprob: f32,
    bytes: Vec<u8>,
    top: Vec<Py<TopLogprob>>,
}

impl TokenLogprob {
    fn new(py: Python<'_>, entry: runtime::TokenLogprob) -> PyResult<Self> {
        let runtime::TokenLogprob { token, logprob, bytes, top } = entry;
        let top = top
            .into_iter()
            .map(|t| Py::new(py, TopLogprob { token: t.token, logprob: t.logprob, bytes: t.bytes }));
        Ok(Self { token, logprob, bytes, top: top.collect::<PyResult<_>>()? })
    }
}

#[pymethods]
impl TokenLogprob {
    #[getter]
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    #[getter]
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[getter]
    fn top(&self, py: Python<'_>) -> Vec<Py<TopLogprob>> {
        self.top.iter().map(|t| t.clone_ref(py)).collect()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text()).repr()?;
        Ok(format!("TokenLogprob(token={}, text={text}, logprob={})", self.token, self.logprob))
    }
}

/// A piece of a stream: text of whole characters, and the tokens that it came from.
#[pyclass(frozen, module = "tabagent")]
pub(crate) struct TokenEvent {
    #[pyo3(get)]
    text: String,
    token_ids: Vec<i32>,
    logprobs: Vec<Py<TokenLogprob>>,
}

impl TokenEvent {
    pub(crate) fn new(py: Python<'_>, event: runtime::TokenEvent) -> PyResult<Self> {
        let logprobs = event.logprobs.into_iter().map(|l| Py::new(py, TokenLogprob::new(py, l)?));
        let logprobs = logprobs.collect::<PyResult<_>>()?;
        Ok(Self { text: event.text, token_ids: event.token_ids, logprobs })
    }
}

#[pymethods]
impl TokenEvent {
    #[getter]
    fn token_ids(&self) -> Vec<i32> {
        self.token_ids.clone()
    }

    #[getter]
    fn logprobs(&self, py: Python<'_>) -> Vec<Py<TokenLogprob>> {
        self.logprobs.iter().map(|l| l.clone_ref(py)).collect()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text).repr()?;
        Ok(format!("TokenEvent(text={text}, token_ids={:?})", self.token_ids))
    }
}
