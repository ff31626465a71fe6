//! Pieces of a stream.

use pyo3::prelude::*;
use tabagent_runtime::TokenEvent as Event;

/// A token with its natural-log probability before sampling.
#[pyclass(frozen, module = "tabagent")]
pub(crate) struct TokenLogprob {
    #[pyo3(get)]
    token: i32,
    #[pyo3(get)]
    logprob: f32,
    top: Vec<(i32, f32)>,
}

#[pymethods]
impl TokenLogprob {
    #[getter]
    fn top(&self) -> Vec<(i32, f32)> {
        self.top.clone()
    }

    fn __repr__(&self) -> String {
        format!("TokenLogprob(token={}, logprob={})", self.token, self.logprob)
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
    pub(crate) fn new(py: Python<'_>, event: Event) -> PyResult<Self> {
        let logprobs = event
            .logprobs
            .into_iter()
            .map(|l| Py::new(py, TokenLogprob { token: l.token, logprob: l.logprob, top: l.top }))
            .collect::<PyResult<_>>()?;
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
        let text = pyo3::types::PyString::new(py, &self.text).repr()?;
        Ok(format!("TokenEvent(text={text}, token_ids={:?})", self.token_ids))
    }
}
