//! A context of one's own.

use crate::errors::{IntoPyErr, raise, value_error};
use numpy::PyArray1;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tabagent_llama as llama;
use tabagent_llama::{AbortFlag, Batch, ContextError};

/// A context of one's own, beside the decode thread's.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Context {
    shared: Arc<Shared>,
    process: u32,
}

/// What the Python object and its logits views share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Stops the decode that runs. Replaced for each decode.
    abort: Mutex<AbortFlag>,
    /// Living views of the logits.
    pub(crate) pins: AtomicUsize,
    limits: [u32; 4],
}

struct State {
    /// `None` once closed.
    context: Option<llama::Context>,
    /// Tokens of the last batch, for negative indexes.
    rows: usize,
}

impl Context {
    pub(crate) fn new(context: llama::Context) -> Self {
        let limits =
            [context.context_size(), context.batch_size(), context.max_sequences(), context.threads()];
        let state = Mutex::new(State { context: Some(context), rows: 0 });
        let shared = Shared { state, abort: Mutex::default(), pins: AtomicUsize::new(0), limits };
        Self { shared: Arc::new(shared), process: std::process::id() }
    }

    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let text = "this context was made before fork(); make it again in the child process, or use the spawn start method";
        Err(raise(py, "ForkedError", text))
    }

    /// Whether a batch can be so large at all, before one is built that holds the product of both counts.
    fn check_counts(&self, tokens: usize, sequences: usize) -> Result<(), ContextError> {
        let [_, n_batch, n_seq_max, _] = self.shared.limits;
        if tokens > n_batch as usize {
            Err(ContextError::BatchTooLarge { tokens, n_batch })
        } else if sequences > n_seq_max as usize {
            Err(ContextError::BadSequences { index: 0 })
        } else {
            Ok(())
        }
    }

    /// Runs `work` on the context, without the GIL. `overwrites`: whether it may move or overwrite logits.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        overwrites: bool,
        work: impl FnOnce(&mut llama::Context) -> T + Send,
    ) -> PyResult<T> {
        self.check_process(py)?;
        let outcome = py.detach(|| {
            let mut state = self.shared.lock();
            if overwrites && self.shared.pins.load(Ordering::Acquire) > 0 {
                return Err(Refusal::Pinned);
            }
            let context = state.context.as_mut().ok_or(Refusal::Closed)?;
            Ok(work(context))
        });
        outcome.map_err(|refusal| refusal.into_py(py))
    }

    /// [`Context::with`] for work that fails with errors of its own.
    fn try_with<T: Send, E: IntoPyErr + Send>(
        &self,
        py: Python<'_>,
        overwrites: bool,
        work: impl FnOnce(&mut llama::Context) -> Result<T, E> + Send,
    ) -> PyResult<T> {
        self.with(py, overwrites, work)?.map_err(|e| e.into_py(py))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The context's threads are the parent's; its memory goes with this process.
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        // Freeing joins threads and unmaps memory. Views that are alive keep the context until the last of them goes.
        Python::attach(|py| {
            py.detach(|| {
                let mut state = self.shared.lock();
                if self.shared.pins.load(Ordering::Acquire) == 0 {
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

    fn set_abort(&self, flag: &AbortFlag) {
        *self.abort.lock().unwrap_or_else(PoisonError::into_inner) = flag.clone();
    }
}

enum Refusal {
    Pinned,
    Closed,
}

impl Refusal {
    fn into_py(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Pinned => PyBufferError::new_err(
                "a view of the logits is alive and this would overwrite it; delete the view, or take logits with copy=True",
            ),
            Self::Closed => raise(py, "ClosedError", "the context is closed; make another one"),
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
        self.check_process(py)?;
        self.check_counts(tokens.len(), sequences.len()).map_err(|e| e.into_py(py))?;
        let flag = AbortFlag::new();
        let outcome = py.detach(|| {
            let mut state = self.shared.lock();
            if self.shared.pins.load(Ordering::Acquire) > 0 {
                return Err(Refusal::Pinned);
            }
            self.shared.set_abort(&flag);
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
                context.decode_unless(&batch, &flag)
            });
            if result.is_ok() {
                state.rows = tokens.len();
            }
            Ok(result)
        });
        outcome.map_err(|refusal| refusal.into_py(py))?.map_err(|e| e.into_py(py))
    }

    fn logits<'py>(&self, py: Python<'py>, index: i64, copy: bool) -> PyResult<Bound<'py, PyArray1<f32>>> {
        self.check_process(py)?;
        // Held only while nobody decodes: a decode in another thread keeps it without the GIL, so it is waited for without it, too.
        let state = loop {
            match self.shared.state.try_lock() {
                Ok(state) => break state,
                Err(std::sync::TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) => py.detach(|| drop(self.shared.lock())),
            }
        };
        let context = state.context.as_ref().ok_or_else(|| Refusal::Closed.into_py(py))?;
        let row = if index < 0 { index + state.rows as i64 } else { index };
        let row = usize::try_from(row).map_err(|_| {
            value_error(format!("no logits for token {index}: the last decode had {} tokens", state.rows))
        })?;
        let logits = context.logits(row).map_err(|e| e.into_py(py))?;
        if copy {
            Ok(PyArray1::from_slice(py, logits))
        } else {
            crate::logits_view::view(py, &self.shared, logits)
        }
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

    fn next_position(&self, py: Python<'_>, sequence: u32) -> PyResult<u32> {
        self.try_with(py, false, |c| c.next_position(sequence))
    }

    fn remove(&self, py: Python<'_>, sequence: u32, start: u32, end: Option<u32>) -> PyResult<()> {
        self.try_with(py, false, |c| match end {
            Some(end) => c.remove_range(sequence, start..end),
            None if start == 0 => c.remove_sequence(sequence),
            None => {
                let end = c.next_position(sequence)?.max(start.saturating_add(1));
                c.remove_range(sequence, start..end)
            }
        })
    }

    fn copy(&self, py: Python<'_>, source: u32, target: u32) -> PyResult<()> {
        self.try_with(py, false, |c| c.copy_sequence(source, target))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, true, llama::Context::clear)
    }

    fn save_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let state = self.try_with(py, false, |c| c.save_state())?;
        Ok(PyBytes::new(py, &state))
    }

    fn load_state(&self, py: Python<'_>, state: PyBackedBytes) -> PyResult<()> {
        self.try_with(py, true, |c| c.load_state(&state))
    }

    fn save_state_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.try_with(py, false, |c| c.save_state_file(&path))
    }

    fn load_state_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.try_with(py, true, |c| c.load_state_file(&path))
    }

    fn clone(&self, py: Python<'_>) -> PyResult<Self> {
        self.try_with(py, false, |c| c.try_clone()).map(Self::new)
    }

    fn cancel(&self) {
        self.shared.abort.lock().unwrap_or_else(PoisonError::into_inner).raise();
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.process != std::process::id() {
            return Ok(());
        }
        let closed = py.detach(|| {
            let mut state = self.shared.lock();
            if state.context.is_some() && self.shared.pins.load(Ordering::Acquire) > 0 {
                return Err(Refusal::Pinned);
            }
            state.rows = 0;
            drop(state.context.take());
            Ok(())
        });
        closed.map_err(|refusal| refusal.into_py(py))
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        py.detach(|| self.shared.lock().context.is_none())
    }
}
