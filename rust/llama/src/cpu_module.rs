//! ggml's CPU modules: one shared library for each instruction-set level, of which a process runs one.

use crate::library_error::LibraryError;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use tabagent_sys::{Api, file_of_address, ggml_backend_reg};

/// Which CPU module to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModuleChoice {
    /// The one that ggml scores highest on this processor.
    #[default]
    Auto,
    /// The one of this name, such as `haswell`.
    Named(String),
}

/// How the names of backend files begin and end (`backend_filename_prefix` and `backend_filename_extension` in
/// `ggml/src/ggml-backend-reg.cpp`); on macOS, too, they end in `.so`.
const AFFIXES: (&str, &str) = if cfg!(windows) { ("ggml-", ".dll") } else { ("libggml-", ".so") };

/// `libggml-cpu-haswell.so` and `ggml-cpu-haswell.dll` → `haswell`.
pub(crate) fn name_of(file: &Path) -> Option<String> {
    Some(backend_of(file)?.strip_prefix("cpu-")?.to_owned())
}

/// `libggml-rpc.so` and `ggml-rpc.dll` → `rpc`.
fn backend_of(file: &Path) -> Option<&str> {
    file.file_name()?.to_str()?.strip_prefix(AFFIXES.0)?.strip_suffix(AFFIXES.1)
}

/// The file of the registered CPU backend; `None` when there is none.
pub(crate) fn loaded_file(api: &Api) -> Option<PathBuf> {
    file_of_address(cpu_backend(api).cast::<c_void>())
}

/// The registered CPU backend, or null.
pub(crate) fn cpu_backend(api: &Api) -> *mut ggml_backend_reg {
    let Some(find) = api.ggml_backend_reg_by_name else { return std::ptr::null_mut() };
    // SAFETY: the name is a NUL-terminated literal.
    unsafe { find(c"CPU".as_ptr()) }
}

/// Loads every backend in `directory`, but of its CPU modules only the wanted one.
pub(crate) fn load(api: &Api, directory: &Path, wanted: &ModuleChoice) -> Result<(), LibraryError> {
    let ((), log) = match wanted {
        ModuleChoice::Auto => {
            let path = c_path(directory)?;
            match api.ggml_backend_load_all_from_path {
                // SAFETY: the path is NUL-terminated; the directory's libraries belong to this llama.cpp.
                Some(load) => crate::log::capture(|| unsafe { load(path.as_ptr()) }),
                // All backends are built in.
                None => ((), Vec::new()),
            }
        }
        ModuleChoice::Named(name) => {
            let files = plan(directory, name)?;
            let paths = files.iter().map(|f| c_path(f)).collect::<Result<Vec<_>, _>>()?;
            crate::log::capture(|| {
                for (path, load) in paths.iter().filter_map(|path| Some((path, api.ggml_backend_load?))) {
                    // SAFETY: as above; a module that does not fit this processor is refused by its own score function.
                    unsafe { load(path.as_ptr()) };
                }
            })
        }
    };
    // Builds before 3905 have no registry of backends, and the CPU's is built in.
    if cpu_backend(api).is_null() && api.ggml_backend_reg_by_name.is_some() {
        return Err(LibraryError::NoCpuBackend { directory: directory.to_owned(), log });
    }
    Ok(())
}

/// Backend files of `directory`, with the CPU module `name` as the only one of its kind.
fn plan(directory: &Path, name: &str) -> Result<Vec<PathBuf>, LibraryError> {
    let mut others = Vec::new();
    let mut module = None;
    let mut available = Vec::new();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|e| e.path()) {
        if let Some(found) = name_of(&path) {
            if found == name {
                module = Some(path.clone());
            }
            available.push(found);
        } else if backend_of(&path).is_some_and(|backend| !backend.starts_with("base")) {
            others.push(path);
        }
    }
    let Some(module) = module else {
        available.sort();
        return Err(LibraryError::NoSuchModule {
            name: name.to_owned(),
            directory: directory.to_owned(),
            available,
        });
    };
    others.sort();
    others.push(module);
    Ok(others)
}

fn c_path(path: &Path) -> Result<CString, LibraryError> {
    crate::strings::of_path(path).ok_or_else(|| LibraryError::BadPath(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_module_comes_alone_and_last() {
        let (prefix, suffix) = AFFIXES;
        let dir = tempfile::tempdir().unwrap();
        for backend in ["base", "cpu-haswell", "cpu-x64", "rpc"] {
            std::fs::write(dir.path().join(format!("{prefix}{backend}{suffix}")), "").unwrap();
        }
        std::fs::write(dir.path().join(tabagent_sys::library_file_name()), "").unwrap();
        let names: Vec<_> = plan(dir.path(), "x64")
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, [format!("{prefix}rpc{suffix}"), format!("{prefix}cpu-x64{suffix}")]);
        let text = plan(dir.path(), "zen9").unwrap_err().to_string();
        assert!(
            text.starts_with("no CPU module `zen9`") && text.ends_with("it has `haswell`, `x64`"),
            "{text}"
        );
    }
}
