//! Loads libllama and its ggml libraries into the process.

use crate::api::{Api, MissingSymbols};
use crate::binary::{BinaryFacts, BinaryFormat, InspectError};
use crate::explain::LoadFailure;
use crate::family::Family;
use crate::inspect::{beside, inspect};
use crate::loader::{self, Handle};
use std::ffi::c_void;
use std::path::{Path, PathBuf};

/// The platform's file name of libllama.
pub const fn library_file_name() -> &'static str {
    if cfg!(windows) {
        "llama.dll"
    } else if cfg!(target_os = "macos") {
        "libllama.dylib"
    } else {
        "libllama.so"
    }
}

/// A loaded library. It is never unloaded: unloading llama.cpp while its threads or callbacks live is not safe.
pub struct OpenedLibrary {
    /// The file, as an absolute path without links.
    pub path: PathBuf,
    /// What its file says.
    pub facts: BinaryFacts,
    /// The library, then its dependencies, the deepest last.
    handles: Vec<Handle>,
}

impl OpenedLibrary {
    /// The address of a symbol of this library or of one beside it that it depends on; null when there is none.
    pub fn address(&self, symbol: &str) -> *mut c_void {
        let mut addresses = self.handles.iter().map(|handle| handle.address(symbol));
        addresses.find(|address| !address.is_null()).unwrap_or(std::ptr::null_mut())
    }

    /// The function table, filled with the library's functions under the names of its family.
    ///
    /// # Safety
    /// The library must be llama.cpp: if a foreign library exports the same names with other signatures, calling one is undefined behaviour.
    ///
    /// # Errors
    /// [`MissingSymbols`] with every required name it lacks.
    pub unsafe fn api(&self) -> Result<Api, MissingSymbols> {
        let family = self.family();
        let exports = |name: &str| !self.address(name).is_null();
        // SAFETY: addresses come from this library, which is never unloaded; the caller vouches for the signatures.
        unsafe { Api::resolve_with(family, |name| self.address(&family.symbol(name, exports))) }
    }

    /// The family that its exports tell.
    pub fn family(&self) -> Family {
        Family::of(|name| !self.address(name).is_null())
    }
}

/// A library file that was read and checked; none of its code has run.
#[derive(Debug)]
pub struct LocatedLibrary {
    /// The file, as an absolute path without links.
    pub path: PathBuf,
    /// What it says about itself.
    pub facts: BinaryFacts,
    /// Libraries beside it that it needs, the deepest first.
    dependencies: Vec<Dependency>,
}

/// A library in the same directory as the one asked for.
#[derive(Debug)]
struct Dependency {
    path: PathBuf,
    /// Names of the libraries that it needs itself.
    needed: Vec<String>,
}

/// The absolute path, without links, of the libllama that `path` means: the one in a directory, or the file itself.
///
/// # Errors
/// [`LoadFailure::NotFound`] and [`LoadFailure::Unreadable`].
pub fn library_file(path: &Path) -> Result<PathBuf, LoadFailure> {
    let file = if path.is_dir() { path.join(library_file_name()) } else { path.to_owned() };
    canonicalize(&file).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LoadFailure::NotFound { path: file, expected: library_file_name() },
        _ => LoadFailure::Unreadable { path: file, source },
    })
}

/// Finds and checks libllama at `path`: a directory that holds it, or the file itself.
///
/// Reads the file and the libraries beside it that it needs ([`inspect`]), so that a wrong processor or a too new glibc is reported before any code runs.
///
/// # Errors
/// [`LoadFailure`], with the file at fault.
pub fn locate(path: &Path) -> Result<LocatedLibrary, LoadFailure> {
    let file = library_file(path)?;
    let mut dependencies = Vec::new();
    let facts = judge_with_dependencies(&file, &mut dependencies, &mut vec![file.clone()])?;
    Ok(LocatedLibrary { path: file, facts, dependencies })
}

impl LocatedLibrary {
    /// Loads the library into the process, for good.
    ///
    /// Dependencies beside it are loaded first, by absolute path and for this library alone, so that neither the current directory nor a search
    /// path of the environment can substitute another file.
    ///
    /// # Errors
    /// [`LoadFailure`], with the file at fault.
    pub fn load(self) -> Result<OpenedLibrary, LoadFailure> {
        let mut handles = Vec::new();
        for dependency in &self.dependencies {
            handles.push(load(&dependency.path, &dependency.needed)?);
        }
        handles.push(load(&self.path, &self.facts.needed)?);
        handles.reverse();
        Ok(OpenedLibrary { path: self.path, facts: self.facts, handles })
    }
}

/// Loads a library that others need under its name, for good and for them alone: they find it without a search path.
///
/// # Errors
/// [`LoadFailure`], with the file at fault.
pub fn load_ahead(path: &Path) -> Result<(), LoadFailure> {
    let file =
        canonicalize(path).map_err(|source| LoadFailure::Unreadable { path: path.to_owned(), source })?;
    let facts = judge(&file)?;
    load(&file, &facts.needed).map(drop)
}

/// Checks a module's file without running any of its code: its format, processor and the glibc that it needs.
///
/// # Errors
/// [`LoadFailure`], with the file at fault.
pub fn check_module(path: &Path) -> Result<(), LoadFailure> {
    judge(path).map(drop)
}

fn judge_with_dependencies(
    file: &Path,
    ordered: &mut Vec<Dependency>,
    seen: &mut Vec<PathBuf>,
) -> Result<BinaryFacts, LoadFailure> {
    let facts = judge(file)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    for name in &facts.needed {
        let Some(path) = beside(directory, name).and_then(|path| canonicalize(&path).ok()) else {
            continue;
        };
        if !seen.contains(&path) {
            seen.push(path.clone());
            let needed = judge_with_dependencies(&path, ordered, seen)?.needed;
            ordered.push(Dependency { path, needed });
        }
    }
    Ok(facts)
}

fn judge(file: &Path) -> Result<BinaryFacts, LoadFailure> {
    let path = file.to_owned();
    let facts = match inspect(file) {
        Ok(facts) => facts,
        Err(InspectError::Io { source }) => return Err(LoadFailure::Unreadable { path, source }),
        Err(e @ InspectError::NotALibrary { .. }) => {
            return Err(LoadFailure::NotALibrary { path, reason: e.to_string() });
        }
    };
    if facts.format != BinaryFormat::HOST {
        return Err(LoadFailure::WrongFormat { path, expected: BinaryFormat::HOST, found: facts.format });
    }
    let expected = std::env::consts::ARCH;
    if facts.architecture != expected {
        return Err(LoadFailure::WrongArchitecture { path, expected, found: facts.architecture });
    }
    if let (Some(needed), Some(present)) = (facts.glibc, loader::glibc_version())
        && needed > present
    {
        return Err(LoadFailure::GlibcTooOld { path, needed, present });
    }
    Ok(facts)
}

fn load(file: &Path, needed: &[String]) -> Result<Handle, LoadFailure> {
    let path = file.to_owned();
    if let Some(found) = file.file_name().and_then(loader::file_of_name).filter(|found| found != file) {
        return Err(LoadFailure::NameTaken { path, found });
    }
    loader::load(file).map_err(|reason| match missing_dependency(file, needed) {
        Some(dependency) => LoadFailure::MissingDependency { path, dependency },
        None => LoadFailure::Loader { path, reason },
    })
}

/// The first library that `file` needs and that cannot be loaded; tries to load each one alone.
fn missing_dependency(file: &Path, needed: &[String]) -> Option<String> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let is_missing =
        |name: &&String| beside(directory, name).is_none() && loader::load_from_system(name).is_err();
    needed.iter().find(is_missing).cloned()
}

/// An absolute path without links, and on Windows without the `\\?\` in front that many programs do not understand.
fn canonicalize(path: &Path) -> std::io::Result<PathBuf> {
    dunce::canonicalize(path)
}

/// The file that an address was loaded from, without links; `None` for null or an address in no file.
///
/// The address is only compared, never read.
pub fn file_of_address(address: *const c_void) -> Option<PathBuf> {
    if address.is_null() { None } else { loader::file_of_address(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_says_what_to_give() {
        let dir = tempfile::tempdir().unwrap();
        let text = locate(dir.path()).err().unwrap().to_string();
        assert!(text.contains("no file") && text.contains("give the directory of `"), "{text}");
    }

    #[test]
    fn a_text_file_is_not_a_library() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(library_file_name()), "not an ELF file").unwrap();
        let error = locate(dir.path()).err().unwrap();
        assert!(matches!(error, LoadFailure::NotALibrary { .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_of_another_processor_is_refused_before_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        elf[18..20].copy_from_slice(&243_u16.to_le_bytes()); // e_machine := EM_RISCV
        std::fs::write(dir.path().join(library_file_name()), elf).unwrap();
        let text = locate(dir.path()).err().unwrap().to_string();
        let expected =
            format!("it is built for `riscv64` and this process runs on `{}`", std::env::consts::ARCH);
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn the_file_of_a_function_is_the_one_that_holds_it() {
        let own = file_of_address(a_missing_file_says_what_to_give as *const c_void).unwrap();
        assert_eq!(own, canonicalize(&std::env::current_exe().unwrap()).unwrap());
        assert_eq!(file_of_address(std::ptr::null()), None);
        let local = 0;
        assert_eq!(file_of_address((&raw const local).cast()), None);
    }

    #[test]
    fn of_the_libraries_that_are_needed_the_missing_one_is_named() {
        let system = if cfg!(windows) { "kernel32.dll" } else { "libc.so.6" };
        let needed = [system, "libtabagent-no-such.so.7"].map(str::to_owned);
        let file = std::env::current_exe().unwrap();
        assert_eq!(missing_dependency(&file, &needed).as_deref(), Some("libtabagent-no-such.so.7"));
        assert_eq!(missing_dependency(&file, &needed[..1]), None);
    }
}
