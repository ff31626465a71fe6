//! Adapters and control vectors of a model.

use crate::errors::classes;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use tabagent_model as core;

/// A loaded low-rank adapter.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Adapter {
    /// `None` once closed.
    inner: Mutex<Option<core::Adapter>>,
    facts: core::AdapterFacts,
    process: u32,
}

impl Adapter {
    pub(crate) fn new(adapter: core::Adapter) -> Self {
        let facts = adapter.facts().clone();
        Self { inner: Mutex::new(Some(adapter)), facts, process: std::process::id() }
    }

    fn take(&self) -> Option<core::Adapter> {
        let adapter = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.process == std::process::id() {
            return adapter;
        }
        // A forked child must not touch locks of its parent's threads, so nothing is freed; the memory goes with the process.
        std::mem::forget(adapter);
        None
    }

    /// The adapter, for work that may outlive the call.
    pub(crate) fn get(&self) -> PyResult<core::Adapter> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| {
            let text = format!("the adapter `{}` is closed; load it again", self.facts.name);
            classes::ClosedError::new_err(text)
        })
    }
}

#[pymethods]
impl Adapter {
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let core::AdapterFacts { name, path, rank, alpha, tensors, size, invocation_tokens, ignored, .. } =
            &self.facts;
        let dict = PyDict::new(py);
        dict.set_item("name", name)?;
        dict.set_item("path", path.as_os_str())?;
        dict.set_item("rank", rank)?;
        dict.set_item("alpha", alpha)?;
        dict.set_item("tensors", tensors)?;
        dict.set_item("size", size)?;
        dict.set_item("invocation_tokens", invocation_tokens)?;
        dict.set_item("ignored", ignored)?;
        Ok(dict)
    }

    #[getter]
    fn closed(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn close(&self, py: Python<'_>) {
        // Freeing waits for a decode that prepares its graph.
        let adapter = self.take();
        py.detach(|| drop(adapter));
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let adapter = self.take();
        Python::attach(|py| py.detach(|| drop(adapter)));
    }
}

/// What changes a model for a request, as Python gives it: adapters and control vectors, each with a scale, and for the latter the first and the last layer.
#[derive(FromPyObject)]
pub(crate) struct Changes<'py>(
    Vec<(PyRef<'py, Adapter>, f64)>,
    Vec<(PyRef<'py, ControlVector>, f64)>,
    Option<(u32, u32)>,
);

/// The same for the core.
pub(crate) type CoreChanges =
    (Vec<(core::Adapter, f32)>, Vec<(core::ControlVector, f32)>, Option<RangeInclusive<u32>>);

impl Changes<'_> {
    pub(crate) fn to_core(&self) -> PyResult<CoreChanges> {
        Ok((adapters_of(&self.0)?, control_vectors_of(&self.1), self.2.map(|(first, last)| first..=last)))
    }
}

/// Adapters for the core; an error if one is closed.
pub(crate) fn adapters_of(given: &[(PyRef<'_, Adapter>, f64)]) -> PyResult<Vec<(core::Adapter, f32)>> {
    given.iter().map(|(adapter, scale)| Ok((adapter.get()?, *scale as f32))).collect()
}

/// Control vectors for the core.
pub(crate) fn control_vectors_of(
    given: &[(PyRef<'_, ControlVector>, f64)],
) -> Vec<(core::ControlVector, f32)> {
    given.iter().map(|(vector, scale)| (vector.inner.clone(), *scale as f32)).collect()
}

/// A control vector for a model.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct ControlVector {
    pub(crate) inner: core::ControlVector,
}

#[pymethods]
impl ControlVector {
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn model_hint(&self) -> Option<&str> {
        self.inner.model_hint()
    }

    #[getter]
    fn layers(&self) -> Vec<u32> {
        self.inner.layers().collect()
    }
}
