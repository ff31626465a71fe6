//! The search for library directories.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::added_modules::AddedModules;
use crate::bitnet::{BITNET_VARIANTS, BitnetVariant};
use crate::library_dir::{LibraryDir, LibrarySource};
use crate::module_file::ModuleFile;
use crate::platform::System;
use crate::text::serialize_path;

/// Why a place that should hold a library does not.
///
/// ```
/// # use tabagent_variants::{CatalogueError, discover};
/// let found = discover(Some("/nonexistent".as_ref()), None, &[], None);
/// assert!(matches!(found.as_slice(), [Err(CatalogueError::Unreadable { .. })]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogueError {
    /// An empty path was given.
    #[error("the path from {source_name} is empty; give a directory that holds `{}`", System::host().library_file())]
    EmptyPath {
        /// How the path was given.
        source_name: LibrarySource,
    },
    /// The path does not exist or may not be read.
    #[error("cannot read `{}` ({source_name}): {message}; give a directory that holds `{}`", path.display(), System::host().library_file())]
    Unreadable {
        /// How the path was given.
        source_name: LibrarySource,
        /// The path.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
        /// The system's message.
        message: String,
    },
    /// The path is a file that is not a llama.cpp library.
    #[error("`{}` ({source_name}) is not a llama.cpp library; give `{}` or the directory that holds it", path.display(), System::host().library_file())]
    NotALibrary {
        /// How the path was given.
        source_name: LibrarySource,
        /// The path.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
    },
    /// The directory holds no llama.cpp library.
    #[error("`{}` ({source_name}) holds no `{}`; give a directory that does", path.display(), System::host().library_file())]
    NoLibrary {
        /// How the path was given.
        source_name: LibrarySource,
        /// The directory.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
    },
    /// The directory holds modules for a library that is not there.
    #[error("`{}` ({source_name}) holds modules for the bundled library, and there is none; install a wheel of tabagent with libraries", path.display())]
    NothingToAddTo {
        /// How the path was given.
        source_name: LibrarySource,
        /// The directory.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
    },
}

/// Lists the library directories, in the order of preference: the explicit path, the paths of `TABAGENT_LIBRARY_PATH` (`env`,
/// several separated as in `PATH`), companion packages by name and directory, and the bundled directory.
///
/// An explicit path may be a directory or the library file in it. An explicit path or one from the environment may be a `BitnetRelease` tree
/// (`<root>/{cpu,gpu}/{windows,linux,macos}/<variant>/`): then each of its variants that holds a library is listed, with the source
/// [`LibrarySource::BitnetRelease`]; those of other systems too, so that a verdict can say so. A path to the directory of one variant keeps its
/// own source, and the variant's name is still recognised. A companion package may hold backend modules alone: then it is listed as the bundled
/// library with these modules added. A directory reached twice is listed once, at its first place. Nothing is loaded, and
/// nothing but the given paths is searched.
///
/// # Errors
///
/// Each place that holds no library is an `Err` in its position: [`CatalogueError`] says why.
pub fn discover(
    explicit: Option<&Path>,
    env: Option<&OsStr>,
    companions: &[(String, PathBuf)],
    bundled: Option<&Path>,
) -> Vec<Result<LibraryDir, CatalogueError>> {
    let mut places: Vec<(LibrarySource, PathBuf)> = Vec::new();
    places.extend(explicit.map(|path| (LibrarySource::ExplicitPath, path.to_owned())));
    if let Some(paths) = env.filter(|paths| !paths.is_empty()) {
        let paths = std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty());
        places.extend(paths.map(|path| (LibrarySource::Environment, path)));
    }
    for (name, path) in companions {
        places.push((LibrarySource::Companion { name: name.clone() }, path.clone()));
    }
    places.extend(bundled.map(|path| (LibrarySource::Bundled, path.to_owned())));

    let mut found: Vec<Result<LibraryDir, CatalogueError>> = Vec::new();
    for result in places.into_iter().flat_map(|(source, path)| look(&source, &path, bundled)) {
        let place =
            |dir: &LibraryDir| (dir.path.clone(), dir.added.as_ref().map(|added| added.directory.clone()));
        let known = |dir: &LibraryDir| found.iter().flatten().any(|before| place(before) == place(dir));
        if !result.as_ref().is_ok_and(known) {
            found.push(result);
        }
    }
    found
}

/// The library directories of installed packages, by their names, which those packages use themselves. One that holds no library is left out: it is nobody's fault.
pub fn discover_packages(packages: &[(String, PathBuf)]) -> Vec<LibraryDir> {
    let look =
        |(name, path): &(String, PathBuf)| look(&LibrarySource::Package { name: name.clone() }, path, None);
    packages.iter().flat_map(look).flatten().collect()
}

/// The path without symbolic links in its directories; its last part stays as it is for a file, so that `libllama.so` is not
/// turned into the versioned file it points to. A path that does not exist is only made absolute.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    if path.is_dir() {
        if let Ok(real) = dunce::canonicalize(path) {
            return real;
        }
    } else if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Ok(real) = dunce::canonicalize(parent) {
            return real.join(name);
        }
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn look(
    source: &LibrarySource,
    path: &Path,
    bundled: Option<&Path>,
) -> Vec<Result<LibraryDir, CatalogueError>> {
    if path.as_os_str().is_empty() {
        return vec![Err(CatalogueError::EmptyPath { source_name: source.clone() })];
    }
    let unreadable = |error: &io::Error| CatalogueError::Unreadable {
        source_name: source.clone(),
        path: path.to_owned(),
        message: plain_message(error),
    };
    let kind = match fs::metadata(path) {
        Ok(kind) => kind,
        Err(error) => return vec![Err(unreadable(&error))],
    };
    let path = absolute(path);
    if kind.is_file() {
        let name = path.file_name().and_then(OsStr::to_str).and_then(library_system);
        return vec![match (name, path.parent()) {
            (Some(system), Some(directory)) => {
                read(directory, source).map(|dir| LibraryDir { library: path.clone(), system, ..dir })
            }
            _ => Err(CatalogueError::NotALibrary { source_name: source.clone(), path: path.clone() }),
        }];
    }
    let tree_allowed = matches!(source, LibrarySource::ExplicitPath | LibrarySource::Environment);
    match read(&path, source) {
        Err(CatalogueError::NoLibrary { .. }) if tree_allowed => {
            let variants = bitnet_tree(&path);
            if variants.is_empty() {
                vec![Err(CatalogueError::NoLibrary { source_name: source.clone(), path })]
            } else {
                variants
            }
        }
        Err(CatalogueError::NoLibrary { .. }) if matches!(source, LibrarySource::Companion { .. }) => {
            vec![added_to_bundled(&path, source, bundled)]
        }
        result => vec![result],
    }
}

/// The bundled library with the modules of a companion package that has no library of its own.
fn added_to_bundled(
    directory: &Path,
    source: &LibrarySource,
    bundled: Option<&Path>,
) -> Result<LibraryDir, CatalogueError> {
    let (source_name, path) = (source.clone(), directory.to_owned());
    let modules = modules_in(directory, source)?;
    if modules.is_empty() {
        return Err(CatalogueError::NoLibrary { source_name, path });
    }
    let Some(bundled) = bundled else {
        return Err(CatalogueError::NothingToAddTo { source_name, path });
    };
    let library = read(&absolute(bundled), source)?;
    Ok(LibraryDir { added: Some(AddedModules::read(directory, modules, &library.path)), ..library })
}

/// The backends in a directory that are not for the CPU.
fn modules_in(directory: &Path, source: &LibrarySource) -> Result<Vec<ModuleFile>, CatalogueError> {
    let entries = fs::read_dir(directory).map_err(|error| CatalogueError::Unreadable {
        source_name: source.clone(),
        path: directory.to_owned(),
        message: plain_message(&error),
    })?;
    let mut modules: Vec<_> =
        entries.flatten().filter_map(|entry| ModuleFile::other_backend(&entry.path())).collect();
    modules.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(modules)
}

/// Lists the variants of a `BitnetRelease` tree; empty if the directory is not such a tree. The host's system comes first.
fn bitnet_tree(root: &Path) -> Vec<Result<LibraryDir, CatalogueError>> {
    let host = System::host();
    let systems = std::iter::once(host).chain(System::ALL.into_iter().filter(|system| *system != host));
    systems
        .flat_map(|system| BITNET_VARIANTS.iter().map(move |variant| (system, variant)))
        .map(|(system, variant)| {
            let kind = if variant.gpu { "gpu" } else { "cpu" };
            root.join(kind).join(system.directory()).join(variant.name)
        })
        .filter(|directory| directory.is_dir())
        .map(|directory| read(&directory, &LibrarySource::BitnetRelease))
        .collect()
}

/// Reads one directory.
fn read(directory: &Path, source: &LibrarySource) -> Result<LibraryDir, CatalogueError> {
    let unreadable = |error: io::Error| CatalogueError::Unreadable {
        source_name: source.clone(),
        path: directory.to_owned(),
        message: plain_message(&error),
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let library_of = |system: System| {
        let rank = |path: &PathBuf| path.file_name().is_none_or(|name| name != system.library_file());
        files
            .iter()
            .filter(|path| path.file_name().and_then(OsStr::to_str).and_then(library_system) == Some(system))
            .min_by_key(|path| rank(path))
            .map(|path| (path.clone(), system))
    };
    let host = System::host();
    let (library, system) =
        library_of(host).or_else(|| System::ALL.into_iter().find_map(library_of)).ok_or_else(|| {
            CatalogueError::NoLibrary { source_name: source.clone(), path: directory.to_owned() }
        })?;
    Ok(LibraryDir {
        path: directory.to_owned(),
        library,
        source: source.clone(),
        system,
        variant: bitnet_variant(directory),
        modules: files.iter().filter_map(|path| ModuleFile::cpu(path)).collect(),
        backends: files.iter().filter_map(|path| ModuleFile::other_backend(path)).collect(),
        added: None,
    })
}

/// Whether the path ends in the name of a llama.cpp library.
pub(crate) fn is_library(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).and_then(library_system).is_some()
}

/// The variant whose directory in a `BitnetRelease` tree this is, by its last three parts.
fn bitnet_variant(directory: &Path) -> Option<String> {
    let mut parts = directory.components().rev().filter_map(|part| part.as_os_str().to_str());
    let variant = BitnetVariant::named(parts.next()?)?;
    let system = parts.next()?;
    let kind = if variant.gpu { "gpu" } else { "cpu" };
    let in_tree = System::ALL.iter().any(|known| known.directory() == system) && parts.next()? == kind;
    in_tree.then(|| variant.name.to_owned())
}

/// The system whose llama.cpp library has this file name; on Linux the name may end in a version (`libllama.so.0`).
fn library_system(name: &str) -> Option<System> {
    if let Some(version) = name.strip_prefix("libllama.so.") {
        let digits =
            version.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        return digits.then_some(System::Linux);
    }
    System::ALL.into_iter().find(|system| name == system.library_file())
}

/// Why a place cannot be read: common reasons in the same words on every system, others in the system's words without the error number, in small
/// letters and without a full stop.
fn plain_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
            let mut letters = text.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_plain_words() {
        for (error, words) in [
            (io::Error::from(io::ErrorKind::NotFound), "no such file or directory"),
            (io::Error::from(io::ErrorKind::PermissionDenied), "permission denied"),
            (io::Error::other("Something Else. (os error 5)"), "something Else"),
        ] {
            assert_eq!(plain_message(&error), words);
        }
    }

    #[test]
    fn library_names_tell_the_system() {
        for (name, system) in [
            ("libllama.so", Some(System::Linux)),
            ("libllama.so.0.5.0", Some(System::Linux)),
            ("libllama.dylib", Some(System::Macos)),
            ("llama.dll", Some(System::Windows)),
            ("libllama.so.", None),
            ("libllama.so.bak", None),
            ("libllama-common.so", None),
        ] {
            assert_eq!(library_system(name), system, "{name}");
        }
    }
}
