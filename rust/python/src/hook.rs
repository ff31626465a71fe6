//! The thread that changes logits in Python, seen from the core.

use crate::errors::value_error;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use std::time::Duration;
use tabagent_model::{HookPoll, HookedRow};

/// How long one wait takes at most; the end of the request wakes it at once.
const SLICE: Duration = Duration::from_secs(1);

/// A row on loan: the tokens so far and the logits.
type Row<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<f32>>);

/// Brings a stream's logits to a Python thread and back. Dropping it ends the stream when it has another row to change.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct HookWorker {
    inner: tabagent_model::HookWorker,
}

impl HookWorker {
    pub(crate) fn new(inner: tabagent_model::HookWorker) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl HookWorker {
    fn next_row<'py>(&self, py: Python<'py>) -> PyResult<Option<Row<'py>>> {
        let found = py.detach(|| {
            loop {
                match self.inner.next_timeout(SLICE) {
                    HookPoll::Pending => {}
                    HookPoll::Closed => return None,
                    HookPoll::Row(row) => return Some(row),
                }
            }
        });
        let Some(HookedRow { tokens, logits }) = found else { return Ok(None) };
        // The arrays own the memory: whoever keeps one keeps it alive.
        let tokens = PyArray1::from_vec(py, tokens);
        tokens.getattr("flags")?.setattr("writeable", false)?;
        Ok(Some((tokens, PyArray1::from_vec(py, logits))))
    }

    fn give_back(&self, py: Python<'_>, logits: PyReadonlyArray1<'_, f32>) -> PyResult<()> {
        let row = logits.as_slice().map_err(value_error)?.to_vec();
        py.detach(|| self.inner.give_back(Ok(row)));
        Ok(())
    }

    fn fail(&self, py: Python<'_>, message: String) {
        py.detach(|| self.inner.give_back(Err(message)));
    }
}
