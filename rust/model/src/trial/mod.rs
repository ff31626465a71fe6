//! Trying a model in a child process before it is loaded into this one.
//!
//! llama.cpp aborts, crashes or loops on some files that pass every check of their tables: a merge, another's conversion, a new architecture. A
//! [`Trial`] loads such a file in a child first and computes a few tokens with it. The verdict is kept, by what could change it: the file's header
//! and tensor table, the library, the options and the processor.

mod child;
mod error;
mod parent;
mod plan;
mod verdicts;

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tabagent_llama::{Library, LogLevel, ModelConfig, ModelError, note};

use crate::error::Error;
use crate::load::LoadOptions;
use crate::value::{Fields, OptionError, Value, text};

pub(crate) use child::{answer_parent, attempt};
pub use error::TrialError;
pub(crate) use parent::{Heard, hear};

use parent::Outcome;
use plan::Plan;
use verdicts::{Verdict, Verdicts};

/// How to try a model in a child process before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The program `tabagent-child`.
    pub program: PathBuf,
    /// The folder of verdicts; without one, every load is tried.
    pub verdicts: Option<PathBuf>,
    /// Try now, whatever is remembered, and fail where no child can be started.
    pub always: bool,
}

impl Trial {
    /// These options, by the names that [`read`](Self::read) knows.
    pub(crate) fn told(&self) -> Json {
        let Self { program, verdicts, always } = self;
        json!({ "program": program.to_str(), "verdicts": verdicts.as_ref().and_then(|path| path.to_str()), "always": always })
    }

    /// Reads `program`, `verdicts` and `always` by their names.
    ///
    /// # Errors
    /// [`OptionError`] names the one that is missing, unknown or has a wrong type.
    pub(crate) fn read(given: Value) -> Result<Self, OptionError> {
        let mut given = Fields::new(given, "trial")?;
        let program = given.take("program").ok_or(OptionError::Missing { name: "trial.program" })?;
        let read = Self {
            program: text("trial.program", program)?.into(),
            verdicts: given
                .take("verdicts")
                .map(|path| text("trial.verdicts", path))
                .transpose()?
                .map(PathBuf::from),
            always: given.flag("always")?.unwrap_or(false),
        };
        given.finish()?;
        Ok(read)
    }
}

/// Holds the trial that `options` ask for, if its verdict is not known. `goes_on` is asked all the while whether to go on.
pub(crate) fn hold(
    library: &Library,
    config: &mut ModelConfig,
    options: &LoadOptions,
    goes_on: impl Fn() -> bool,
) -> Result<(), Error> {
    let Some(trial) = &options.trial else { return Ok(()) };
    let plan = Plan::new(library, config, options)?;
    let verdicts = trial.verdicts.as_deref().map(Verdicts::new);
    if !trial.always
        && let Some(known) = verdicts.as_ref().and_then(|verdicts| verdicts.get(&plan.key))
    {
        return match known {
            Verdict::Survived => Ok(()),
            Verdict::Died(words) => Err(TrialError::Died { path: plan.path, words }.into()),
        };
    }
    let keep = |verdict: &Verdict| {
        if let Some(verdicts) = &verdicts
            && let Err(error) = verdicts.put(&plan.key, verdict)
        {
            note(LogLevel::Warn, &format!("the verdict of a trial cannot be kept: {error}"));
        }
    };
    match parent::run(&trial.program, &plan, goes_on) {
        Ok(Outcome::Survived) => {
            keep(&Verdict::Survived);
            Ok(())
        }
        // What is wrong with it the load will say itself.
        Ok(Outcome::Refused) => Ok(()),
        Ok(Outcome::Stopped) => Err(ModelError::Cancelled(plan.path).into()),
        Ok(Outcome::Died(words)) => {
            keep(&Verdict::Died(words.clone()));
            Err(TrialError::Died { path: plan.path, words }.into())
        }
        Ok(Outcome::ShortOfMemory(words)) => Err(TrialError::ShortOfMemory { path: plan.path, words }.into()),
        Ok(Outcome::Hung(words)) => {
            Err(TrialError::Hung { path: plan.path, seconds: plan.limit.as_secs(), words }.into())
        }
        Err(source) if trial.always => {
            Err(TrialError::NoChild { path: plan.path, program: trial.program.clone(), source }.into())
        }
        Err(source) => {
            let program = trial.program.display();
            note(LogLevel::Warn, &format!("no trial, because `{program}` cannot be started: {source}"));
            Ok(())
        }
    }
}
