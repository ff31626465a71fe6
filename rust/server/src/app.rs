//! What all handlers share.

use std::sync::Arc;

use tabagent_model::Stay;

use crate::access_log::AccessLog;
use crate::error::{ApiError, Problem};
use crate::keys::Keys;
use crate::models::{Models, Served};
use crate::settings::Settings;
use crate::stop::Stop;
use crate::waiting;

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// What is shared.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) models: Models,
    pub(crate) keys: Keys,
    pub(crate) stop: Stop,
    pub(crate) log: Option<AccessLog>,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(settings: Settings, models: Models, log: Option<AccessLog>) -> Self {
        let keys = Keys::new(&settings.keys);
        Self(Arc::new(Shared { settings, models, keys, stop: Stop::default(), log }))
    }

    /// Does what may block on a thread for that.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(ApiError::new(Problem::Internal, "the working thread failed; this is a defect of tabagent"))
        })
    }

    /// The model that a request means.
    pub(crate) async fn model(&self, name: Option<&str>) -> Result<Arc<Served>, ApiError> {
        self.model_for(name, None).await
    }

    /// The model that a request means, which stays loaded for `keep_alive` after it; `None` leaves that to the server.
    pub(crate) async fn model_for(
        &self,
        name: Option<&str>,
        keep_alive: Option<Stay>,
    ) -> Result<Arc<Served>, ApiError> {
        self.loaded_model(name, keep_alive, self.models.autoloads()).await
    }

    /// As [`model_for`](Self::model_for), whether or not the server loads models by itself.
    pub(crate) async fn loaded_model(
        &self,
        name: Option<&str>,
        keep_alive: Option<Stay>,
        may_load: bool,
    ) -> Result<Arc<Served>, ApiError> {
        if self.stop.is_draining() {
            return Err(crate::stop::stopping());
        }
        waiting::note_waiting(true);
        let served = tokio::select! {
            served = self.models.resolve(name, keep_alive, may_load) => served?,
            () = self.stop.ending() => return Err(crate::stop::stopping()),
        };
        waiting::note_waiting(false);
        if self.models.known(&served.name).is_none() {
            let (shared, told) = (self.clone(), Arc::clone(&served));
            let told = self.work(move || crate::llama_cpp::written(&shared.settings, &told)).await?;
            self.models.remember(&served.name, told);
        }
        Ok(served)
    }
}
