//! ggml's CPU modules: one shared library for each instruction-set level, of which a process runs one.

use crate::library_error::LibraryError;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use tabagent_sys::{Api, file_of_address, ggml_backend_reg};

/// Which CPU module to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuModule {
    /// The one that ggml scores highest on this processor.
    #[default]
    Auto,
    /// The one of this name, such as `haswell`.
    Named(String),
}

const PREFIX: &str = "libggml-cpu-";
const SUFFIX: &str = std::env::consts::DLL_SUFFIX;

/// `libggml-cpu-haswell.so` → `haswell`.
pub(crate) fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    Some(name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.to_owned())
}

/// The file of the registered CPU backend; `None` when there is none.
pub(crate) fn loaded_file(api: &Api) -> Option<PathBuf> {
    file_of_address(cpu_backend(api).cast::<c_void>())
}

/// The registered CPU backend, or null.
pub(crate) fn cpu_backend(api: &Api) -> *mut ggml_backend_reg {
    // SAFETY: the name is a NUL-terminated literal.
    unsafe { (api.ggml_backend_reg_by_name)(c"CPU".as_ptr()) }
}

/// Loads every backend of `directory`, and of its CPU modules the wanted one.
pub(crate) fn load(api: &Api, directory: &Path, wanted: &CpuModule) -> Result<(), LibraryError> {
    let ((), log) = match wanted {
        CpuModule::Auto => {
            let path = c_path(directory)?;
            // SAFETY: the path is NUL-terminated; the directory's libraries belong to this llama.cpp.
            crate::log::capture(|| unsafe { (api.ggml_backend_load_all_from_path)(path.as_ptr()) })
        }
        CpuModule::Named(name) => {
            let files = plan(directory, name)?;
            let paths = files.iter().map(|f| c_path(f)).collect::<Result<Vec<_>, _>>()?;
            crate::log::capture(|| {
                for path in &paths {
                    // SAFETY: as above; a module that does not fit this processor is refused by its own score function.
                    unsafe { (api.ggml_backend_load)(path.as_ptr()) };
                }
            })
        }
    };
    if cpu_backend(api).is_null() {
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
        let Some(file) = path.file_name().and_then(|f| f.to_str()) else { continue };
        if let Some(found) = name_of(&path) {
            if found == name {
                module = Some(path.clone());
            }
            available.push(found);
        } else if file.starts_with("libggml-") && file.ends_with(SUFFIX) && !file.starts_with("libggml-base")
        {
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
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LibraryError::BadPath(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_module_comes_alone_and_last() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "libggml-base.so",
            "libggml-cpu-haswell.so",
            "libggml-cpu-x64.so",
            "libggml-rpc.so",
            "libllama.so",
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let names: Vec<_> = plan(dir.path(), "x64")
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["libggml-rpc.so", "libggml-cpu-x64.so"]);
        let text = plan(dir.path(), "zen9").unwrap_err().to_string();
        assert!(text.starts_with("no CPU module `zen9`") && text.ends_with("it has haswell, x64"), "{text}");
    }
}
