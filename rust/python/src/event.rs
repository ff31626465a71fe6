//! Pieces of a stream.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};
use std::hash::{Hash, Hasher};
use tabagent_model as core;

/// A class and the arguments to make an object of it again, for pickling and copying.
type Made<'py, Arguments> = (Bound<'py, PyType>, Arguments);

/// One of the most probable tokens at some place.
#[pyclass(frozen, eq, hash, from_py_object, module = "tabagent")]
#[derive(Clone, PartialEq)]
pub(crate) struct TopLogprob {
    #[pyo3(get)]
    token: i32,
    #[pyo3(get)]
    logprob: f32,
    bytes: Vec<u8>,
}

impl Hash for TopLogprob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token, hashed(self.logprob), &self.bytes).hash(state);
    }
}

#[pymethods]
impl TopLogprob {
    #[new]
    fn new(token: i32, logprob: f32, bytes: Vec<u8>) -> Self {
        Self { token, logprob, bytes }
    }

    #[getter]
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    #[getter]
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Made<'py, (i32, f32, Bound<'py, PyBytes>)> {
        (py.get_type::<Self>(), (self.token, self.logprob, self.bytes(py)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text()).repr()?;
        Ok(format!("TopLogprob(token={}, text={text}, logprob={})", self.token, self.logprob))
    }
}

/// A token with its natural-log probability.
#[pyclass(frozen, eq, hash, from_py_object, module = "tabagent")]
#[derive(Clone, PartialEq)]
pub(crate) struct TokenLogprob {
    #[pyo3(get)]
    token: i32,
    #[pyo3(get)]
    logprob: f32,
    bytes: Vec<u8>,
    #[pyo3(get)]
    top: Vec<TopLogprob>,
}

impl Hash for TokenLogprob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token, hashed(self.logprob), &self.bytes, &self.top).hash(state);
    }
}

impl From<core::TokenLogprob> for TokenLogprob {
    fn from(entry: core::TokenLogprob) -> Self {
        let core::TokenLogprob { token, logprob, bytes, top } = entry;
        let top = top.into_iter().map(|t| TopLogprob::new(t.token, t.logprob, t.bytes)).collect();
        Self { token, logprob, bytes, top }
    }
}

#[pymethods]
impl TokenLogprob {
    #[new]
    fn new(token: i32, logprob: f32, bytes: Vec<u8>, top: Vec<TopLogprob>) -> Self {
        Self { token, logprob, bytes, top }
    }

    #[getter]
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    #[getter]
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> Made<'py, (i32, f32, Bound<'py, PyBytes>, Vec<TopLogprob>)> {
        (py.get_type::<Self>(), (self.token, self.logprob, self.bytes(py), self.top.clone()))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text()).repr()?;
        Ok(format!("TokenLogprob(token={}, text={text}, logprob={})", self.token, self.logprob))
    }
}

/// What an event is made of.
type EventParts = (String, Vec<i32>, Vec<TokenLogprob>, Option<(usize, usize, usize)>);

/// A piece of a stream: text of whole characters, and the tokens that it came from.
#[pyclass(frozen, eq, hash, module = "tabagent")]
#[derive(PartialEq, Hash)]
pub(crate) struct TokenEvent {
    #[pyo3(get)]
    text: String,
    #[pyo3(get)]
    token_ids: Vec<i32>,
    #[pyo3(get)]
    logprobs: Vec<TokenLogprob>,
    prompt: Option<core::PromptProgress>,
}

impl From<core::TokenEvent> for TokenEvent {
    fn from(event: core::TokenEvent) -> Self {
        let logprobs = event.logprobs.into_iter().map(TokenLogprob::from).collect();
        Self { text: event.text, token_ids: event.token_ids, logprobs, prompt: event.prompt }
    }
}

#[pymethods]
impl TokenEvent {
    #[new]
    #[pyo3(signature = (text, token_ids, logprobs, prompt_progress=None))]
    fn new(
        text: String,
        token_ids: Vec<i32>,
        logprobs: Vec<TokenLogprob>,
        prompt_progress: Option<(usize, usize, usize)>,
    ) -> Self {
        let prompt =
            prompt_progress.map(|(done, total, cached)| core::PromptProgress { done, total, cached });
        Self { text, token_ids, logprobs, prompt }
    }

    /// Tokens of the prompt that are in memory, all of them, and those that were there before; `None` of a piece of text.
    #[getter]
    fn prompt_progress(&self) -> Option<(usize, usize, usize)> {
        self.prompt.map(|prompt| (prompt.done, prompt.total, prompt.cached))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Made<'py, EventParts> {
        let parts =
            (self.text.clone(), self.token_ids.clone(), self.logprobs.clone(), self.prompt_progress());
        (py.get_type::<Self>(), parts)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        if let Some(progress) = self.prompt_progress() {
            return Ok(format!("TokenEvent(prompt_progress={progress:?})"));
        }
        let text = PyString::new(py, &self.text).repr()?;
        Ok(format!("TokenEvent(text={text}, token_ids={:?})", self.token_ids))
    }
}

/// The bits of a number, the same for equal numbers.
fn hashed(number: f32) -> u32 {
    (number + 0.0).to_bits()
}
