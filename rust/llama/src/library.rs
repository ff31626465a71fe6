//! The one llama.cpp of a process.

use crate::added_backends::AddedBackends;
use crate::cpu_module::{self, ModuleChoice};
use crate::guard;
use crate::library_error::LibraryError;
use crate::log;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tabagent_sys::{
    AbiLayout, Api, Evidence, Family, KNOWN_LAYOUTS, LocatedLibrary, OpenedLibrary, Strictness,
    VersionEvidence, candidates, file_of_address, identify, library_file, locate, probe,
};

/// A loaded llama.cpp: function table, ABI layout and backends. Cheap to clone; never unloaded.
#[derive(Clone)]
pub struct Library(Arc<Inner>);

struct Inner {
    api: Api,
    layout: &'static AbiLayout,
    info: LibraryInfo,
    added: AddedBackends,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryInfo {
    /// The directory of libllama, without links.
    pub directory: PathBuf,
    /// The recognised build, such as `llama.cpp 0.5.0`.
    pub build: String,
    /// The layout of its structs, by the builds that have it.
    pub layout: &'static str,
    /// What was seen of it, in words.
    pub evidence: String,
    /// Whether it is a build that is not known, so that only its layout is.
    pub unverified: bool,
    /// The version of ggml, if the build reports it.
    pub ggml_version: Option<String>,
    /// The file that the CPU backend runs from.
    pub cpu_module_file: Option<PathBuf>,
    /// The CPU module's name, such as `haswell`; `None` when the CPU backend is not a module of its own.
    pub cpu_module: Option<String>,
    /// Backends from elsewhere that were loaded beside the library's own.
    pub added: Vec<PathBuf>,
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Library").field(&self.0.info).finish()
    }
}

impl Library {
    /// Loads llama.cpp from `path`: the directory of libllama, or the file itself. The best CPU module is chosen by ggml.
    ///
    /// The first call takes some milliseconds; later calls with the same path return the same library.
    ///
    /// # Errors
    /// See [`LibraryError`]. A library that is refused by what its file says is not brought into the process at all.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LibraryError> {
        Self::open_with(path, &ModuleChoice::Auto)
    }

    /// As [`Library::open`], with a CPU module of the caller's choice.
    ///
    /// # Errors
    /// See [`LibraryError`]; [`LibraryError::ModuleAlreadyLoaded`] when the process already runs another module.
    pub fn open_with(path: impl AsRef<Path>, module: &ModuleChoice) -> Result<Self, LibraryError> {
        Self::open_as(path.as_ref(), module, None, Strictness::Known)
    }

    /// As [`Library::open_with`], with backends that lie elsewhere, and no others.
    ///
    /// # Errors
    /// See [`LibraryError`]; [`LibraryError::BackendsAlreadyLoaded`] when the process already runs with others.
    pub fn open_adding(
        path: impl AsRef<Path>,
        module: &ModuleChoice,
        added: &AddedBackends,
    ) -> Result<Self, LibraryError> {
        Self::open_as(path.as_ref(), module, Some(&added.resolved()), Strictness::Known)
    }

    /// As [`Library::open_adding`], also for a build that is not known, where exactly one known layout has the sizes and defaults of its structs and the functions that are called. Its
    /// version may be another one and it may have other functions besides. What such a build computes, nobody has tried.
    ///
    /// # Errors
    /// As for [`Library::open_adding`].
    pub fn open_unverified(
        path: impl AsRef<Path>,
        module: &ModuleChoice,
        added: &AddedBackends,
    ) -> Result<Self, LibraryError> {
        Self::open_as(path.as_ref(), module, Some(&added.resolved()), Strictness::Unverified)
    }

    /// `None` takes the library of the process with whatever backends were added to it.
    fn open_as(
        path: &Path,
        module: &ModuleChoice,
        added: Option<&AddedBackends>,
        strictness: Strictness,
    ) -> Result<Self, LibraryError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(library), Ok(file)) = (loaded.as_ref(), library_file(path))
            && file.parent() == Some(&library.0.info.directory)
        {
            return library.reuse(&library.0.info.directory, module, added);
        }
        let located = locate(path)?;
        let directory = located.path.parent().unwrap_or(Path::new("/")).to_owned();
        if let Some(library) = loaded.as_ref() {
            return library.reuse(&directory, module, added);
        }
        let library =
            Self::bring_in(located, directory, module, &added.cloned().unwrap_or_default(), strictness)?;
        *loaded = Some(library.clone());
        Ok(library)
    }

    /// The library this process has loaded, if any.
    pub fn current() -> Option<Self> {
        LOADED.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was loaded.
    pub fn info(&self) -> &LibraryInfo {
        &self.0.info
    }

    /// Whether the platform can lock a model in RAM.
    pub fn supports_mlock(&self) -> bool {
        // SAFETY: takes nothing, reads a constant.
        unsafe { (self.api().llama_supports_mlock)() }
    }

    /// A library made of a fake function table that takes structs of `layout`, for tests of the layers above. It is not registered as the process's own.
    ///
    /// # Safety
    /// As for [`Api::resolve_with`]: every function must have the signature of its name.
    #[doc(hidden)]
    pub unsafe fn from_api(api: Api, layout: &'static AbiLayout, directory: &Path) -> Self {
        log::install(&api);
        let info = LibraryInfo {
            directory: directory.to_owned(),
            build: "fake".to_owned(),
            layout: layout.name,
            evidence: String::new(),
            unverified: false,
            ggml_version: None,
            cpu_module_file: None,
            cpu_module: None,
            added: Vec::new(),
        };
        Self(Arc::new(Inner { api, layout, info, added: AddedBackends::default() }))
    }

    /// The backends from elsewhere, with what they need.
    pub fn added(&self) -> &AddedBackends {
        &self.0.added
    }

    pub(crate) fn api(&self) -> &Api {
        &self.0.api
    }

    pub(crate) fn layout(&self) -> &'static AbiLayout {
        self.0.layout
    }

    fn reuse(
        &self,
        directory: &Path,
        module: &ModuleChoice,
        added: Option<&AddedBackends>,
    ) -> Result<Self, LibraryError> {
        if self.0.info.directory != directory {
            return Err(LibraryError::AlreadyLoaded {
                loaded: self.0.info.directory.clone(),
                requested: directory.to_owned(),
            });
        }
        if let Some(added) = added
            && self.0.info.added != added.modules
        {
            return Err(LibraryError::BackendsAlreadyLoaded {
                loaded: self.0.info.added.clone(),
                requested: added.modules.clone(),
            });
        }
        match (module, &self.0.info.cpu_module) {
            (ModuleChoice::Named(requested), loaded) if loaded.as_ref() != Some(requested) => {
                Err(LibraryError::ModuleAlreadyLoaded {
                    loaded: loaded.clone().unwrap_or_else(|| "built-in".to_owned()),
                    requested: requested.clone(),
                })
            }
            _ => Ok(self.clone()),
        }
    }

    fn bring_in(
        located: LocatedLibrary,
        directory: PathBuf,
        module: &ModuleChoice,
        added: &AddedBackends,
        strictness: Strictness,
    ) -> Result<Self, LibraryError> {
        let path = located.path.clone();
        let mut evidence = evidence_of_file(&located);
        refuse_other_libraries(&located)?;
        let refuse = |source| LibraryError::Incompatible { path: path.clone(), source };
        candidates(&evidence, KNOWN_LAYOUTS, strictness).map_err(refuse)?;

        let opened = located.load()?;
        refuse_foreign_ggml(&opened, &directory)?;
        // SAFETY: the exported names are those of a known llama.cpp build, checked above, and tell which signatures it has.
        let api = unsafe { opened.api() }
            .map_err(|source| LibraryError::MissingSymbols { path: path.clone(), source })?;
        evidence.version = version_of(&api);
        candidates(&evidence, KNOWN_LAYOUTS, strictness).map_err(refuse)?;
        // SAFETY: version and names are those of a known build, whose two functions have this signature.
        let (model_defaults, context_defaults) = unsafe { probe(&api) };
        evidence.model_defaults = Some(model_defaults);
        evidence.context_defaults = Some(context_defaults);
        let layout = identify(&evidence, KNOWN_LAYOUTS, strictness).map_err(refuse)?;

        log::install(&api);
        guard::install(&opened, &directory);
        added.load(&api)?;
        cpu_module::load(&api, &directory, module)?;
        // SAFETY: takes nothing; called once, as the registry holds the lock.
        unsafe { (api.llama_backend_init)() };

        let cpu_module_file = cpu_module::loaded_file(&api);
        let info = LibraryInfo {
            directory,
            build: build_name(layout, &evidence.version),
            layout: layout.name,
            evidence: evidence.to_string(),
            unverified: candidates(&evidence, KNOWN_LAYOUTS, Strictness::Known).is_err(),
            ggml_version: static_text(api.ggml_version),
            cpu_module: cpu_module_file.as_deref().and_then(cpu_module::name_of),
            cpu_module_file,
            added: added.modules.clone(),
        };
        Ok(Self(Arc::new(Inner { api, layout, info, added: added.clone() })))
    }
}

fn evidence_of_file(located: &LocatedLibrary) -> Evidence {
    Evidence {
        version: VersionEvidence::Unread,
        symbols: located.facts.exported.iter().filter(|s| s.starts_with("llama_")).cloned().collect(),
        model_defaults: None,
        context_defaults: None,
    }
}

/// Refuses a library that lacks most of llama.cpp's functions: it is not llama.cpp, so the error lists what the builds of its family have and the
/// library lacks, instead of comparing builds.
fn refuse_other_libraries(located: &LocatedLibrary) -> Result<(), LibraryError> {
    let exports = |name: &str| located.facts.exported.contains(name);
    let family = Family::of(exports);
    let functions = Api::REQUIRED.iter().filter(|name| name.starts_with("llama_"));
    let symbols = functions.map(|name| (*name, family.symbol(name, exports)));
    let (present, missing): (Vec<_>, Vec<_>) = symbols.partition(|(_, symbol)| exports(symbol));
    if missing.len() <= present.len() {
        return Ok(());
    }
    let names = missing.into_iter().map(|(name, _)| name).collect();
    let source = tabagent_sys::MissingSymbols(names);
    Err(LibraryError::MissingSymbols { path: located.path.clone(), source })
}

/// The build in words: its version where it has one, else the builds of its layout.
fn build_name(layout: &AbiLayout, version: &VersionEvidence) -> String {
    match version {
        VersionEvidence::Is(version) => {
            format!("llama.cpp {}", version.strip_suffix("-dev").unwrap_or(version))
        }
        VersionEvidence::Unread | VersionEvidence::Missing => layout.name.to_owned(),
    }
}

/// Refuses a libllama that is bound to another directory's ggml: libraries with the same sonames bind to the copies that were loaded first, and
/// ggml's state would then be another package's.
fn refuse_foreign_ggml(opened: &OpenedLibrary, directory: &Path) -> Result<(), LibraryError> {
    for symbol in ["llama_backend_init", "ggml_backend_load_all_from_path", "ggml_log_set"] {
        let Some(found) = file_of_address(opened.address(symbol)) else { continue };
        if found.parent() != Some(directory) {
            return Err(LibraryError::ForeignGgml { path: opened.path.clone(), symbol, found });
        }
    }
    Ok(())
}

fn version_of(api: &Api) -> VersionEvidence {
    static_text(api.llama_version).map_or(VersionEvidence::Missing, VersionEvidence::Is)
}

fn static_text(function: Option<unsafe extern "C-unwind" fn() -> *const std::ffi::c_char>) -> Option<String> {
    // SAFETY: such functions take nothing and return a string constant.
    let text = unsafe { function?() };
    // SAFETY: a NUL-terminated constant of the library.
    unsafe { crate::strings::copy(text) }
}
