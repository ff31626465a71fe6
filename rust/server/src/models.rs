//! The models that a server has, and which of them a request means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tabagent_model::{ChatTemplate, GenerateOptions, Model, SamplerConfig};

use crate::error::ApiError;

/// A loaded model and how it is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The model.
    pub model: Model,
    /// The name that responses have.
    pub name: String,
    /// Other names that requests may have.
    pub aliases: Vec<String>,
    /// Its file.
    pub path: PathBuf,
    /// Seconds since 1970 when it was loaded.
    pub created: u64,
    /// The chat template; `None` for the file's own.
    pub template: Option<Arc<ChatTemplate>>,
    /// What a request has that does not say otherwise.
    pub defaults: GenerateOptions,
}

impl Served {
    /// A model under its name, with llama.cpp's own sampling where a request asks for none.
    pub fn new(model: Model, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let defaults = GenerateOptions {
            sampling: SamplerConfig::llama_cpp().into(),
            cache_prompt: true,
            ..GenerateOptions::default()
        };
        Self {
            model,
            name: name.into(),
            aliases: Vec::new(),
            path: path.into(),
            created,
            template: None,
            defaults,
        }
    }
}

/// The models of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Models {
    all: Arc<Vec<Arc<Served>>>,
}

impl Models {
    /// One model, which answers under every name, as llama-server's does.
    pub fn one(served: Served) -> Self {
        Self { all: Arc::new(vec![Arc::new(served)]) }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Arc<Served>] {
        &self.all
    }

    /// The model that a request means by `name`; may wait until it is loaded.
    #[expect(clippy::unused_async, reason = "a pool loads here")]
    pub(crate) async fn resolve(&self, _name: Option<&str>) -> Result<Arc<Served>, ApiError> {
        match self.all.first() {
            Some(served) => Ok(Arc::clone(served)),
            None => Err(ApiError::new(crate::error::Problem::ModelNotFound, "this server has no model")),
        }
    }
}
