//! Where a model of a pool comes from.

use std::path::PathBuf;
use std::sync::Arc;

use super::Stay;
use crate::error::Error;
use crate::error_kind::ErrorKind;
use crate::failure::Failure;
use crate::load::LoadOptions;
use crate::model::Model;
use tabagent_llama::MemoryNeed;

/// Hears which part is loaded, 0 to 1, and says whether to go on.
pub type Watch = Arc<dyn Fn(f32) -> bool + Send + Sync>;

/// What a pool must know of a model.
pub trait Pooled: Clone + Send + Sync + 'static {
    /// The memory that it takes.
    fn need(&self) -> MemoryNeed;
    /// Whether it has requests.
    fn is_busy(&self) -> bool;
    /// Whether somebody closed it.
    fn is_closed(&self) -> bool;
    /// Frees its memory. May block.
    fn close(&self);
}

impl Pooled for Model {
    fn need(&self) -> MemoryNeed {
        self.memory().unwrap_or_default()
    }

    fn is_busy(&self) -> bool {
        self.stats().is_ok_and(|stats| stats.active > 0 || stats.queued > 0)
    }

    fn is_closed(&self) -> bool {
        Model::is_closed(self)
    }

    fn close(&self) {
        Model::close(self);
    }
}

/// Why a model could not be loaded, for several who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadFailure {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed, with what, and what to do.
    pub message: String,
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

type Load<M> = Arc<dyn Fn(Watch) -> Result<M, LoadFailure> + Send + Sync>;
type Measure = Arc<dyn Fn() -> Option<MemoryNeed> + Send + Sync>;
type Release<M> = Arc<dyn Fn(M) + Send + Sync>;
type Leaving<M> = Arc<dyn Fn(&M) + Send + Sync>;

/// How a model is loaded and let go. Cheap to clone.
#[derive(Clone)]
pub struct PoolSource<M = Model> {
    pub(super) load: Load<M>,
    pub(super) measure: Option<Measure>,
    pub(super) release: Option<Release<M>>,
    /// Gets the model before it is let go.
    pub(super) leaving: Option<Leaving<M>>,
    pub(super) file: Option<PathBuf>,
    pub(super) keep_alive: Option<Stay>,
    /// It is there already, and stays.
    pub(super) fixed: Option<M>,
}

impl<M: Pooled> PoolSource<M> {
    /// A model that `load` loads, on a thread for that. `load` should end soon once its [`Watch`] says false.
    pub fn new(load: impl Fn(Watch) -> Result<M, LoadFailure> + Send + Sync + 'static) -> Self {
        Self {
            load: Arc::new(load),
            measure: None,
            release: None,
            leaving: None,
            file: None,
            keep_alive: None,
            fixed: None,
        }
    }

    /// A model that is loaded. The pool never closes it.
    pub fn fixed(model: M) -> Self {
        let again = model.clone();
        Self { fixed: Some(model), ..Self::new(move |_| Ok(again.clone())) }
    }

    /// Loads it on this thread, without a pool. Blocks.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn load(&self, watch: Watch) -> Result<M, LoadFailure> {
        (self.load)(watch)
    }

    /// What it will take of memory, asked on a thread where the pool has a limit; `None` where that cannot be known before.
    #[must_use]
    pub fn with_measure(self, measure: impl Fn() -> Option<MemoryNeed> + Send + Sync + 'static) -> Self {
        Self { measure: Some(Arc::new(measure)), ..self }
    }

    /// What is done with the model instead of closing it.
    #[must_use]
    pub fn with_release(self, release: impl Fn(M) + Send + Sync + 'static) -> Self {
        Self { release: Some(Arc::new(release)), ..self }
    }

    /// What gets the model before it is let go: the last look at it, and the chance to let go of what belongs to it.
    #[must_use]
    pub fn with_leaving(self, leaving: impl Fn(&M) + Send + Sync + 'static) -> Self {
        Self { leaving: Some(Arc::new(leaving)), ..self }
    }

    /// The file whose mapping it shares with others of the same file.
    #[must_use]
    pub fn with_file(self, file: PathBuf) -> Self {
        Self { file: Some(file), ..self }
    }

    /// How long it stays loaded when idle, in place of the pool's own.
    #[must_use]
    pub fn with_keep_alive(self, keep_alive: Stay) -> Self {
        Self { keep_alive: Some(keep_alive), ..self }
    }
}

impl PoolSource<Model> {
    /// A model of a file; the arguments are those of [`Model::load`].
    pub fn of_file(path: PathBuf, library: PathBuf, module: Option<String>, options: LoadOptions) -> Self {
        let file = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let asked = (path.clone(), library.clone(), module.clone(), options.clone());
        let load = move |watch: Watch| {
            let watched = move |part| watch(part);
            Ok(Model::load(path.clone(), &library, module.clone(), &options, watched)?)
        };
        let measure = move || {
            let (path, library, module, options) = asked.clone();
            // What cannot be predicted, or not be loaded, shows when it is loaded.
            Some(Model::predict_memory(path, &library, module, &options).ok()?.need)
        };
        Self::new(load).with_file(file).with_measure(measure)
    }
}

impl<M> std::fmt::Debug for PoolSource<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolSource")
            .field("file", &self.file)
            .field("fixed", &self.fixed.is_some())
            .finish_non_exhaustive()
    }
}
