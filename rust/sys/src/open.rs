//! Bringing libllama and its ggml libraries into the process.

use crate::api::{Api, MissingSymbols};
use crate::explain::{LoadFailure, missing_dependency};
use crate::inspect::{BinaryFacts, InspectError, beside, inspect};
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, c_void};
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

/// A library that is in the process and never leaves it: unloading llama.cpp while its threads or callbacks live is not safe.
pub struct OpenedLibrary {
    /// The file, as an absolute path without links.
    pub path: PathBuf,
    /// What its file says.
    pub facts: BinaryFacts,
    handle: std::mem::ManuallyDrop<Handle>,
}

impl OpenedLibrary {
    /// The address of a symbol of this library or of one it depends on; null when there is none.
    pub fn address(&self, symbol: &str) -> *mut c_void {
        let Ok(name) = CString::new(symbol) else { return std::ptr::null_mut() };
        // SAFETY: the type is a plain pointer; nothing is called through it here.
        let found = unsafe { self.handle.get::<*mut c_void>(name.as_bytes_with_nul()) };
        found.map_or(std::ptr::null_mut(), libloading::os::unix::Symbol::as_raw_ptr)
    }

    /// The function table.
    ///
    /// # Safety
    /// The library must be llama.cpp: a foreign library that exports the same names with other signatures is undefined
    /// behaviour as soon as one is called.
    ///
    /// # Errors
    /// [`MissingSymbols`] with every required name it lacks.
    pub unsafe fn api(&self) -> Result<Api, MissingSymbols> {
        // SAFETY: addresses come from this library, which is never unloaded; the caller vouches for the signatures.
        unsafe { Api::resolve_with(|name| self.address(name)) }
    }
}

/// A library file that was read and judged, but not run.
#[derive(Debug)]
pub struct LocatedLibrary {
    /// The file, as an absolute path without links.
    pub path: PathBuf,
    /// What it says about itself.
    pub facts: BinaryFacts,
    /// Libraries beside it that it needs, the deepest first.
    dependencies: Vec<PathBuf>,
}

/// Finds and judges libllama at `path`: a directory that holds it, or the file itself.
///
/// The file and the libraries beside it that it needs are read ([`inspect`]), so that a wrong processor or a too new glibc is
/// told apart before any code runs.
///
/// # Errors
/// [`LoadFailure`], with the file at fault.
pub fn locate(path: &Path) -> Result<LocatedLibrary, LoadFailure> {
    if !cfg!(unix) {
        return Err(LoadFailure::UnsupportedPlatform { os: std::env::consts::OS });
    }
    let file = if path.is_dir() { path.join(library_file_name()) } else { path.to_owned() };
    let file = match file.canonicalize() {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(LoadFailure::NotFound { path: file, expected: library_file_name() });
        }
        Err(source) => return Err(LoadFailure::Unreadable { path: file, source }),
    };
    let mut dependencies = Vec::new();
    let facts = judge_with_dependencies(&file, &mut dependencies, &mut vec![file.clone()])?;
    Ok(LocatedLibrary { path: file, facts, dependencies })
}

impl LocatedLibrary {
    /// Brings the library into the process, for good.
    ///
    /// Dependencies that lie beside it are loaded first, by absolute path and with `RTLD_LOCAL`, so that neither the current
    /// directory nor `LD_LIBRARY_PATH` can put another file in their place.
    ///
    /// # Errors
    /// [`LoadFailure`], with the file at fault.
    pub fn load(self) -> Result<OpenedLibrary, LoadFailure> {
        for dependency in &self.dependencies {
            // Dependencies stay for good, like the library itself.
            std::mem::forget(load(dependency)?);
        }
        let handle = load(&self.path)?;
        Ok(OpenedLibrary { path: self.path, facts: self.facts, handle: std::mem::ManuallyDrop::new(handle) })
    }
}

fn judge_with_dependencies(
    file: &Path,
    ordered: &mut Vec<PathBuf>,
    seen: &mut Vec<PathBuf>,
) -> Result<BinaryFacts, LoadFailure> {
    let facts = judge(file)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    for soname in &facts.needed {
        let Some(dependency) = beside(directory, soname).and_then(|p| p.canonicalize().ok()) else {
            continue;
        };
        if !seen.contains(&dependency) {
            seen.push(dependency.clone());
            judge_with_dependencies(&dependency, ordered, seen)?;
            ordered.push(dependency);
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
    let expected = std::env::consts::ARCH;
    if facts.architecture != expected {
        return Err(LoadFailure::WrongArchitecture { path, expected, found: facts.architecture });
    }
    if let (Some(needed), Some(present)) = (facts.glibc, running_glibc())
        && needed > present
    {
        return Err(LoadFailure::GlibcTooOld { path, needed, present });
    }
    Ok(facts)
}

fn load(file: &Path) -> Result<Handle, LoadFailure> {
    // SAFETY: runs the library's constructors; llama.cpp's only fill tables, and the user chose this file to be run.
    unsafe { Handle::open(Some(file), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        let reason = reason.trim_matches('"').to_owned();
        match missing_dependency(&reason) {
            Some(name) => {
                LoadFailure::MissingDependency { path: file.to_owned(), dependency: name.to_owned() }
            }
            None => LoadFailure::Loader { path: file.to_owned(), reason },
        }
    })
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn running_glibc() -> Option<(u32, u32)> {
    // SAFETY: takes nothing and returns a static NUL-terminated string.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: as above; the string is static.
    let version = unsafe { CStr::from_ptr(version) }.to_str().ok()?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn running_glibc() -> Option<(u32, u32)> {
    None
}

/// The file that an address was loaded from, without links; `None` for null or an address in no file.
///
/// The address is only compared, never read.
#[allow(clippy::not_unsafe_ptr_arg_deref)]
pub fn file_of_address(address: *const c_void) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    if address.is_null() {
        return None;
    }
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` only compares the address with the loaded objects, and fills `info` where it returns non-zero.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: zeroed at the start and filled by `dladdr`.
    let info = unsafe { info.assume_init() };
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: `dli_fname` is the loader's own NUL-terminated path of a library that is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_says_what_to_give() {
        let dir = tempfile::tempdir().unwrap();
        let text = locate(dir.path()).err().unwrap().to_string();
        assert!(text.contains("no file") && text.contains("give the directory of `libllama.so`"), "{text}");
    }

    #[test]
    fn a_text_file_is_not_a_library() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(library_file_name()), "not an ELF file").unwrap();
        let error = locate(dir.path()).err().unwrap();
        assert!(matches!(error, LoadFailure::NotALibrary { .. }), "{error}");
    }

    #[test]
    fn a_library_of_another_processor_is_refused_before_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        elf[18..20].copy_from_slice(&243_u16.to_le_bytes()); // e_machine := EM_RISCV
        std::fs::write(dir.path().join(library_file_name()), elf).unwrap();
        let text = locate(dir.path()).err().unwrap().to_string();
        assert!(text.contains("it is built for `riscv64` and this process runs on `x86_64`"), "{text}");
    }

    #[test]
    fn the_file_of_a_libc_function_is_libc() {
        let file = file_of_address(libc::getpid as *const c_void).unwrap();
        assert!(file.to_string_lossy().contains("libc"), "{}", file.display());
        assert_eq!(file_of_address(std::ptr::null()), None);
    }
}
