//! A context that the user makes, beside the decode thread's.

use crate::adapter::{Adapter, ControlVector, adapters_of, control_vectors_of};
use crate::errors::{IntoPyErr, classes, value_error};
use crate::job;
use crate::logits_view::Views;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use tabagent_model as core;
use tabagent_model::AbortFlag;
use tabagent_model::{Batch, ContextError};

/// A context of one's own, beside the decode thread's.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Context {
    shared: Arc<Shared>,
    process: u32,
}

/// What the Python object and its logits views share.
struct Shared {
    state: Mutex<State>,
    /// Stops the decode that runs. Replaced for each decode.
    abort: Mutex<AbortFlag>,
    /// Living views of the logits.
    views: Views,
    closed: AtomicBool,
    limits: [u32; 5],
    /// Parameters of the model.
    parameters: u64,
}

/// Parameters times tokens that are decoded in about a millisecond.
const SHORT_DECODE: u64 = 10_000_000;

struct State {
    /// `None` once closed.
    context: Option<core::Context>,
    /// Tokens of the last batch, for negative indexes.
    rows: usize,
}

impl Context {
    pub(crate) fn new(context: core::Context) -> Self {
        let limits = [
            context.context_size(),
            context.batch_size(),
            context.max_sequences(),
            context.threads(),
            context.sequence_size(),
        ];
        let parameters = context.model().facts().parameters;
        let state = Mutex::new(State { context: Some(context), rows: 0 });
        let shared = Shared {
            state,
            abort: Mutex::default(),
            views: Views::default(),
            closed: AtomicBool::new(false),
            limits,
            parameters,
        };
        Self { shared: Arc::new(shared), process: std::process::id() }
    }

    fn check_process(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let text = "this context was made before `fork`; make it again in the child process, or use the spawn start method";
        Err(classes::ForkedError::new_err(text))
    }

    /// Checks both counts against the context's limits before a batch is built, which takes memory for their product.
    fn check_counts(&self, tokens: usize, sequences: usize) -> Result<(), ContextError> {
        let [_, n_batch, n_seq_max, ..] = self.shared.limits;
        if tokens > n_batch as usize {
            Err(ContextError::BatchTooLarge { tokens, n_batch })
        } else if sequences > n_seq_max as usize {
            Err(ContextError::BadSequences { index: 0 })
        } else {
            Ok(())
        }
    }

    /// Calls `act` with the locked state, without the GIL: on this thread if that is done at once, else on a worker that also waits for the lock.
    fn enter<T: Send + 'static>(
        &self,
        py: Python<'_>,
        long: bool,
        stop: &AbortFlag,
        act: impl FnOnce(&Shared, &mut State) -> Result<T, Refusal> + Send + 'static,
    ) -> PyResult<T> {
        self.check_process()?;
        let mut act = Some(act);
        if !long {
            let outcome = job::here(py, || {
                let mut state = self.shared.try_lock()?;
                Some(act.take()?(&self.shared, &mut state))
            })?;
            if let Some(outcome) = outcome {
                return outcome.map_err(Refusal::into_py);
            }
        }
        let shared = Arc::clone(&self.shared);
        let outcome = job::run_with(py, stop, move |stop| {
            let mut state = shared.lock();
            match act {
                // The caller may have given up while the context was in use.
                Some(act) if !stop.is_raised() => act(&shared, &mut state),
                _ => Err(Refusal::Stopped),
            }
        })?;
        outcome.map_err(Refusal::into_py)
    }

    /// Runs `work` on the context, without the GIL. `overwrites`: whether it may move or overwrite logits.
    fn with<T: Send + 'static>(
        &self,
        py: Python<'_>,
        takes: Takes,
        overwrites: bool,
        work: impl FnOnce(&mut core::Context) -> T + Send + 'static,
    ) -> PyResult<T> {
        self.enter(py, takes == Takes::Long, &AbortFlag::new(), move |shared, state| {
            if overwrites && shared.views.any() {
                return Err(Refusal::Pinned);
            }
            let context = state.context.as_mut().ok_or(Refusal::Closed)?;
            Ok(work(context))
        })
    }

    /// [`Context::with`] for work that fails with errors of its own.
    fn try_with<T: Send + 'static, E: IntoPyErr + Send + 'static>(
        &self,
        py: Python<'_>,
        takes: Takes,
        overwrites: bool,
        work: impl FnOnce(&mut core::Context) -> Result<T, E> + Send + 'static,
    ) -> PyResult<T> {
        self.with(py, takes, overwrites, work)?.map_err(|e| e.into_py(py))
    }
}

/// How long work on the context may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Short,
    /// It touches as much memory as the context has.
    Long,
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The context's threads exist only in the parent; its memory goes with this process.
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        // Freeing joins threads and unmaps memory. Views that are alive keep the context until the last of them goes, and so does a worker that
        // an interrupted call has left behind.
        Python::attach(|py| {
            py.detach(|| {
                if let Some(mut state) = self.shared.try_lock()
                    && !self.shared.views.any()
                {
                    drop(state.context.take());
                }
            });
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless another thread has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn set_abort(&self, flag: &AbortFlag) {
        *self.abort.lock().unwrap_or_else(PoisonError::into_inner) = flag.clone();
    }
}

enum Refusal {
    Pinned,
    Closed,
    Stopped,
}

impl Refusal {
    fn into_py(self) -> PyErr {
        match self {
            Self::Pinned => PyBufferError::new_err(
                "a view of the logits is alive and this would overwrite it; delete the view, or take logits with copy=True",
            ),
            Self::Closed => classes::ClosedError::new_err("the context is closed; make another one"),
            Self::Stopped => {
                classes::DecodeError::new_err("stopped before it began: the interpreter is ending")
            }
        }
    }
}

#[pymethods]
impl Context {
    fn decode(
        &self,
        py: Python<'_>,
        tokens: Vec<i32>,
        positions: Option<Vec<u32>>,
        sequences: Vec<u32>,
        logits: Option<Vec<bool>>,
    ) -> PyResult<()> {
        for (name, length) in
            [("positions", positions.as_ref().map(Vec::len)), ("logits", logits.as_ref().map(Vec::len))]
        {
            if length.is_some_and(|n| n != tokens.len()) {
                let text = format!("`{name}` must have as many entries as `tokens` ({})", tokens.len());
                return Err(value_error(text));
            }
        }
        self.check_process()?;
        self.check_counts(tokens.len(), sequences.len()).map_err(|e| e.into_py(py))?;
        let long = self.shared.parameters.saturating_mul(tokens.len() as u64) > SHORT_DECODE;
        let flag = AbortFlag::new();
        let stop = flag.clone();
        let decoded = self.enter(py, long, &flag, move |shared, state| {
            if shared.views.any() {
                return Err(Refusal::Pinned);
            }
            shared.set_abort(&stop);
            state.rows = 0;
            let context = state.context.as_mut().ok_or(Refusal::Closed)?;
            let start = sequences.first().map_or(Ok(0), |s| context.next_position(*s));
            let result = start.and_then(|start| {
                let mut batch = Batch::new();
                for (i, token) in tokens.iter().enumerate() {
                    let position = positions.as_ref().map_or(start.saturating_add(i as u32), |p| p[i]);
                    let output = logits.as_ref().map_or(i + 1 == tokens.len(), |l| l[i]);
                    batch.push(*token, position, &sequences, output);
                }
                context.decode_unless(&batch, &|| stop.is_raised())
            });
            if result.is_ok() {
                state.rows = tokens.len();
            }
            Ok(result)
        })?;
        decoded.map_err(|e| e.into_py(py))
    }

    fn logits<'py>(&self, py: Python<'py>, index: i64, copy: bool) -> PyResult<Bound<'py, PyArray1<f32>>> {
        self.check_process()?;
        // A decode in another thread holds the lock without the GIL, so this waits for the lock without the GIL, too.
        let state = loop {
            match self.shared.try_lock() {
                Some(state) => break state,
                None => self.enter(py, true, &AbortFlag::new(), |_, _| Ok(()))?,
            }
        };
        let context = state.context.as_ref().ok_or_else(|| Refusal::Closed.into_py())?;
        let row = if index < 0 { index + state.rows as i64 } else { index };
        let row = usize::try_from(row).map_err(|_| {
            value_error(format!("no logits for token {index}: the last decode had {} tokens", state.rows))
        })?;
        let logits = context.logits(row).map_err(|e| e.into_py(py))?;
        if copy {
            Ok(PyArray1::from_slice(py, logits))
        } else {
            self.shared.views.view(py, Arc::clone(&self.shared) as Arc<_>, logits)
        }
    }

    /// The tensors that the last decode captured. Each array owns its memory.
    fn captures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let captured = self.with(py, Takes::Long, false, |c| c.captures())?;
        let dict = PyDict::new(py);
        for (name, core::Captured { shape, values }) in captured {
            dict.set_item(name, PyArray1::from_vec(py, values).reshape(shape)?)?;
        }
        Ok(dict)
    }

    /// Sets adapters with their scales in place of those before.
    fn set_adapters(&self, py: Python<'_>, adapters: Vec<(PyRef<'_, Adapter>, f64)>) -> PyResult<()> {
        let adapters = adapters_of(&adapters)?;
        self.try_with(py, Takes::Short, false, move |c| c.set_adapters(&adapters))
    }

    /// The names of the adapters that are set, with their scales.
    fn adapters(&self, py: Python<'_>) -> PyResult<Vec<(String, f32)>> {
        let named = |(adapter, scale): &(core::Adapter, f32)| (adapter.facts().name.clone(), *scale);
        self.with(py, Takes::Short, false, move |c| c.adapters().iter().map(named).collect())
    }

    /// Sets control vectors with their scales in place of those before, for layers from the first to the last of `layers`.
    fn set_control_vectors(
        &self,
        py: Python<'_>,
        vectors: Vec<(PyRef<'_, ControlVector>, f64)>,
        layers: Option<(u32, u32)>,
    ) -> PyResult<()> {
        let vectors = control_vectors_of(&vectors);
        let layers = layers.map(|(first, last)| first..=last);
        self.try_with(py, Takes::Short, false, move |c| c.set_control_vectors(&vectors, layers))
    }

    #[getter]
    fn context_size(&self) -> u32 {
        self.shared.limits[0]
    }

    #[getter]
    fn batch_size(&self) -> u32 {
        self.shared.limits[1]
    }

    #[getter]
    fn max_sequences(&self) -> u32 {
        self.shared.limits[2]
    }

    #[getter]
    fn threads(&self) -> u32 {
        self.shared.limits[3]
    }

    #[getter]
    fn sequence_size(&self) -> u32 {
        self.shared.limits[4]
    }

    fn next_position(&self, py: Python<'_>, sequence: u32) -> PyResult<u32> {
        self.try_with(py, Takes::Short, false, move |c| c.next_position(sequence))
    }

    fn remove(&self, py: Python<'_>, sequence: u32, start: u32, end: Option<u32>) -> PyResult<()> {
        self.try_with(py, Takes::Short, false, move |c| match end {
            Some(end) => c.remove_range(sequence, start..end),
            None if start == 0 => c.remove_sequence(sequence),
            None => {
                let end = c.next_position(sequence)?.max(start.saturating_add(1));
                c.remove_range(sequence, start..end)
            }
        })
    }

    fn copy(&self, py: Python<'_>, source: u32, target: u32) -> PyResult<()> {
        self.try_with(py, Takes::Short, false, move |c| c.copy_sequence(source, target))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, Takes::Long, true, core::Context::clear)
    }

    fn save_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let state = self.try_with(py, Takes::Long, false, |c| c.save_state())?;
        Ok(PyBytes::new(py, &state))
    }

    fn load_state(&self, py: Python<'_>, state: PyBackedBytes) -> PyResult<()> {
        self.try_with(py, Takes::Long, true, move |c| c.load_state(&state))
    }

    fn save_state_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.try_with(py, Takes::Long, false, move |c| c.save_state_file(&path))
    }

    fn load_state_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.try_with(py, Takes::Long, true, move |c| c.load_state_file(&path))
    }

    fn clone(&self, py: Python<'_>) -> PyResult<Self> {
        self.try_with(py, Takes::Long, false, |c| c.try_clone()).map(Self::new)
    }

    fn cancel(&self) {
        self.shared.abort.lock().unwrap_or_else(PoisonError::into_inner).raise();
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.process != std::process::id() {
            return Ok(());
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.enter(py, true, &AbortFlag::new(), |shared, state| {
            if state.context.is_some() && shared.views.any() {
                return Err(Refusal::Pinned);
            }
            state.rows = 0;
            shared.closed.store(true, Ordering::Release);
            drop(state.context.take());
            Ok(())
        })
    }

    #[getter]
    fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}
