//! The adapters of a model, and how much of each requests get.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tabagent_model::{Adapter, Changes, Error, Model};

use crate::control::{Control, ControlFiles};
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};

/// A file with an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterFile {
    /// The file, or what the `peft` library wrote.
    pub path: PathBuf,
    /// How much of it requests get that do not say.
    pub scale: f32,
}

/// The adapters of a loaded model, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    all: Vec<(String, Adapter)>,
    /// How much of each requests get that do not say.
    scales: Mutex<Vec<f32>>,
    /// What changes the model for all requests.
    control: Control,
}

impl Adapters {
    /// Loads adapters. Blocks.
    pub(crate) fn load(
        model: &Model,
        files: &[AdapterFile],
        control: &ControlFiles,
    ) -> Result<Self, ApiError> {
        let load = |file: &AdapterFile| {
            let loaded = model.load_adapter(&file.path).map_err(|error| told(&error, &file.path))?;
            Ok((file_name(&file.path), loaded))
        };
        let all = files.iter().map(load).collect::<Result<_, ApiError>>()?;
        let control = control.load(model)?;
        Ok(Self { all, scales: Mutex::new(files.iter().map(|file| file.scale).collect()), control })
    }

    fn scales(&self) -> Vec<f32> {
        self.scales.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of them, as llama-server lists them; files without their folder.
    pub(crate) fn listed(&self) -> Value {
        let entry = |(id, ((name, adapter), scale)): (usize, (&(String, Adapter), f32))| json!({"id": id, "path": name, "scale": scale, "task_name": adapter.facts().name, "prompt_prefix": ""});
        self.all.iter().zip(self.scales()).enumerate().map(entry).collect()
    }

    /// The scales that a list of `{"id": …, "scale": …}` gives; those that are not in it have none.
    fn read(&self, name: &str, items: Vec<Value>) -> Result<Vec<f32>, ApiError> {
        let mut scales = vec![0.0; self.all.len()];
        for (at, item) in items.into_iter().enumerate() {
            let place = format!("{name}[{at}]");
            let mut item = JsonFields::inside(&place, item)?;
            let last = self.all.len() as i64 - 1;
            if last < 0 {
                let message = format!(
                    "`{name}` names adapters, and this model has none; start the server with `--lora`"
                );
                return Err(ApiError::field(name, message));
            }
            let id = item
                .integer("id", 0..=last)
                .map_err(|error| ApiError::field(&place, format!("`{place}`: {error}")))?;
            let id = id.ok_or_else(|| ApiError::field(&place, format!("`{place}` must have an `id`")))?;
            let scale = item
                .number("scale")
                .map_err(|error| ApiError::field(&place, format!("`{place}`: {error}")))?;
            scales[id as usize] = scale.unwrap_or(1.0) as f32;
        }
        Ok(scales)
    }

    /// Sets how much of each requests get that do not say.
    pub(crate) fn set(&self, value: Value) -> Result<(), ApiError> {
        let Value::Array(items) = value else {
            return Err(mistyped("the body", "a list of adapters", &value));
        };
        let scales = self.read("lora", items)?;
        *self.scales.lock().unwrap_or_else(PoisonError::into_inner) = scales;
        Ok(())
    }

    /// What changes the model for a request with this `lora`.
    pub(crate) fn changes(&self, model: &Model, lora: Option<Vec<Value>>) -> Result<Changes, ApiError> {
        let scales = match lora {
            Some(items) => self.read("lora", items)?,
            None => self.scales(),
        };
        let used: Vec<(Adapter, f32)> = self
            .all
            .iter()
            .zip(&scales)
            .filter(|(_, scale)| **scale != 0.0)
            .map(|((_, adapter), scale)| (adapter.clone(), *scale))
            .collect();
        let Control { vectors, layers } = &self.control;
        if used.is_empty() && vectors.is_empty() {
            return Ok(Changes::default());
        }
        Ok(model.changes(&used, vectors, layers.clone())?)
    }
}

/// What stands in the way of loading a file. Clients are told of no folder.
pub(crate) fn told(error: &Error, path: &Path) -> ApiError {
    let message = error.to_string().replace(&path.display().to_string(), &file_name(path));
    ApiError::from_parts(error, message)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
