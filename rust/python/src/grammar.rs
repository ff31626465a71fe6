//! Compiled grammars, and single sequences that follow one.

use crate::errors::IntoPyErr;
use crate::job;
use numpy::PyArray1;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tabagent_model::Error;
use tabagent_sampling::constraint::{self, GrammarError};

/// A compiled grammar.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Grammar {
    pub(crate) inner: Arc<constraint::Grammar>,
}

#[pymethods]
impl Grammar {
    fn start(&self, py: Python<'_>) -> PyResult<Constraint> {
        let inner = Arc::clone(&self.inner);
        let started = job::run(py, move |_| inner.start())?;
        Ok(Constraint { inner: Mutex::new(started.map_err(|e| Error::from(e).into_py(py))?) })
    }

    #[getter]
    fn limitations(&self) -> Vec<(String, String, String)> {
        let parts = |l: &constraint::Limitation| (l.path.clone(), l.keyword.clone(), l.message.clone());
        self.inner.limitations().iter().map(parts).collect()
    }
}

/// One sequence that follows a grammar.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Constraint {
    inner: Mutex<constraint::Constraint>,
}

impl Constraint {
    fn lock(&self) -> MutexGuard<'_, constraint::Constraint> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the constraint, without the GIL.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&mut constraint::Constraint) -> Result<T, GrammarError> + Send,
    ) -> PyResult<T> {
        py.detach(|| ask(&mut self.lock())).map_err(|e| Error::from(e).into_py(py))
    }
}

#[pymethods]
impl Constraint {
    /// `n_vocab` says how long the array is where everything is allowed.
    fn mask<'py>(&self, py: Python<'py>, n_vocab: usize) -> PyResult<Bound<'py, PyArray1<bool>>> {
        let bits = self.ask(py, |constraint| {
            let words = constraint.mask()?;
            let bit =
                |words: &[u32], i: usize| words.get(i / 32).is_some_and(|word| word >> (i % 32) & 1 == 1);
            Ok((0..n_vocab).map(|i| words.is_none_or(|words| bit(words, i))).collect::<Vec<bool>>())
        })?;
        Ok(PyArray1::from_vec(py, bits))
    }

    fn accept(&self, py: Python<'_>, token: i32) -> PyResult<()> {
        self.ask(py, |constraint| constraint.accept(token))
    }

    fn forced(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        self.ask(py, |constraint| Ok(constraint.forced()))
    }

    fn rollback(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        self.ask(py, |constraint| constraint.rollback(count))
    }

    #[getter]
    fn can_end(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |constraint| Ok(constraint.can_end()))
    }

    #[getter]
    fn is_finished(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |constraint| Ok(constraint.is_finished()))
    }
}
