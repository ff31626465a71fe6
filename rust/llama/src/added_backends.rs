//! Backends that lie elsewhere than the library.

use crate::library_error::LibraryError;
use crate::strings;
use std::path::PathBuf;
use tabagent_sys::{Api, check_module, load_ahead};

/// Modules of ggml that a companion package brings, to be loaded beside those in the library's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedBackends {
    /// Libraries that the modules need, in the order in which to load them.
    pub needed: Vec<PathBuf>,
    /// The modules.
    pub modules: Vec<PathBuf>,
}

/// Why builds from before December 2024 load no backend.
const NO_MODULES: &str = "this build of llama.cpp has all its backends built in and loads no others";

impl AddedBackends {
    /// The same with absolute paths without links, where they exist.
    pub(crate) fn resolved(&self) -> Self {
        let real = |path: &PathBuf| dunce::canonicalize(path).unwrap_or_else(|_| path.clone());
        Self {
            needed: self.needed.iter().map(real).collect(),
            modules: self.modules.iter().map(real).collect(),
        }
    }

    /// Loads them into ggml's registry, for good.
    pub(crate) fn load(&self, api: &Api) -> Result<(), LibraryError> {
        for module in &self.modules {
            check_module(module)?;
        }
        for library in &self.needed {
            load_ahead(library)?;
        }
        let Some(load) = api.ggml_backend_load.filter(|_| !self.modules.is_empty()) else {
            return match self.modules.first() {
                Some(path) => {
                    Err(LibraryError::Backend { path: path.clone(), log: vec![NO_MODULES.to_owned()] })
                }
                None => Ok(()),
            };
        };
        for module in &self.modules {
            let path = strings::of_path(module).ok_or_else(|| LibraryError::BadPath(module.clone()))?;
            // SAFETY: the path is NUL-terminated; the module was built with this llama.cpp, as its package says.
            let (backend, log) = crate::log::capture(|| unsafe { load(path.as_ptr()) });
            if backend.is_null() {
                return Err(LibraryError::Backend { path: module.clone(), log });
            }
        }
        Ok(())
    }
}
