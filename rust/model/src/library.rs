//! The llama.cpp library of this process: where it may be, which one fits, and opening it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tabagent_llama::{AddedBackends, Library, LibraryError, ModuleChoice, guard_exit};
use tabagent_variants::{
    Hardware, LibraryDir, LibrarySource, SelectError, VariantChoice, VariantRequest, Verdict, discover,
    discover_packages, rank, select,
};

use crate::probe::{LibraryReport, Probe};

/// Where libraries may be, besides a path that the user gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryPlaces {
    /// The value of `TABAGENT_LIBRARY_PATH`.
    pub environment: Option<String>,
    /// Directories of installed companion packages, by the packages' names.
    pub companions: Vec<(String, PathBuf)>,
    /// The directory of the library that came with the program.
    pub bundled: Option<PathBuf>,
    /// Directories of libraries that other installed packages brought for themselves, by the packages' names.
    pub packages: Vec<(String, PathBuf)>,
    /// Libraries that companions need, by the packages' names, in the order in which to load them.
    pub needed: Vec<(String, Vec<PathBuf>)>,
    /// How to ask a child process what libraries and GPUs do. `None` leaves that unknown: companions that add modules are then not used, and other
    /// libraries are not tried before they are loaded.
    pub probe: Option<Probe>,
}

impl LibraryPlaces {
    /// Every variant in these places, best first, with what became of each that seems usable when a child process tried it, and why some places have
    /// none. Loads nothing into this process.
    pub fn verdicts(&self) -> (Vec<Verdict>, Vec<String>) {
        let hardware = Hardware::probe();
        let (mut verdicts, problems) = self.verdicts_with(&hardware, None);
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.usable) {
            match self.tried(verdict, &hardware, false) {
                LibraryReport::Proven(build) => verdict.build = Some(build),
                LibraryReport::Refused(reason) | LibraryReport::Faulty(reason) => verdict.refuse(reason),
                LibraryReport::Untried(_) => {}
            }
        }
        // Those that turned out not to work stand with those that do not fit.
        verdicts.sort_by_key(|verdict| !verdict.usable);
        (verdicts, problems)
    }

    /// The variant that a request stands for, and what the caller should know of the places. Loads nothing into this process: a child tries what is
    /// chosen, if it has not before, and where that crashes, hangs or computes nonsense, the next best is chosen, or there is an error for
    /// whoever asked for just that. What opening it refuses is chosen all the same, as that error has more to say. With `unverified`, the
    /// library may be a build that is not known.
    ///
    /// # Errors
    /// [`VariantError`] if there is no such variant, or none that runs here.
    pub fn select(
        &self,
        request: &VariantRequest,
        unverified: bool,
    ) -> Result<(VariantChoice, Vec<String>), VariantError> {
        let explicit = match request {
            VariantRequest::Path(path) => Some(path.as_path()),
            VariantRequest::Auto | VariantRequest::Module(_) => None,
        };
        let hardware = Hardware::probe();
        let (mut verdicts, problems) = self.verdicts_with(&hardware, explicit);
        let mut faults = Vec::new();
        loop {
            let mut choice = match select(request, &verdicts) {
                Ok(choice) => choice,
                Err(source) => return Err(VariantError { source, problem: problems.into_iter().next() }),
            };
            match self.tried(&choice.verdict, &hardware, unverified) {
                LibraryReport::Proven(build) => choice.verdict.build = Some(build),
                LibraryReport::Refused(_) | LibraryReport::Untried(_) => {}
                LibraryReport::Faulty(fault) => {
                    faults.push(format!("`{}` {fault}", choice.verdict.name));
                    let same = |verdict: &&mut Verdict| **verdict == choice.verdict;
                    if let Some(verdict) = verdicts.iter_mut().find(same) {
                        verdict.refuse(fault);
                        continue;
                    }
                }
            }
            if choice.warning.is_none() && !faults.is_empty() {
                let name = &choice.verdict.name;
                choice.warning = Some(format!("{}; took `{name}` instead", faults.join("; ")));
            }
            return Ok((choice, problems));
        }
    }

    /// What became of a variant in a child. Companions that add modules have been tried with their GPUs.
    fn tried(&self, verdict: &Verdict, hardware: &Hardware, unverified: bool) -> LibraryReport {
        match &self.probe {
            Some(probe) if verdict.backends.is_empty() => probe.library(verdict, &hardware.cpu, unverified),
            _ => LibraryReport::Untried("was not tried".to_owned()),
        }
    }

    fn verdicts_with(&self, hardware: &Hardware, explicit: Option<&Path>) -> (Vec<Verdict>, Vec<String>) {
        let environment = self.environment.as_deref().map(OsStr::new);
        let (mut dirs, mut problems): (Vec<LibraryDir>, Vec<String>) = Default::default();
        for found in discover(explicit, environment, &self.companions, self.bundled.as_deref()) {
            match found {
                Ok(dir) => dirs.push(self.asked(dir)),
                Err(error) => problems.push(error.to_string()),
            }
        }
        // A path that was given, or a companion, may be the same directory.
        let others = discover_packages(&self.packages);
        let is_new = |other: &LibraryDir| dirs.iter().all(|dir| dir.path != other.path);
        let others: Vec<_> = others.into_iter().filter(is_new).collect();
        dirs.extend(others);
        (rank(hardware, &dirs), problems)
    }

    /// The directory, with what is known of a companion's modules.
    fn asked(&self, mut dir: LibraryDir) -> LibraryDir {
        let LibrarySource::Companion { name } = &dir.source else { return dir };
        let needed =
            self.needed.iter().find(|(package, _)| package == name).map(|(_, needed)| needed.clone());
        let Some(added) = &mut dir.added else { return dir };
        added.needed = needed.unwrap_or_default();
        if added.mismatch.is_none()
            && let Some(probe) = &self.probe
        {
            added.report = Some(probe.gpus(&dir.path, added));
        }
        dir
    }
}

/// No variant matches the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source}{}", problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default())]
pub struct VariantError {
    /// Why not.
    pub source: SelectError,
    /// The first place that has no library, which may be why.
    pub problem: Option<String>,
}

/// What a library is: its directory, build, CPU module and devices.
pub fn describe_library(library: &Library) -> Json {
    let info = library.info();
    let devices: Vec<Json> = library
        .devices()
        .into_iter()
        .map(|device| {
            json!({
                "name": device.name,
                "id": device.user_name(),
                "description": device.description,
                "kind": device.kind.to_string(),
                "memory_free": device.memory_free,
                "memory_total": device.memory_total,
            })
        })
        .collect();
    json!({
        "directory": info.directory.to_string_lossy(),
        "build": info.build,
        "layout": info.layout,
        "evidence": info.evidence,
        "unverified": info.unverified,
        "ggml_version": info.ggml_version,
        "cpu_module": info.cpu_module,
        "cpu_module_file": info.cpu_module_file.as_ref().map(|file| file.to_string_lossy()),
        "added": info.added.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        "devices": devices,
    })
}

/// Opens the library in a directory, with the CPU module called `module` or the best one; if this process has it already, returns that one. From
/// then on the process ends in good order even while the library works.
///
/// # Errors
/// [`LibraryError`], also when this process has already loaded another library.
pub fn open_library(directory: &Path, module: Option<String>) -> Result<Library, LibraryError> {
    let library = Library::open_with(directory, &module.map_or(ModuleChoice::Auto, ModuleChoice::Named))?;
    guard_exit();
    Ok(library)
}

/// As [`open_library`], with backends that a companion package adds, and no others.
///
/// # Errors
/// [`LibraryError`], also when this process has already loaded another library or other backends.
pub fn open_library_adding(
    directory: &Path,
    module: Option<String>,
    added: &AddedBackends,
) -> Result<Library, LibraryError> {
    let module = module.map_or(ModuleChoice::Auto, ModuleChoice::Named);
    let library = Library::open_adding(directory, &module, added)?;
    guard_exit();
    Ok(library)
}

/// As [`open_library_adding`], also for a build that is not known: see [`Library::open_unverified`].
///
/// # Errors
/// As for [`open_library_adding`].
pub fn open_library_unverified(
    directory: &Path,
    module: Option<String>,
    added: &AddedBackends,
) -> Result<Library, LibraryError> {
    let module = module.map_or(ModuleChoice::Auto, ModuleChoice::Named);
    let library = Library::open_unverified(directory, &module, added)?;
    guard_exit();
    Ok(library)
}

/// What a child process is told to open: `module`, `backends` and `needed` of a JSON object.
pub(crate) struct OpenRequest {
    pub(crate) module: Option<String>,
    pub(crate) added: AddedBackends,
    /// Whether the build may be one that is not known.
    pub(crate) unverified: bool,
}

impl OpenRequest {
    pub(crate) fn read(request: &Json) -> Self {
        let paths = |name: &str| {
            let list = request[name].as_array().into_iter().flatten();
            list.filter_map(Json::as_str).map(PathBuf::from).collect()
        };
        Self {
            module: request["module"].as_str().map(str::to_owned),
            added: AddedBackends { needed: paths("needed"), modules: paths("backends") },
            unverified: request["unverified"].as_bool().unwrap_or(false),
        }
    }

    /// The same as JSON; paths that are no Unicode cannot be told.
    pub(crate) fn written(module: Option<&str>, added: &AddedBackends) -> Json {
        let texts = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
        };
        json!({"module": module, "backends": texts(&added.modules), "needed": texts(&added.needed)})
    }

    pub(crate) fn open(&self, directory: &Path) -> Result<Library, LibraryError> {
        if self.unverified {
            return open_library_unverified(directory, self.module.clone(), &self.added);
        }
        open_library_adding(directory, self.module.clone(), &self.added)
    }
}
