//! The pool's handle, its thread, and its leases.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use super::entry::{Entry, Phase, PoolModel};
use super::source::{LoadFailure, PoolSource, Pooled, Watch};
use super::state::{Action, State};
use super::{PoolError, PoolOptions, Stay};
use crate::error_kind::ErrorKind;
use crate::model::Model;

/// Models by name, loaded when they are asked for. Cheap to clone; dropping the last clone closes what is loaded.
///
/// ```
/// use tabagent_model::{LoadFailure, LoadOptions, Model, ModelPool, PoolOptions, PoolSource};
///
/// let pool: ModelPool = ModelPool::new(PoolOptions::default());
/// pool.set("small", PoolSource::new(|watch| {
///     let options = LoadOptions::default();
///     Ok(Model::load("small.gguf".into(), "/usr/lib/tabagent".as_ref(), None, &options, move |part| watch(part))?)
/// }));
/// assert_eq!(pool.look("small").unwrap().phase.name(), "unloaded");
/// ```
#[derive(Clone)]
pub struct ModelPool<M: Pooled = Model>(Arc<Handle<M>>);

struct Handle<M: Pooled>(Arc<Shared<M>>);

pub(super) struct Shared<M> {
    state: Mutex<State<M>>,
    changed: Condvar,
    process: u32,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model that is lent until this is dropped.
pub struct PoolLease<M: Pooled = Model> {
    model: M,
    name: String,
    generation: u64,
    shared: Weak<Shared<M>>,
}

/// Stands for somebody who waits for a model. Dropping it is giving up; where nobody else waits, the load ends soon.
#[must_use]
pub struct PoolTicket<M: Pooled = Model> {
    /// `None` once answered at once.
    waits: Option<(Weak<Shared<M>>, String, u64)>,
}

impl<M: Pooled> ModelPool<M> {
    /// A pool without models.
    pub fn new(options: PoolOptions) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(options)),
            changed: Condvar::new(),
            process: std::process::id(),
        });
        let kept = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("tabagent-pool".to_owned()).spawn(move || keep(&kept));
        if spawned.is_err() {
            shared.lock().closed = true;
        }
        Self(Arc::new(Handle(shared)))
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.0.0.lock()
    }

    /// Adds a model, or changes where it comes from. One that is loaded from elsewhere is closed once it is idle.
    pub fn set(&self, name: &str, source: PoolSource<M>) {
        let now = Instant::now();
        let mut state = self.lock();
        match state.entries.get_mut(name) {
            Some(entry) if !entry.is_fixed() && source.fixed.is_none() => {
                entry.source = source;
                entry.gone = false;
                entry.leaves = !matches!(entry.phase, Phase::Unloaded);
                entry.failure = None;
            }
            _ => drop(state.entries.insert(name.to_owned(), Entry::new(source, now))),
        }
        drop(state);
        self.0.0.changed.notify_all();
    }

    /// Takes a model out; one that is loaded is closed once it is idle. Those who wait for it are told.
    pub fn remove(&self, name: &str) {
        let mut told = Vec::new();
        if let Some(entry) = self.lock().entries.get_mut(name) {
            entry.gone = true;
            told = std::mem::take(&mut entry.waiting);
        }
        for waiter in told {
            (waiter.answer)(Err(PoolError::Unknown { name: name.to_owned() }));
        }
        self.0.0.changed.notify_all();
    }

    /// Asks for a model. `answer` is called once: at once on this thread where the model is loaded or does not exist, else on another one. `keep_alive` is for how long the
    /// model stays once it is idle, in place of the pool's; it holds until another one is asked for.
    pub fn ask(
        &self,
        name: &str,
        keep_alive: Option<Stay>,
        answer: impl FnOnce(Result<PoolLease<M>, PoolError>) + Send + 'static,
    ) -> PoolTicket<M> {
        let shared = Arc::downgrade(&self.0.0);
        let kept = Weak::clone(&shared);
        let answer = Box::new(move |told: Result<(M, String, u64), PoolError>| {
            answer(told.map(|(model, name, generation)| PoolLease { model, name, generation, shared: kept }));
        });
        let asked = self.lock().ask(name, keep_alive, answer, Instant::now());
        match asked {
            Ok(told) => {
                perform(&self.0.0, vec![told]);
                PoolTicket { waits: None }
            }
            Err(id) => {
                self.0.0.changed.notify_all();
                PoolTicket { waits: Some((shared, name.to_owned(), id)) }
            }
        }
    }

    /// Has a model loaded though nobody waits for it.
    ///
    /// # Errors
    /// [`PoolError::Unknown`], [`PoolError::Closed`].
    pub fn load(&self, name: &str) -> Result<(), PoolError> {
        self.lock().want(name)?;
        self.0.0.changed.notify_all();
        Ok(())
    }

    /// Closes a model as soon as it has no requests. A load that nobody else waits for ends soon. Returns whether the pool has the model and may close it.
    pub fn unload(&self, name: &str) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(name).filter(|entry| !entry.gone && !entry.is_fixed()) else {
            return false;
        };
        entry.wanted = false;
        entry.leaves = matches!(entry.phase, Phase::Loaded(_));
        drop(state);
        self.0.0.changed.notify_all();
        true
    }

    /// A model as it is now; `None` if there is none of that name.
    pub fn look(&self, name: &str) -> Option<PoolModel<M>> {
        let state = self.lock();
        let entry = state.entries.get(name).filter(|entry| !entry.gone)?;
        Some(entry.look(state.is_queued(name), Instant::now()))
    }

    /// How much it holds.
    pub fn options(&self) -> PoolOptions {
        self.lock().options
    }

    /// Bytes of all that is loaded, and how often a model was closed for another one.
    pub fn used(&self) -> (u64, u64) {
        let state = self.lock();
        (state.used(None), state.evictions)
    }

    /// Closes all models, those in use too, and lends no more. Blocks until they are closed.
    pub fn close(&self) {
        self.0.shut();
    }
}

impl<M: Pooled> Handle<M> {
    fn shut(&self) {
        if self.0.process != std::process::id() {
            return;
        }
        let actions = self.0.lock().shut();
        self.0.changed.notify_all();
        for action in actions {
            match action {
                Action::Close(name, source, model) => end(&self.0, &name, &source, model),
                other => perform(&self.0, vec![other]),
            }
        }
    }
}

impl<M: Pooled> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Does what is to be done until the pool is closed.
fn keep<M: Pooled>(shared: &Arc<Shared<M>>) {
    let mut state = shared.lock();
    while !state.closed {
        let (actions, again) = state.step(Instant::now());
        if !actions.is_empty() {
            drop(state);
            perform(shared, actions);
            state = shared.lock();
            continue;
        }
        state = match again {
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Does what may take long on threads of its own.
fn perform<M: Pooled>(shared: &Arc<Shared<M>>, actions: Vec<Action<M>>) {
    for action in actions {
        match action {
            Action::Tell(answer, told) => answer(told),
            Action::Measure(name, source) => {
                let kept = Arc::clone(shared);
                let again = name.clone();
                on_thread(
                    move || {
                        let need = source.measure.as_ref().and_then(|measure| measure());
                        kept.lock().measured(&name, need);
                        kept.changed.notify_all();
                    },
                    || shared.lock().measured(&again, None),
                );
            }
            Action::Load(name, source) => {
                let kept = Arc::clone(shared);
                let again = name.clone();
                on_thread(
                    move || {
                        let loaded = (source.load)(watch(&kept, &name));
                        finish(&kept, &name, loaded);
                    },
                    || {
                        let message = "the system gave no thread to load it".to_owned();
                        finish(shared, &again, Err(LoadFailure { kind: ErrorKind::ModelLoad, message }));
                    },
                );
            }
            Action::Close(name, source, model) => {
                let kept = Arc::clone(shared);
                let (again, first) = ((name.clone(), source.clone()), model.clone());
                on_thread(
                    move || end(&kept, &name, &source, model),
                    || end(shared, &again.0, &again.1, first),
                );
            }
        }
    }
}

fn on_thread(work: impl FnOnce() + Send + 'static, otherwise: impl FnOnce()) {
    if thread::Builder::new().name("tabagent-load".to_owned()).spawn(work).is_err() {
        otherwise();
    }
}

/// Hears of a load, and says whether somebody still waits for it.
fn watch<M: Pooled>(shared: &Arc<Shared<M>>, name: &str) -> Watch {
    let (shared, name) = (Arc::clone(shared), name.to_owned());
    Arc::new(move |part| {
        let mut state = shared.lock();
        let closed = state.closed;
        let Some(entry) = state.entries.get_mut(&name) else { return false };
        entry.progress = part;
        !closed && entry.is_asked_for()
    })
}

fn finish<M: Pooled>(shared: &Arc<Shared<M>>, name: &str, loaded: Result<M, LoadFailure>) {
    let actions = shared.lock().loaded(name, loaded, Instant::now());
    perform(shared, actions);
    shared.changed.notify_all();
}

/// Closes a model. Its memory counts until that is done.
fn end<M: Pooled>(shared: &Arc<Shared<M>>, name: &str, source: &PoolSource<M>, model: M) {
    if let Some(leaving) = &source.leaving {
        leaving(&model);
    }
    match &source.release {
        Some(release) => release(model),
        None => model.close(),
    }
    shared.lock().ended(name);
    shared.changed.notify_all();
}

impl<M: Pooled> PoolLease<M> {
    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it from the same model loaded again.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl<M: Pooled> Drop for PoolLease<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        if let Some(entry) = state.entries.get_mut(&self.name)
            && entry.generation == self.generation
        {
            entry.leases = entry.leases.saturating_sub(1);
            entry.used = Instant::now();
        }
        drop(state);
        shared.changed.notify_all();
    }
}

impl<M: Pooled> Drop for PoolTicket<M> {
    fn drop(&mut self) {
        let Some((shared, name, id)) = self.waits.take() else { return };
        let Some(shared) = shared.upgrade() else { return };
        let mut state = shared.lock();
        let mut given_up = None;
        if let Some(entry) = state.entries.get_mut(&name)
            && let Some(at) = entry.waiting.iter().position(|waiter| waiter.id == id)
        {
            given_up = Some(entry.waiting.remove(at));
        }
        drop(state);
        drop(given_up);
        shared.changed.notify_all();
    }
}

impl<M: Pooled> std::fmt::Debug for ModelPool<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("ModelPool").field("models", &state.entries.len()).finish_non_exhaustive()
    }
}

impl<M: Pooled> std::fmt::Debug for PoolLease<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolLease").field("name", &self.name).finish_non_exhaustive()
    }
}
