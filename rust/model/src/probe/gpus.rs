//! What GPUs the modules of a companion find.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tabagent_llama::AddedBackends;
use tabagent_variants::{AddedModules, GpuReport};

use super::asking::{NoAnswer, Probe, Question, key};
use super::drivers;
use super::gpus_child::REPORT;
use crate::library::OpenRequest;

/// Counts up when a child says or does something else than before.
const VERSION: &str = "tabagent gpus 2";
/// How long the child may take. The first use of a GPU compiles kernels on some drivers.
const PATIENCE: Duration = Duration::from_secs(90);

impl Probe {
    /// What GPUs the modules find with the library in `library`. Starts a child where that is not known yet.
    pub(crate) fn gpus(&self, library: &Path, added: &AddedModules) -> GpuReport {
        let backends = AddedBackends {
            needed: added.needed.clone(),
            modules: added.modules.iter().map(|module| module.path.clone()).collect(),
        };
        let others: Vec<PathBuf> = backends.needed.iter().chain(&backends.modules).cloned().collect();
        let name = key("gpus", &format!("{VERSION}{}", drivers::stamp()), library, &others);
        if let Some(report) = self.kept(&name) {
            return report;
        }
        let request = OpenRequest::written(None, &backends);
        let question = Question { task: "gpus", sign: REPORT, library, request, patience: PATIENCE };
        let report = match self.ask(&question) {
            Ok(report) => report,
            Err(NoAnswer::Died(words)) => GpuReport::Failed(format!("takes its process down: it {words}")),
            Err(NoAnswer::ThisTime(words) | NoAnswer::NoChild(words)) => return GpuReport::Failed(words),
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

    use tabagent_variants::{GpuFacts, GpuKind, ModuleFile};

    use super::*;

    fn added(folder: &Path) -> AddedModules {
        let path = folder.join("libggml-cuda.so");
        fs::write(&path, "").unwrap();
        AddedModules {
            directory: folder.to_owned(),
            modules: vec![ModuleFile { name: "cuda".to_owned(), path }],
            needed: Vec::new(),
            mismatch: None,
            report: None,
        }
    }

    fn program(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("child");
        fs::write(&program, format!("#!/bin/sh\necho asked >> {}/asked\n{script}\n", folder.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn asked(folder: &Path) -> usize {
        fs::read_to_string(folder.join("asked")).unwrap_or_default().lines().count()
    }

    #[test]
    fn an_answer_is_kept_until_a_module_changes() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = GpuFacts {
            name: "cuda:0".to_owned(),
            description: "NVIDIA H100".to_owned(),
            kind: GpuKind::Discrete,
            vendor: Some("nvidia".to_owned()),
            memory_total: 80 << 30,
            driver: Some("580.82".to_owned()),
            compute_capability: Some("9.0".to_owned()),
            fault: None,
        };
        let report = GpuReport::Found(vec![gpu]);
        let json = serde_json::to_string(&report).unwrap();
        let program = program(folder.path(), &format!("echo noise; echo '{REPORT}{json}'; exec sleep 60"));
        let probe = Probe { program, reports: Some(folder.path().join("reports")) };
        let modules = added(folder.path());
        for _ in 0..3 {
            assert_eq!(probe.gpus(Path::new("/no/library"), &modules), report);
        }
        assert_eq!(asked(folder.path()), 1);
        fs::write(&modules.modules[0].path, "another").unwrap();
        assert_eq!(probe.gpus(Path::new("/no/library"), &modules), report);
        assert_eq!(asked(folder.path()), 2);
    }

    #[test]
    fn a_driver_that_crashes_is_a_reason_and_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "echo broken driver >&2; kill -SEGV $$");
        let probe = Probe { program, reports: Some(folder.path().join("reports")) };
        let modules = added(folder.path());
        for _ in 0..2 {
            let GpuReport::Failed(words) = probe.gpus(Path::new("/no/library"), &modules) else {
                panic!("it died")
            };
            assert_eq!(
                words,
                "takes its process down: it was killed by `SIGSEGV`; its last lines of log: `broken driver`"
            );
        }
        assert_eq!(asked(folder.path()), 1);
    }

    #[test]
    fn without_a_program_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let probe = Probe { program: folder.path().join("none"), reports: None };
        let GpuReport::Failed(words) = probe.gpus(Path::new("/no/library"), &added(folder.path())) else {
            panic!("there is no program")
        };
        assert!(words.starts_with("cannot be tried, because `"), "{words}");
    }
}
