//! The models that a server has, and which of them a request means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::Value;
use tabagent_model::{
    ChatTemplate, GenerateOptions, Model, ModelPool, PoolError, PoolLease, PoolModel, PoolOptions,
    PoolSource, SamplerConfig, Stay,
};
use tokio::sync::oneshot;

use crate::adapters::AdapterFile;
use crate::chat_defaults::ChatDefaults;
use crate::control::ControlFiles;
use crate::drafts::DraftSource;
use crate::error::{ApiError, Problem};
use crate::figures::{Figures, Totals};
use crate::hub::Hub;
use crate::load_state::LoadState;
use crate::numbers::now;

/// A model that a server offers: how it is loaded, and how it is served.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The name that responses have.
    pub name: String,
    /// Other names that requests may have.
    pub aliases: Vec<String>,
    /// What clients may filter by.
    pub tags: Vec<String>,
    /// Its file; empty where that is not known before it is loaded.
    pub path: PathBuf,
    /// The chat template; `None` for the file's own.
    pub template: Option<Arc<ChatTemplate>>,
    /// What a request has that does not say otherwise.
    pub defaults: GenerateOptions,
    /// What a conversation has that does not say otherwise.
    pub chat: ChatDefaults,
    /// Adapters that are loaded with it.
    pub adapters: Vec<AdapterFile>,
    /// Control vectors that change it for all requests.
    pub control: ControlFiles,
    /// A model that drafts for its requests, loaded with it.
    pub draft: Option<DraftSource>,
    /// How it is loaded.
    pub source: PoolSource,
    /// The text of a chat template that is parsed when the model is loaded, in place of the file's own.
    pub template_text: Option<String>,
    /// Tells whether it is still the same when models are read anew.
    pub identity: String,
}

impl ModelEntry {
    /// A model under its name, with llama.cpp's own sampling where a request asks for none.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, source: PoolSource) -> Self {
        let defaults = GenerateOptions {
            sampling: SamplerConfig::llama_cpp().into(),
            cache_prompt: Some(true),
            ..GenerateOptions::default()
        };
        Self {
            name: name.into(),
            aliases: Vec::new(),
            tags: Vec::new(),
            path: path.into(),
            template: None,
            defaults,
            chat: ChatDefaults::default(),
            adapters: Vec::new(),
            control: ControlFiles::default(),
            draft: None,
            source,
            template_text: None,
            identity: String::new(),
        }
    }

    /// A model that is loaded already, and stays.
    pub fn loaded(model: Model, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(name, path, PoolSource::fixed(model))
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// A loaded model and how it is served. It stays loaded until this is dropped.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) model: Model,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) template: Option<Arc<ChatTemplate>>,
    entry: Arc<ModelEntry>,
    pub(crate) state: Arc<LoadState>,
    _lease: PoolLease,
}

impl Served {
    /// What a request has that does not say otherwise.
    pub(crate) fn defaults(&self) -> &GenerateOptions {
        &self.entry.defaults
    }

    /// What a conversation has that does not say otherwise.
    pub(crate) fn chat_defaults(&self) -> &ChatDefaults {
        &self.entry.chat
    }
}

/// Which models there are, read anew.
pub type Reload = Arc<dyn Fn() -> Result<Vec<ModelEntry>, String> + Send + Sync>;

/// The models of a server. Cheap to clone.
#[derive(Clone)]
pub struct Models(Arc<Inner>);

struct Inner {
    pool: ModelPool,
    entries: RwLock<Vec<Arc<ModelEntry>>>,
    /// Every name means the one model there is.
    any_name: bool,
    /// A request for a model that is not loaded loads it.
    autoload: bool,
    reload: Option<Reload>,
    hub: Option<Hub>,
    /// What belongs to each loaded model.
    states: Arc<Mutex<BTreeMap<String, Arc<LoadState>>>>,
    /// Seconds since 1970.
    began: u64,
    /// The figures of models when they were let go.
    last_figures: Arc<Mutex<BTreeMap<String, Figures>>>,
    /// What `/metrics` told of models last, and of which load of each.
    told: Mutex<BTreeMap<String, (u64, Totals)>>,
    /// What was told of models that were loaded.
    known: Mutex<BTreeMap<String, Value>>,
}

impl Models {
    /// One model, which answers under every name, as llama-server's does.
    pub fn one(entry: ModelEntry) -> Self {
        Self::with(vec![entry], PoolOptions { keep_alive: Stay::ForEver, ..PoolOptions::default() }, true)
    }

    /// One model that is loaded when it is asked for, and answers under every name.
    pub fn one_of_pool(entry: ModelEntry, options: PoolOptions) -> Self {
        Self::with(vec![entry], options, true)
    }

    /// Several models, each under its names.
    pub fn several(entries: Vec<ModelEntry>, options: PoolOptions) -> Self {
        Self::with(entries, options, false)
    }

    fn with(entries: Vec<ModelEntry>, options: PoolOptions, any_name: bool) -> Self {
        let models = Self(Arc::new(Inner {
            pool: ModelPool::new(options),
            entries: RwLock::default(),
            any_name,
            autoload: true,
            reload: None,
            hub: None,
            states: Arc::default(),
            began: now(),
            last_figures: Arc::default(),
            told: Mutex::default(),
            known: Mutex::default(),
        }));
        for entry in entries {
            models.add(entry);
        }
        models
    }

    /// The same, which loads no model by itself unless `autoload`, and can read anew which models there are and fetch others.
    #[must_use]
    pub fn with_behaviour(self, autoload: bool, reload: Option<Reload>, hub: Option<Hub>) -> Self {
        let Inner { pool, any_name, states, last_figures, .. } = &*self.0;
        Self(Arc::new(Inner {
            pool: pool.clone(),
            entries: RwLock::new(self.all()),
            any_name: *any_name,
            autoload,
            reload,
            hub,
            states: Arc::clone(states),
            began: now(),
            last_figures: Arc::clone(last_figures),
            told: Mutex::default(),
            known: Mutex::default(),
        }))
    }

    /// What fetches other models.
    pub(crate) fn hub(&self) -> Option<&Hub> {
        self.0.hub.as_ref()
    }

    /// All of them, loaded or not.
    pub(crate) fn all(&self) -> Vec<Arc<ModelEntry>> {
        self.0.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is one model, which every name means.
    pub(crate) fn is_one(&self) -> bool {
        self.0.any_name
    }

    /// The figures of a model: those of now, or of its end where it was loaded and is not now. Does not load it.
    pub(crate) fn figures(&self, name: &str) -> Option<Figures> {
        let now = self.look(name)?;
        if let Some(model) = now.model {
            let states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
            let counted =
                states.get(name).filter(|state| state.is_of(&model)).map(|state| state.counts.now());
            return Figures::of(&model, counted.unwrap_or_default()).ok();
        }
        self.0.last_figures.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What came since `/metrics` told of a model last; remembers `totals` for the next time.
    pub(crate) fn since_told(&self, name: &str, totals: Totals) -> Totals {
        let loads = self.look(name).map_or(0, |now| now.loads);
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.insert(name.to_owned(), (loads, totals));
        // A model that was loaded anew counts from 0.
        totals.since(before.filter(|(of, _)| *of == loads).map(|(_, before)| before).unwrap_or_default())
    }

    /// How many may be loaded at the same time.
    pub(crate) fn most(&self) -> Option<usize> {
        self.0.pool.options().max_models
    }

    /// What `/props` told of a model when it was loaded.
    pub(crate) fn known(&self, name: &str) -> Option<Value> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Remembers what `/props` tells of a loaded model.
    pub(crate) fn remember(&self, name: &str, told: Value) {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), told);
    }

    pub(crate) fn autoloads(&self) -> bool {
        self.0.autoload
    }

    /// Adds a model, or replaces the one of its name.
    pub(crate) fn add(&self, entry: ModelEntry) {
        let (states, name) = (Arc::clone(&self.0.states), entry.name.clone());
        let last = Arc::clone(&self.0.last_figures);
        let forget = move |model: &Model| {
            let state = states.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            let counted = state.map(|state| state.counts.now()).unwrap_or_default();
            if let Ok(figures) = Figures::of(model, counted) {
                last.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), figures);
            }
        };
        self.0.pool.set(&entry.name, entry.source.clone().with_leaving(forget));
        let mut entries = self.0.entries.write().unwrap_or_else(PoisonError::into_inner);
        match entries.iter_mut().find(|known| known.name == entry.name) {
            Some(known) => *known = Arc::new(entry),
            None => entries.push(Arc::new(entry)),
        }
    }

    /// Takes a model out; it is closed once it is idle.
    pub(crate) fn remove(&self, name: &str) {
        self.0.pool.remove(name);
        self.0.entries.write().unwrap_or_else(PoisonError::into_inner).retain(|known| known.name != name);
    }

    /// Reads anew which models there are. Those that are the same stay as they are. Blocks.
    pub(crate) fn reload(&self) -> Result<(), ApiError> {
        let Some(reload) = &self.0.reload else { return Ok(()) };
        let read = reload().map_err(|why| ApiError::new(Problem::Internal, why))?;
        for known in self.all() {
            if !read.iter().any(|entry| entry.name == known.name) {
                self.remove(&known.name);
            }
        }
        for entry in read {
            let known = self.all().into_iter().find(|known| known.name == entry.name);
            if known.is_none_or(|known| known.identity != entry.identity) {
                self.add(entry);
            }
        }
        Ok(())
    }

    /// The model that a request means by `name`, loaded or not.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Arc<ModelEntry>, ApiError> {
        let all = self.all();
        let given = name.filter(|name| !name.is_empty());
        let found = match (given, all.as_slice()) {
            (_, [only, ..]) if self.0.any_name => Some(only),
            (None, [only]) => Some(only),
            (None, _) => {
                let message = "`model` is missing, and this server has several; `/v1/models` lists them";
                return Err(ApiError::field("model", message));
            }
            (Some(name), _) => {
                // Ollama's clients add the tag that it gives to names without one.
                let plain = name.strip_suffix(":latest");
                let of = |name: &str| all.iter().find(|entry| entry.answers_to(name));
                of(name).or_else(|| plain.and_then(of))
            }
        };
        let unknown = || {
            let name = given.unwrap_or_default();
            let message = format!("there is no model `{name}`; `/v1/models` lists them");
            ApiError { field: Some("model".to_owned()), ..ApiError::new(Problem::ModelNotFound, message) }
        };
        found.map(Arc::clone).ok_or_else(unknown)
    }

    /// A model as it is now.
    pub(crate) fn look(&self, name: &str) -> Option<PoolModel<Model>> {
        self.0.pool.look(name)
    }

    /// Seconds since 1970 when the server began.
    pub(crate) fn began(&self) -> u64 {
        self.0.began
    }

    /// Seconds since 1970 when it was loaded; of one that nobody asked for yet, when the server began.
    pub(crate) fn created(&self, name: &str) -> u64 {
        let states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(name).map_or(self.0.began, |state| state.created)
    }

    /// Has a model loaded, without waiting for it.
    pub(crate) fn preload(&self, name: &str) -> Result<(), PoolError> {
        self.0.pool.load(name)
    }

    /// As [`preload`](Self::preload), for a request.
    pub(crate) fn load(&self, name: &str) -> Result<(), ApiError> {
        Ok(self.preload(name)?)
    }

    /// Has a model closed once it is idle.
    pub(crate) fn unload(&self, name: &str) -> bool {
        self.0.pool.unload(name)
    }

    /// The model that a request means by `name`; waits until it is loaded. It stays for `keep_alive` after the request.
    pub(crate) async fn resolve(
        &self,
        name: Option<&str>,
        keep_alive: Option<Stay>,
        may_load: bool,
    ) -> Result<Arc<Served>, ApiError> {
        let entry = self.find(name)?;
        if !may_load && self.look(&entry.name).is_none_or(|now| now.model.is_none()) {
            let message = format!("model `{}` is not loaded; load it with `POST /models/load`", entry.name);
            return Err(ApiError::field("model", message));
        }
        let (tell, told) = oneshot::channel();
        let ticket = self.0.pool.ask(&entry.name, keep_alive, move |answer| drop(tell.send(answer)));
        let answer = told.await;
        drop(ticket);
        let lease = match answer {
            Ok(lease) => lease.map_err(|error| ApiError::of_pool(&error, &entry.path))?,
            Err(_) => return Err(crate::stop::stopping()),
        };
        let state = self.state(&entry, &lease).await?;
        Ok(Arc::new(Served {
            model: lease.model().clone(),
            name: entry.name.clone(),
            path: entry.path.clone(),
            template: entry.template.clone().or_else(|| state.template.clone()),
            entry,
            state,
            _lease: lease,
        }))
    }

    /// What belongs to the loaded model; made anew when it was loaded anew.
    async fn state(&self, entry: &Arc<ModelEntry>, lease: &PoolLease) -> Result<Arc<LoadState>, ApiError> {
        let generation = lease.generation();
        let fits = |state: &&Arc<LoadState>| state.generation == generation && state.is_of(lease.model());
        let states = || self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states().get(&entry.name).filter(fits) {
            return Ok(Arc::clone(state));
        }
        let (model, of) = (lease.model().clone(), Arc::clone(entry));
        let made = move || LoadState::new(generation, model, &of);
        let made = tokio::task::spawn_blocking(made).await.unwrap_or_else(|_| {
            Err(ApiError::new(Problem::Internal, "the working thread failed; this is a defect of tabagent"))
        })?;
        let mut states = states();
        // Another request may have been quicker.
        if let Some(state) = states.get(&entry.name).filter(fits) {
            return Ok(Arc::clone(state));
        }
        let made = Arc::new(made);
        states.insert(entry.name.clone(), Arc::clone(&made));
        Ok(made)
    }

    /// Closes all models that were loaded here. Blocks.
    pub(crate) fn close(&self) {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.pool.close();
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("pool", &self.0.pool).finish_non_exhaustive()
    }
}
