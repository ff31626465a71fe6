//! A loaded model with its decode thread.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tabagent_llama::{
    Adapter, AtWork, Context, ContextConfig, ControlSum, ControlVector, KvType, MemoryNeed,
    Model as LlamaModel, TokenId,
};
use tabagent_runtime::{Engine, EngineError, EngineStats, Metrics};

use crate::adapter_set::AdapterSet;
use crate::changes::Changes;
use crate::context_options::context_config;
use crate::error::Error;
use crate::memory::Fitted;
use crate::offload::Offload;
use crate::open::{ContextSizes, Open};
use crate::own_engine::OwnEngine;
use crate::rewritten::Rewritten;
use crate::threads_in_use::ThreadsInUse;
use crate::value::Value;

/// A loaded model with its decode thread. Cheap to clone; all clones are the same model, and any thread may use them.
///
/// It is closed by [`close`](Self::close), or when the last clone is dropped; both wait for the decode thread to end.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once closed.
    open: RwLock<Option<Arc<Open>>>,
    process: u32,
}

impl From<Open> for Model {
    fn from(open: Open) -> Self {
        let inner = Inner { open: RwLock::new(Some(Arc::new(open))), process: std::process::id() };
        Self { inner: Arc::new(inner) }
    }
}

impl Model {
    /// A closed model, to leave in the place of one that was taken away.
    pub fn closed() -> Self {
        let inner = Inner { open: RwLock::default(), process: std::process::id() };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn open(&self) -> Result<Arc<Open>, Error> {
        if self.inner.process != std::process::id() {
            return Err(EngineError::Forked.into());
        }
        let open = self.inner.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(open.clone().ok_or(EngineError::Closed)?)
    }

    /// The underlying llama.cpp model: its vocabulary, facts and metadata.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn llama(&self) -> Result<LlamaModel, Error> {
        Ok(self.open()?.model.clone())
    }

    /// The library of the process that the model is in, as [`describe_library`](crate::describe_library) does; `None` if that is this process.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn library_elsewhere(&self) -> Result<Option<String>, Error> {
        Ok(self.open()?.host.as_ref().map(|host| host.library().to_owned()))
    }

    /// How the process of the model ended after which the model was moved from its devices to the CPU; `None` if it was not.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn moved_to_cpu(&self) -> Result<Option<String>, Error> {
        Ok(self.open()?.host.as_ref().and_then(|host| host.moved()).map(str::to_owned))
    }

    /// Sizes of the decode thread's context, or of a model that only embeds, of its batches.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn sizes(&self) -> Result<ContextSizes, Error> {
        Ok(self.open()?.sizes())
    }

    /// All tokens that end a generation. The first call goes through the vocabulary.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn end_tokens(&self) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.end_tokens().to_vec())
    }

    /// Bytes that the model and the decode thread's context take; zeros with `vocab_only`.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn memory(&self) -> Result<MemoryNeed, Error> {
        Ok(self.open()?.memory())
    }

    /// Number formats of the keys and values of the decode thread's context.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn kv_types(&self) -> Result<(KvType, KvType), Error> {
        Ok(self.open()?.kv_types())
    }

    /// What was changed so that it fits; `None` if nothing was.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn fitted(&self) -> Result<Option<Fitted>, Error> {
        Ok(self.open()?.fitted.clone())
    }

    /// How many layers went to devices, where fewer did than would by default, and why.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn offload(&self) -> Result<Offload, Error> {
        Ok(self.open()?.offload.clone())
    }

    /// What is known of it where the project's own engine computes it; `None` where llama.cpp does.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn own_engine(&self) -> Result<Option<OwnEngine>, Error> {
        Ok(self.open()?.own_engine)
    }

    /// The file of the cache that was loaded in place of one with tensors of Microsoft's BitNet fork; `None` for any other.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn rewritten(&self) -> Result<Option<Rewritten>, Error> {
        Ok(self.open()?.rewritten.clone())
    }

    /// What the decode thread has to do now.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn stats(&self) -> Result<EngineStats, Error> {
        Ok(self.open()?.engine.as_ref().map(Engine::stats).unwrap_or_default())
    }

    /// What the decode thread did since the model was loaded.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        Ok(self.open()?.engine.as_ref().map(Engine::metrics).unwrap_or_default())
    }

    /// The numbers of threads that the decode thread computes with now; zeros with `vocab_only`.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn threads_in_use(&self) -> Result<ThreadsInUse, Error> {
        Ok(self.open()?.threads.get())
    }

    /// Another context of this model, with the options of that name; see [`ContextConfig`].
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::Context`], [`Error::Engine`].
    pub fn create_context(&self, options: Value) -> Result<Context, Error> {
        let open = self.open()?;
        let config: ContextConfig = context_config(options, open.sizes().threads)?;
        Ok(open.model.create_context_with(&config)?)
    }

    /// Loads an adapter, a GGUF file or what the `peft` library wrote, for this model. Blocks for about as long as the model takes for a token.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::Engine`].
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, Error> {
        Ok(self.open()?.model.load_adapter(path)?)
    }

    /// What changes this model for requests: `adapters` and `vectors`, each with a scale, the latter in all layers or in `layers` alone.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::ControlVector`], [`Error::Engine`].
    pub fn changes(
        &self,
        adapters: &[(Adapter, f32)],
        vectors: &[(ControlVector, f32)],
        layers: Option<RangeInclusive<u32>>,
    ) -> Result<Changes, Error> {
        let open = self.open()?;
        let adapters = AdapterSet::new(&open.model, adapters)?;
        Ok(Changes::new(adapters, ControlSum::new(&open.model, vectors, layers)?)?)
    }

    /// Reads a control vector, a GGUF file, for this model.
    ///
    /// # Errors
    /// [`Error::ControlVector`], [`Error::Engine`].
    pub fn load_control_vector(&self, path: &Path) -> Result<ControlVector, Error> {
        Ok(self.open()?.model.load_control_vector(path)?)
    }

    /// A control vector of numbers, the direction of each layer that it moves; errors call it `name`.
    ///
    /// # Errors
    /// [`Error::ControlVector`], [`Error::Engine`].
    pub fn control_vector(
        &self,
        name: &str,
        directions: BTreeMap<u32, Vec<f32>>,
    ) -> Result<ControlVector, Error> {
        Ok(self.open()?.model.control_vector(name, directions)?)
    }

    /// Ends all streams, the decode thread and what computes vectors, and lets go of the weights, which are freed when nothing uses them any more. May be called again.
    pub fn close(&self) {
        let open = self.inner.open.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        if self.inner.process != std::process::id() {
            forget(open);
            return;
        }
        if let Some(host) = &open.host {
            host.refuse();
        }
        let mut hangs = false;
        if let Ok(engine) = &open.engine {
            engine.close();
            hangs = engine.is_lost();
        }
        if let Some(embedder) = &open.embedder {
            hangs |= !embedder.close();
        }
        if hangs {
            // A thread stays inside llama.cpp, whose static objects must live as long as the process does.
            std::mem::forget(AtWork::begin());
        }
        if let Some(host) = &open.host {
            host.close();
        }
        open.drafts.close();
        open.compiler.close();
    }

    /// Whether both are clones of one model.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// A forked child has no threads of its parent and must not touch its locks, so nothing is dropped; the memory goes with the process.
fn forget(open: Arc<Open>) {
    std::mem::forget(open);
}

impl Drop for Inner {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        if self.process == std::process::id() {
            open.compiler.close();
        } else {
            forget(open);
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
