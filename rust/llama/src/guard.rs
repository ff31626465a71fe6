//! Calls of llama.cpp that may throw or fail an assertion.

use std::path::Path;
use std::sync::OnceLock;
use tabagent_sys::{OpenedLibrary, Shim, Thrown};

/// The shim beside the library of this process, if it has one.
static SHIM: OnceLock<Shim> = OnceLock::new();

/// Takes the shim in `directory` into use, for the library that was opened there.
pub(crate) fn install(opened: &OpenedLibrary, directory: &Path) {
    // SAFETY: the address is that of ggml's function, or null.
    let shim = unsafe { Shim::beside(directory, opened.address("ggml_set_abort_callback")) };
    if let Some(shim) = shim {
        // A second library is refused, so it is the first.
        let _ = SHIM.set(shim);
    }
}

/// Runs `work`, which calls llama.cpp. Without a shim, an exception or a failed assertion ends the process.
///
/// # Errors
/// [`Thrown`]; what llama.cpp was doing is then half done.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Thrown> {
    match SHIM.get() {
        Some(shim) => shim.guard(work),
        None => Ok(work()),
    }
}

/// Whether exceptions of llama.cpp, and assertions outside of computations, become errors: whether the library has a shim.
pub fn catches_exceptions() -> bool {
    SHIM.get().is_some()
}

/// Where to note, in a line, a failed assertion that ends the process; it is on stderr, too. `None` for nowhere else. Does nothing where the library
/// has no shim.
pub fn set_crash_file(path: Option<&Path>) {
    if let Some(shim) = SHIM.get() {
        shim.set_crash_file(path);
    }
}
