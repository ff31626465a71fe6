//! Loading a model on a worker, while Python's thread watches.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tabagent_llama::{
    Context, ContextConfig, ContextError, LibraryError, Model, ModelConfig, ModelError,
};
use tabagent_runtime::AbortFlag;

/// What to load.
pub(crate) struct LoadRequest {
    pub(crate) library: PathBuf,
    pub(crate) module: Option<String>,
    pub(crate) path: PathBuf,
    pub(crate) context: ContextConfig,
    /// Sets everything but the progress callback.
    pub(crate) configure: Box<dyn FnOnce(ModelConfig) -> ModelConfig + Send>,
    pub(crate) vocab_only: bool,
}

/// A model and, unless only its vocabulary was loaded, the context for its decode thread.
pub(crate) type Loaded = (Model, Option<Context>);

enum LoadFailure {
    Library(LibraryError),
    Model(ModelError),
    Context(ContextError),
}

/// How often Python hears of progress, and can be interrupted.
const SLICE: Duration = Duration::from_millis(10);

/// Loads, calling `progress` on this thread with the GIL. Returning `False` or raising stops the load.
pub(crate) fn load(py: Python<'_>, request: LoadRequest, progress: Option<Py<PyAny>>) -> PyResult<Loaded> {
    // The part loaded, as the bits of an `f32`.
    let part = Arc::new(AtomicU32::new(0));
    let (for_worker, stop) = (Arc::clone(&part), AbortFlag::new());
    let work = move |stop: &AbortFlag| run(request, &for_worker, stop);
    let mut reported = -1.0_f32;
    let mut report = |py: Python<'_>, part: f32| {
        let Some(callback) = progress.as_ref().filter(|_| part > reported) else { return Ok(()) };
        reported = part;
        let answer = callback.call1(py, (part,))?;
        if answer.bind(py).is(&*pyo3::types::PyBool::new(py, false)) {
            stop.raise();
        }
        PyResult::Ok(())
    };
    let listen = |py: Python<'_>| report(py, f32::from_bits(part.load(Ordering::Acquire)));
    let loaded = job::run_listening(py, &stop, SLICE, work, listen)?;
    let loaded = loaded.map_err(|failure| match failure {
        LoadFailure::Library(error) => error.into_py(py),
        LoadFailure::Model(error) => error.into_py(py),
        LoadFailure::Context(error) => error.into_py(py),
    })?;
    report(py, 1.0)?;
    Ok(loaded)
}

fn run(request: LoadRequest, part: &Arc<AtomicU32>, stop: &AbortFlag) -> Result<Loaded, LoadFailure> {
    let library = crate::library::open(&request.library, request.module).map_err(LoadFailure::Library)?;
    let config = ModelConfig::new(&request.path).map_err(LoadFailure::Model)?;
    let (part, flag) = (Arc::clone(part), stop.clone());
    let config = (request.configure)(config).with_progress(move |loaded| {
        part.store(loaded.to_bits(), Ordering::Release);
        !flag.is_raised()
    });
    let model = Model::load(&library, config).map_err(LoadFailure::Model)?;
    if request.vocab_only {
        return Ok((model, None));
    }
    if stop.is_raised() {
        return Err(LoadFailure::Model(ModelError::Cancelled(request.path)));
    }
    let context = model.create_context_with(&request.context).map_err(LoadFailure::Context)?;
    Ok((model, Some(context)))
}
