//! The parent's side: it asks the child, and keeps what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tabagent_llama::{AddedBackends, LogLevel, note};
use tabagent_variants::{AddedModules, GpuReport};

use super::child::REPORT;
use super::drivers;
use crate::library::OpenRequest;
use crate::trial::{Heard, hear};

/// Counts up when a child says or does something else than before.
const VERSION: &str = "tabagent gpus 1";
/// How long the child may take. The first use of a GPU compiles kernels on some drivers.
const PATIENCE: Duration = Duration::from_secs(90);

/// How to ask what GPUs modules find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuProbe {
    /// The program `tabagent-child`.
    pub program: PathBuf,
    /// The folder in which answers are kept; without one, every choice of a library asks.
    pub reports: Option<PathBuf>,
}

impl GpuProbe {
    /// What GPUs the modules find with the library in `library`. Starts a child where that is not known yet.
    pub(crate) fn report(&self, library: &Path, added: &AddedModules) -> GpuReport {
        let backends = AddedBackends {
            needed: added.needed.clone(),
            modules: added.modules.iter().map(|module| module.path.clone()).collect(),
        };
        let kept = self.reports.as_ref().map(|folder| folder.join(key(library, &backends)));
        if let Some(report) = kept.as_deref().and_then(read) {
            return report;
        }
        let request = OpenRequest::written(None, &backends).to_string();
        let arguments = ["gpus".as_ref(), library.as_os_str()];
        let heard =
            hear(&self.program, &arguments, &request, PATIENCE, |line| line.starts_with(REPORT), || true);
        let report = match heard {
            Ok(Heard::Told(line)) => serde_json::from_str(line.trim_start_matches(REPORT))
                .unwrap_or_else(|error| GpuReport::Failed(format!("was not understood: {error}"))),
            Ok(Heard::Died(words)) => GpuReport::Failed(format!("takes its process down: it {words}")),
            // Neither says anything about the next time.
            Ok(Heard::ShortOfMemory(words)) => {
                return GpuReport::Failed(format!(
                    "could not be tried for want of memory: the child {words}"
                ));
            }
            Ok(Heard::Late(words)) => {
                return GpuReport::Failed(format!("did not answer within {} s{words}", PATIENCE.as_secs()));
            }
            Ok(Heard::Stopped) => return GpuReport::Failed("was not waited for".to_owned()),
            Err(error) => {
                let program = self.program.display();
                return GpuReport::Failed(format!(
                    "cannot be tried, because `{program}` does not start: {error}"
                ));
            }
        };
        if let Some(file) = kept
            && let Err(error) = keep(&file, &report)
        {
            note(LogLevel::Warn, &format!("what GPUs there are cannot be kept: {error}"));
        }
        report
    }
}

/// The name of an answer: a digest of what may change it.
fn key(library: &Path, added: &AddedBackends) -> String {
    let mut hash = Sha256::new();
    hash.update(VERSION);
    hash.update(drivers::stamp());
    let beside = fs::read_dir(library).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = beside.collect();
    files.sort();
    for file in files.iter().chain(&added.needed).chain(&added.modules) {
        hash.update(drivers::file_stamp(file));
    }
    hash.finalize()[..16].iter().fold("gpus-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// What is kept; `None` also for what cannot be read, which is then asked again.
fn read(file: &Path) -> Option<GpuReport> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Keeps an answer: others see the whole file or none.
fn keep(file: &Path, report: &GpuReport) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut fresh, report)?;
    fresh.persist(file)?;
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
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
        let probe = GpuProbe { program, reports: Some(folder.path().join("reports")) };
        let modules = added(folder.path());
        for _ in 0..3 {
            assert_eq!(probe.report(Path::new("/no/library"), &modules), report);
        }
        assert_eq!(asked(folder.path()), 1);
        fs::write(&modules.modules[0].path, "another").unwrap();
        assert_eq!(probe.report(Path::new("/no/library"), &modules), report);
        assert_eq!(asked(folder.path()), 2);
    }

    #[test]
    fn a_driver_that_crashes_is_a_reason_and_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "echo broken driver >&2; kill -SEGV $$");
        let probe = GpuProbe { program, reports: Some(folder.path().join("reports")) };
        let modules = added(folder.path());
        for _ in 0..2 {
            let GpuReport::Failed(words) = probe.report(Path::new("/no/library"), &modules) else {
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
        let probe = GpuProbe { program: folder.path().join("none"), reports: None };
        let GpuReport::Failed(words) = probe.report(Path::new("/no/library"), &added(folder.path())) else {
            panic!("there is no program")
        };
        assert!(words.starts_with("cannot be tried, because `"), "{words}");
    }
}
