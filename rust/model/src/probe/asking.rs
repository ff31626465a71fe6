//! The parent's side: it asks a child, and keeps what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tabagent_llama::{LogLevel, note};

use super::files::{file_stamp, library_files};
use crate::trial::{Heard, hear};

/// How to ask, in a child process, what a library and GPUs do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The program `tabagent-child`.
    pub program: PathBuf,
    /// The folder in which answers are kept; without one, every choice of a library asks.
    pub reports: Option<PathBuf>,
}

/// What is asked of a child.
pub(super) struct Question<'a> {
    /// The task, as the program's first argument has it.
    pub(super) task: &'static str,
    /// What the child says before its answer in JSON.
    pub(super) sign: &'static str,
    /// The directory of the library.
    pub(super) library: &'a Path,
    /// What to open.
    pub(super) request: Json,
    /// How long it may take.
    pub(super) patience: Duration,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The child was taken down, in these words.
    Died(String),
    /// It says nothing about the next time, in words that follow on the name of what was asked about.
    ThisTime(String),
    /// No child can be started, in such words.
    NoChild(String),
}

impl Probe {
    /// What is kept under a name; `None` also for what cannot be read, which is then asked again.
    pub(super) fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.reports.as_ref()?.join(name)).ok()?).ok()
    }

    /// Keeps an answer under a name: others see the whole file or none.
    pub(super) fn keep(&self, name: &str, answer: &impl Serialize) {
        let Some(folder) = &self.reports else { return };
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut fresh, answer)?;
            fresh.persist(folder.join(name))?;
            Ok(())
        };
        if let Err(error) = write() {
            note(LogLevel::Warn, &format!("what a library does cannot be kept: {error}"));
        }
    }

    /// Starts a child and waits for its answer.
    pub(super) fn ask<T: DeserializeOwned>(&self, question: &Question<'_>) -> Result<T, NoAnswer> {
        let Question { task, sign, library, request, patience } = question;
        let arguments = [task.as_ref(), library.as_os_str()];
        let is_answer = |line: &str| line.starts_with(sign);
        match hear(&self.program, &arguments, &request.to_string(), *patience, is_answer, || true) {
            Ok(Heard::Told(line)) => serde_json::from_str(line.trim_start_matches(sign))
                .map_err(|error| NoAnswer::ThisTime(format!("was not understood: {error}"))),
            Ok(Heard::Died(words)) => Err(NoAnswer::Died(words)),
            Ok(Heard::ShortOfMemory(words)) => {
                Err(NoAnswer::ThisTime(format!("could not be tried for want of memory: the child {words}")))
            }
            Ok(Heard::Late(words)) => {
                Err(NoAnswer::ThisTime(format!("did not answer within {} s{words}", patience.as_secs())))
            }
            Ok(Heard::Stopped) => Err(NoAnswer::ThisTime("was not waited for".to_owned())),
            Err(error) => {
                let program = self.program.display();
                Err(NoAnswer::NoChild(format!(
                    "cannot be tried, because `{program}` does not start: {error}"
                )))
            }
        }
    }
}

/// The name of an answer, of a digest of what may change it: `facts`, all libraries in the directory `library`, and `others`.
pub(super) fn key(kind: &str, facts: &str, library: &Path, others: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    hash.update(facts);
    for file in library_files(library).iter().chain(others) {
        hash.update(file_stamp(file));
    }
    hash.finalize()[..16].iter().fold(format!("{kind}-"), |name, byte| name + &format!("{byte:02x}"))
}
