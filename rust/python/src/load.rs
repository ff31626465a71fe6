//! Loading a model on a thread of its own, while Python's thread watches.

use crate::errors::IntoPyErr;
use crate::wait;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tabagent_llama::{Context, ContextConfig, ContextError, LibraryError, Model, ModelConfig, ModelError};

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
    Panicked,
}

/// What both threads see of a load.
#[derive(Default)]
struct Watch {
    /// The part loaded, as the bits of an `f32`.
    part: AtomicU32,
    stop: AtomicBool,
}

/// Loads, calling `progress` on this thread with the GIL. Returning `False` or raising stops the load.
pub(crate) fn load(py: Python<'_>, request: LoadRequest, progress: Option<Py<PyAny>>) -> PyResult<Loaded> {
    let watch = Arc::new(Watch::default());
    let (sender, receiver) = channel();
    let for_thread = Arc::clone(&watch);
    std::thread::Builder::new().name("tabagent-load".to_owned()).spawn(move || {
        let run = || run(request, &for_thread);
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(Err(LoadFailure::Panicked));
        // Nobody listens when the calling thread was interrupted; the model is then freed here.
        let _ = sender.send(result);
    })?;
    // A receiver is not `Sync`; the lock is only ever taken by this thread.
    let receiver = Mutex::new(receiver);
    let outcome = watch_load(py, &receiver, &watch, progress.as_ref());
    if outcome.is_err() {
        watch.stop.store(true, Ordering::Release);
        // The model's memory is free again when this returns.
        let _ = py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv());
    }
    outcome?.map_err(|failure| match failure {
        LoadFailure::Library(error) => error.into_py(py),
        LoadFailure::Model(error) => error.into_py(py),
        LoadFailure::Context(error) => error.into_py(py),
        LoadFailure::Panicked => {
            crate::errors::raise(py, "ModelLoadError", "the loading thread failed; see the log")
        }
    })
}

fn run(request: LoadRequest, watch: &Arc<Watch>) -> Result<Loaded, LoadFailure> {
    let library = crate::library::open(&request.library, request.module).map_err(LoadFailure::Library)?;
    let config = ModelConfig::new(&request.path).map_err(LoadFailure::Model)?;
    let watch = Arc::clone(watch);
    let config = (request.configure)(config).with_progress(move |part| {
        watch.part.store(part.to_bits(), Ordering::Release);
        !watch.stop.load(Ordering::Acquire)
    });
    let model = Model::load(&library, config).map_err(LoadFailure::Model)?;
    if request.vocab_only {
        return Ok((model, None));
    }
    let context = model.create_context_with(&request.context).map_err(LoadFailure::Context)?;
    Ok((model, Some(context)))
}

fn watch_load(
    py: Python<'_>,
    receiver: &Mutex<Receiver<Result<Loaded, LoadFailure>>>,
    watch: &Watch,
    progress: Option<&Py<PyAny>>,
) -> PyResult<Result<Loaded, LoadFailure>> {
    let receive = |time: Duration| {
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        match receiver.recv_timeout(time) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(LoadFailure::Panicked)),
        }
    };
    let Some(callback) = progress else {
        return wait::until(py, receive);
    };
    let mut reported = -1.0_f32;
    loop {
        let done = py.detach(|| receive(Duration::from_millis(10)));
        py.check_signals()?;
        let part = if matches!(done, Some(Ok(_))) {
            1.0
        } else {
            f32::from_bits(watch.part.load(Ordering::Acquire))
        };
        if part > reported {
            reported = part;
            let answer = callback.call1(py, (part,))?;
            if done.is_none() && answer.bind(py).is(&*pyo3::types::PyBool::new(py, false)) {
                watch.stop.store(true, Ordering::Release);
            }
        }
        if let Some(result) = done {
            return Ok(result);
        }
    }
}
