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
        self.library_within(verdict, cpu, unverified, PATIENCE)
    }

    fn library_within(
        &self,
        verdict: &Verdict,
        cpu: &CpuFacts,
        unverified: bool,
        patience: Duration,
    ) -> LibraryReport {
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
        let question =
            Question { task: "library", sign: REPORT, library: &verdict.library, request, patience };
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use tabagent_variants::{Hardware, discover, rank};

    use super::*;

    fn verdict(folder: &Path) -> Verdict {
        fs::write(folder.join("libllama.so"), "").unwrap();
        let found = discover(Some(folder), None, &[], None).into_iter().flatten().collect::<Vec<_>>();
        rank(&Hardware::probe(), &found).remove(0)
    }

    fn probe(folder: &Path, script: &str) -> Probe {
        let program = folder.join("child");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Probe { program, reports: Some(folder.join("reports")) }
    }

    #[test]
    fn a_library_that_hangs_is_faulty_this_time() {
        let folder = tempfile::tempdir().unwrap();
        let (verdict, cpu) = (verdict(folder.path()), Hardware::probe().cpu);
        let hanging = probe(folder.path(), "echo begun >&2; exec sleep 60");
        let report = hanging.library_within(&verdict, &cpu, false, Duration::from_secs(1));
        let words = "did not answer within 1 s; its last lines of log: `begun`";
        assert_eq!(report, LibraryReport::Faulty(words.to_owned()));
        let crashing = probe(folder.path(), "kill -SEGV $$");
        for _ in 0..2 {
            let LibraryReport::Faulty(words) = crashing.library(&verdict, &cpu, false) else {
                panic!("it crashes")
            };
            assert_eq!(words, "takes its process down when it is tried: it was killed by `SIGSEGV`");
        }
        assert_eq!(fs::read_dir(folder.path().join("reports")).unwrap().count(), 1);
    }
}
