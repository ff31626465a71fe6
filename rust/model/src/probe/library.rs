//! Whether a library can be used, as a child found that tried it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tabagent_llama::{AddedBackends, LogLevel, note};
use tabagent_variants::{CpuFacts, LibraryBuild, Verdict};

use super::asking::{NoAnswer, Probe, Question, key};
use super::library_child::REPORT;
use crate::library::OpenRequest;

/// Counts up when a child says or does something else than before.
const VERSION: &str = "tabagent library 1";
/// How long the child may take: loading and the tiny model take a tenth of a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a library in a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LibraryReport {
    /// It computes what it should.
    Proven(LibraryBuild),
    /// Opening it is an error, which whoever opens it gets, too.
    Refused(String),
    /// It crashes, hangs or computes something else: in words that follow on its name.
    Faulty(String),
    /// Nobody can tell, in such words.
    Untried(String),
}

impl Probe {
    /// What becomes of the library of `verdict` in a child. Starts one where that is not known yet. With `unverified`, the library may be a build that
    /// is not known.
    pub(crate) fn library(&self, verdict: &Verdict, cpu: &CpuFacts, unverified: bool) -> LibraryReport {
        let added = AddedBackends { needed: verdict.needed.clone(), modules: verdict.backends.clone() };
        let module = verdict.cpu_module();
        let facts = format!(
            "{VERSION}{}{module:?}{unverified}{} {} {:?}",
            verdict.library.display(),
            cpu.vendor,
            cpu.model,
            cpu.features
        );
        let others: Vec<_> = added.needed.iter().chain(&added.modules).cloned().collect();
        let name = key("library", &facts, &verdict.path, &others);
        if let Some(report) = self.kept(&name) {
            return report;
        }
        let mut request = OpenRequest::written(module.as_deref(), &added);
        request["unverified"] = unverified.into();
        let question = Question {
            task: "library",
            sign: REPORT,
            library: &verdict.library,
            request,
            patience: PATIENCE,
        };
        let report = match self.ask(&question) {
            Ok(report) => report,
            Err(NoAnswer::Died(words)) => {
                LibraryReport::Faulty(format!("takes its process down when it is tried: it {words}"))
            }
            Err(NoAnswer::ThisTime(words)) => return LibraryReport::Faulty(words),
            Err(NoAnswer::NoChild(words)) => {
                note(LogLevel::Warn, &format!("the library `{}` {words}", verdict.library.display()));
                return LibraryReport::Untried(words);
            }
        };
        self.keep(&name, &report);
        report
    }
}
