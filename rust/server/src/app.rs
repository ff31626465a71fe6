//! What all handlers share.

use std::sync::Arc;

use crate::error::{ApiError, Problem};
use crate::keys::Keys;
use crate::models::{Models, Served};
use crate::settings::Settings;
use crate::slots::Slots;
use crate::stop::Stop;

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// What is shared.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) models: Models,
    pub(crate) keys: Keys,
    pub(crate) slots: Slots,
    pub(crate) stop: Stop,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(settings: Settings, models: Models) -> Self {
        let keys = Keys::new(&settings.keys);
        Self(Arc::new(Shared { settings, models, keys, slots: Slots::default(), stop: Stop::default() }))
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
        if self.stop.is_draining() {
            return Err(crate::stop::stopping());
        }
        self.models.resolve(name).await
    }
}
