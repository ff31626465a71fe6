//! Models of a hub, fetched by a program of the face's.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tabagent_model::{ErrorKind, LoadFailure};

use crate::models::ModelEntry;

/// Makes the model that is offered under a name from its file.
pub type Offer = Arc<dyn Fn(&str, PathBuf) -> ModelEntry + Send + Sync>;

/// Fetches models. The program gets a model's name as its last argument and writes lines of JSON: `{"status": …, "completed": …, "total": …}` as it goes on, at least every few
/// seconds, and `{"path": …}` or `{"error": …}` at the end. It is ended when nobody wants the model any more.
#[derive(Clone)]
pub struct Hub {
    /// The program and its first arguments.
    pub command: Vec<OsString>,
    /// Makes a model of what was fetched.
    pub offer: Offer,
}

/// A program that is ended when this is dropped.
struct Fetching(Child);

impl Drop for Fetching {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn failed(message: impl Into<String>) -> LoadFailure {
    LoadFailure { kind: ErrorKind::ModelLoad, message: message.into() }
}

impl Hub {
    /// The file of a model, fetched where it is not here. `tell` hears of each line; once it returns false, the fetching ends. Blocks.
    ///
    /// # Errors
    /// What the program says, or that it cannot be started or gives no file.
    pub fn fetch(&self, name: &str, tell: &mut dyn FnMut(Value) -> bool) -> Result<PathBuf, LoadFailure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err(failed("this server fetches no models"));
        };
        let child = Command::new(program)
            .args(arguments)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("cannot start the program that fetches models: {error}")))?;
        let mut fetching = Fetching(child);
        let Some(output) = fetching.0.stdout.take() else {
            return Err(failed("the program that fetches models is mute"));
        };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| {
                failed(format!("cannot read from the program that fetches models: {error}"))
            })?;
            let Ok(told) = serde_json::from_str::<Value>(&line) else { continue };
            if let Some(path) = told.get("path").and_then(Value::as_str) {
                return Ok(path.into());
            }
            if let Some(error) = told.get("error").and_then(Value::as_str) {
                let missing = told.get("missing").and_then(Value::as_bool).unwrap_or_default();
                let kind = if missing { ErrorKind::ModelNotFound } else { ErrorKind::ModelLoad };
                return Err(LoadFailure { kind, message: error.to_owned() });
            }
            if !tell(told) {
                return Err(LoadFailure {
                    kind: ErrorKind::ModelLoadCancelled,
                    message: format!("nobody waits for `{name}` any more"),
                });
            }
        }
        Err(failed(format!("the program that fetches models ended without the file of `{name}`")))
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("command", &self.command).finish_non_exhaustive()
    }
}
