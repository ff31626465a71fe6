//! Backend modules that a companion package adds to the bundled library.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gpu::GpuReport;
use crate::module_file::ModuleFile;
use crate::text::serialize_path;

/// The file beside libraries that says what they were built from.
const BUILD_INFO: &str = "build-info.json";

/// Backend modules from a companion package, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddedModules {
    /// The directory of the modules.
    #[serde(serialize_with = "serialize_path")]
    pub directory: PathBuf,
    /// The modules, by name.
    pub modules: Vec<ModuleFile>,
    /// Libraries that they need, in the order in which to load them.
    pub needed: Vec<PathBuf>,
    /// Why they do not belong to the bundled library.
    pub mismatch: Option<String>,
    /// What they find here; `None` before anybody asked.
    pub report: Option<GpuReport>,
}

impl AddedModules {
    /// Those of a companion's directory, to be added to the library in `bundled`.
    pub(crate) fn read(directory: &Path, modules: Vec<ModuleFile>, bundled: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            modules,
            needed: Vec::new(),
            mismatch: mismatch(BuildInfo::read(bundled).as_ref(), BuildInfo::read(directory).as_ref()),
            report: None,
        }
    }
}

/// What a directory's `build-info.json` says of its source.
#[derive(Debug, Default, Deserialize)]
struct BuildInfo {
    #[serde(default)]
    source: Source,
    llama_cpp: Option<LlamaCpp>,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    identity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LlamaCpp {
    version: String,
    commit: String,
}

impl BuildInfo {
    /// `None` where there is no such file, or none that can be read.
    fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(directory.join(BUILD_INFO)).ok()?).ok()
    }

    fn name(&self) -> String {
        match (&self.llama_cpp, &self.source.identity) {
            (Some(LlamaCpp { version, commit }), _) => format!("llama.cpp {version} ({commit})"),
            (None, Some(identity)) => format!("llama.cpp from `{identity}`"),
            (None, None) => "an unknown llama.cpp".to_owned(),
        }
    }
}

/// Why modules of the second build do not belong to the library of the first; `None` if they do.
fn mismatch(library: Option<&BuildInfo>, modules: Option<&BuildInfo>) -> Option<String> {
    let Some(modules) = modules else {
        return Some(format!(
            "has no `{BUILD_INFO}`, so nobody knows for which llama.cpp it was built; reinstall it"
        ));
    };
    let Some(library) = library else {
        return Some(format!(
            "was built for {}, and what the bundled library was built from is not known",
            modules.name()
        ));
    };
    let same = library.source.identity.is_some() && library.source.identity == modules.source.identity;
    (!same).then(|| {
        format!(
            "was built for {}, and the bundled library is {}; install the companion package of this version of tabagent",
            modules.name(),
            library.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Option<BuildInfo> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn modules_of_another_pin_are_told_with_expected_and_found() {
        let ours = r#"{"source": {"identity": "a"}, "llama_cpp": {"version": "0.5.0", "commit": "0c1e570"}}"#;
        let theirs =
            r#"{"source": {"identity": "b"}, "llama_cpp": {"version": "0.6.0", "commit": "1234567"}}"#;
        assert_eq!(mismatch(info(ours).as_ref(), info(ours).as_ref()), None);
        assert_eq!(
            mismatch(info(ours).as_ref(), info(theirs).as_ref()).unwrap(),
            "was built for llama.cpp 0.6.0 (1234567), and the bundled library is llama.cpp 0.5.0 (0c1e570); \
             install the companion package of this version of tabagent"
        );
        let own = r#"{"source": {"identity": "/src"}, "llama_cpp": null}"#;
        assert!(
            mismatch(info(own).as_ref(), info(ours).as_ref())
                .unwrap()
                .contains("the bundled library is llama.cpp from `/src`")
        );
        assert!(mismatch(info(ours).as_ref(), None).unwrap().starts_with("has no `build-info.json`"));
        assert!(mismatch(None, info(ours).as_ref()).unwrap().ends_with("is not known"));
        // Two that do not say what they are made from are not the same.
        assert!(mismatch(info("{}").as_ref(), info("{}").as_ref()).is_some());
    }
}
