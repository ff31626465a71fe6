//! A conversation that is kept.

use crate::errors::IntoPyErr;
use crate::grammar::Grammar;
use crate::job;
use crate::model::{Model, prompt_input};
use crate::stream::Stream;
use crate::value::value_of;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tabagent_model as core;
use tabagent_model::{AbortFlag, EngineError, GenerateOptions, SamplerSettings};

/// A conversation that is kept.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Session {
    /// `None` once closed.
    core: Shared,
    process: u32,
}

type Shared = Arc<Mutex<Option<core::Session>>>;

/// How often Python runs signal handlers while a file is written.
const SLICE: Duration = Duration::from_millis(10);

impl Session {
    pub(crate) fn new(core: core::Session) -> Self {
        Self { core: Arc::new(Mutex::new(Some(core))), process: std::process::id() }
    }

    /// What may be locked in this process: in a forked child another thread may have held the lock for ever.
    fn here(&self, py: Python<'_>) -> PyResult<Shared> {
        if self.process == std::process::id() {
            Ok(Arc::clone(&self.core))
        } else {
            Err(core::Error::from(EngineError::Forked).into_py(py))
        }
    }

    /// Runs `work` on a worker, as a cancelled text may have to end first.
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut core::Session, &AbortFlag) -> Result<T, core::Error> + Send + 'static,
    ) -> PyResult<T> {
        let shared = self.here(py)?;
        job::run(py, move |stop| on(&shared, |session| work(session, stop)))?.map_err(|e| e.into_py(py))
    }
}

/// Does `work` on the session, unless it is closed.
fn on<T>(
    shared: &Shared,
    work: impl FnOnce(&mut core::Session) -> Result<T, core::Error>,
) -> Result<T, core::Error> {
    let mut session = shared.lock().unwrap_or_else(PoisonError::into_inner);
    work(session.as_mut().ok_or(core::SessionError::Closed)?)
}

#[pymethods]
impl Session {
    #[getter]
    fn closed(&self) -> bool {
        self.process == std::process::id() && self.core.try_lock().is_ok_and(|core| core.is_none())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.here(py)?;
        job::run(py, move |_| drop(shared.lock().unwrap_or_else(PoisonError::into_inner).take()))
    }

    fn is_running(&self, py: Python<'_>) -> PyResult<bool> {
        self.run(py, |session, _| Ok(session.is_running()))
    }

    fn tokens(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        self.run(py, |session, stop| session.tokens(stop).map(<[i32]>::to_vec))
    }

    fn append(
        &self,
        py: Python<'_>,
        input: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        let (input, _) = prompt_input(input)?;
        self.run(py, move |session, stop| session.append(input, add_special, parse_special, stop))
    }

    #[pyo3(signature = (*, options, sampling, grammar, hooked, draft=None))]
    fn generate(
        &self,
        py: Python<'_>,
        options: &Bound<'_, PyDict>,
        sampling: Option<&Bound<'_, PyDict>>,
        grammar: Option<&Grammar>,
        hooked: bool,
        draft: Option<(PyRef<'_, Model>, Bound<'_, PyDict>)>,
    ) -> PyResult<Stream> {
        let mut options = GenerateOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        options.draft = draft.map(|(model, limits)| model.draft(&limits)).transpose()?;
        let settings = sampling.map(|sampling| settings(py, sampling)).transpose()?;
        let grammar = grammar.map(|grammar| Arc::clone(&grammar.inner));
        let (stream, worker) = self.run(py, move |session, stop| {
            session.generate(options, settings, grammar.as_ref(), hooked, stop)
        })?;
        Ok(Stream::with_hook(stream, worker))
    }

    fn set_sampling(&self, py: Python<'_>, sampling: &Bound<'_, PyDict>) -> PyResult<()> {
        let settings = settings(py, sampling)?;
        self.run(py, move |session, _| session.set_sampling(settings))
    }

    fn rewind(&self, py: Python<'_>, n: usize) -> PyResult<()> {
        self.run(py, move |session, stop| session.rewind(n, stop))
    }

    fn branch(&self, py: Python<'_>) -> PyResult<Self> {
        self.run(py, core::Session::branch).map(Self::new)
    }

    fn save(&self, py: Python<'_>, path: PathBuf, note: String) -> PyResult<()> {
        let shared = self.here(py)?;
        let work = move |stop: &AbortFlag| on(&shared, |session| session.save(&path, &note, stop));
        job::run_writing(py, &AbortFlag::new(), SLICE, work, |_| Ok(()))?.map_err(|e| e.into_py(py))
    }
}

/// Reads how tokens are chosen.
pub(crate) fn settings(py: Python<'_>, sampling: &Bound<'_, PyDict>) -> PyResult<SamplerSettings> {
    SamplerSettings::read(value_of(sampling)?).map_err(|e| e.into_py(py))
}

impl Drop for Session {
    fn drop(&mut self) {
        // The session may be the last that holds the model, which waits for the decode thread to stop, so other Python threads must be able to go on.
        let core = std::mem::take(&mut self.core);
        Python::attach(|py| py.detach(|| drop(core)));
    }
}
