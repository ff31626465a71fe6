//! The llama.cpp library of this process: where it may be, which one fits, and opening it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tabagent_llama::{Library, LibraryError, ModuleChoice, guard_exit};
use tabagent_variants::{
    Hardware, LibraryDir, SelectError, VariantChoice, VariantRequest, Verdict, discover, rank, select,
};

/// Where libraries may be, besides a path that the user gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryPlaces {
    /// The value of `TABAGENT_LIBRARY_PATH`.
    pub environment: Option<String>,
    /// Directories of installed companion packages, by the packages' names.
    pub companions: Vec<(String, PathBuf)>,
    /// The directory of the library that came with the program.
    pub bundled: Option<PathBuf>,
}

impl LibraryPlaces {
    /// Every variant in these places, best first, and why some places have none. Loads nothing.
    pub fn verdicts(&self) -> (Vec<Verdict>, Vec<String>) {
        self.verdicts_with(None)
    }

    /// The variant that a request stands for, and what the caller should know of the places. Loads nothing.
    ///
    /// # Errors
    /// [`VariantError`] if there is no such variant, or none that runs here.
    pub fn select(&self, request: &VariantRequest) -> Result<(VariantChoice, Vec<String>), VariantError> {
        let explicit = match request {
            VariantRequest::Path(path) => Some(path.as_path()),
            VariantRequest::Auto | VariantRequest::Module(_) => None,
        };
        let (verdicts, problems) = self.verdicts_with(explicit);
        match select(request, &verdicts) {
            Ok(choice) => Ok((choice, problems)),
            Err(source) => Err(VariantError { source, problem: problems.into_iter().next() }),
        }
    }

    fn verdicts_with(&self, explicit: Option<&Path>) -> (Vec<Verdict>, Vec<String>) {
        let environment = self.environment.as_deref().map(OsStr::new);
        let (mut dirs, mut problems): (Vec<LibraryDir>, Vec<String>) = Default::default();
        for found in discover(explicit, environment, &self.companions, self.bundled.as_deref()) {
            match found {
                Ok(dir) => dirs.push(dir),
                Err(error) => problems.push(error.to_string()),
            }
        }
        (rank(&Hardware::probe(), &dirs), problems)
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
        "ggml_version": info.ggml_version,
        "cpu_module": info.cpu_module,
        "cpu_module_file": info.cpu_module_file.as_ref().map(|file| file.to_string_lossy()),
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
