//! The child's side: it loads a library as its parent will, and has it compute the tiny model.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;
use tabagent_variants::LibraryBuild;

use super::library::LibraryReport;
use super::tiny_model::TinyModel;
use crate::library::OpenRequest;
use crate::trial::answer_parent;

/// What the child says before its report in JSON.
pub(super) const REPORT: &str = "tabagent-child: library ";

/// Tries the library with the CPU module and the backends that a line of JSON on standard input names, and says what became of it.
pub(crate) fn attempt(library: &OsStr) -> ExitCode {
    answer_parent(|request| format!("{REPORT}{}", serde_json::json!(report(library.as_ref(), &request))))
}

fn report(library: &Path, request: &Json) -> LibraryReport {
    let library = match OpenRequest::read(request).open(library) {
        Ok(library) => library,
        Err(error) => return LibraryReport::Refused(error.to_string()),
    };
    match TinyModel::new().map(|model| model.fault_of_cpu(&library)) {
        Ok(None) => {
            let info = library.info();
            LibraryReport::Proven(LibraryBuild {
                name: info.build.clone(),
                layout: info.layout.to_owned(),
                evidence: info.evidence.clone(),
            })
        }
        Ok(Some(fault)) => LibraryReport::Faulty(fault),
        Err(words) => LibraryReport::Untried(words),
    }
}
