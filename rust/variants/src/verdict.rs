//! The verdict on one variant on one machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use crate::family::BuildFamily;
use crate::feature::CpuFeature;
use crate::gpu::GpuFacts;
use crate::library_dir::LibrarySource;
use crate::module_file::{BASE_MODULE, ModuleFile};
use crate::text::{serialize_path, serialize_paths};

/// Whether one variant runs on the machine, how good it is, and why.
///
/// ```
/// # use tabagent_variants::{Hardware, rank};
/// for verdict in rank(&Hardware::probe(), &[]) {
///     println!("{}: {}", verdict.name, verdict.reason);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The CPU module's name, the name of the companion package that adds modules, the variant's name in a `BitnetRelease` tree, or `built-in` where ggml has no CPU module files.
    pub name: String,
    /// How its directory was found.
    pub source: LibrarySource,
    /// Its directory.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Its llama.cpp library.
    #[serde(serialize_with = "serialize_path")]
    pub library: PathBuf,
    /// The CPU module to load, or `None` where there is none to choose.
    #[serde(serialize_with = "serialize_module")]
    pub module: Option<PathBuf>,
    /// Backend modules of a companion package, to be loaded beside those of the directory.
    #[serde(serialize_with = "serialize_paths")]
    pub backends: Vec<PathBuf>,
    /// Libraries that these modules need, in the order in which to load them.
    #[serde(serialize_with = "serialize_paths")]
    pub needed: Vec<PathBuf>,
    /// The GPUs that these modules find.
    pub gpus: Vec<GpuFacts>,
    /// Whether it is taken only when it is asked for by name: it has no GPU but a program that pretends to be one.
    pub only_named: bool,
    /// The family of its build.
    pub family: BuildFamily,
    /// Whether it may be loaded here. Never true with something missing.
    pub usable: bool,
    /// Why it is usable or not, and its rank among the usable ones.
    pub reason: String,
    /// ggml's score for a module (see `CpuModule::ggml_score`), or the fit in a `BitnetRelease` tree; 0 if not usable.
    pub score: u32,
    /// Features it needs that cannot be used here.
    pub missing: Vec<CpuFeature>,
    /// What build it is, where a child process has tried it.
    pub build: Option<LibraryBuild>,
}

/// What build a library is, as a child process saw that loaded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryBuild {
    /// The build, such as `llama.cpp 0.5.0`.
    pub name: String,
    /// The layout of its structs, by the builds that have it.
    pub layout: String,
    /// What was seen of it, in words.
    pub evidence: String,
}

impl Verdict {
    /// Makes it unusable, for a reason that follows on its name.
    pub fn refuse(&mut self, reason: String) {
        (self.usable, self.score, self.reason) = (false, 0, reason);
    }

    /// The name of the CPU module to load, as the file's name has it; `None` where there is none to choose.
    pub fn cpu_module(&self) -> Option<String> {
        let name = ModuleFile::cpu(self.module.as_deref()?)?.name;
        (name != BASE_MODULE).then_some(name)
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn serialize_module<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serialize_path(path, serializer),
        None => serializer.serialize_none(),
    }
}
