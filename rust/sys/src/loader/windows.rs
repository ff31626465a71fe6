//! `LoadLibraryExW` and related functions.

use libloading::os::windows::{
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32, Library,
};
use std::ffi::{CString, OsStr, OsString, c_void};
use std::os::windows::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW,
};

/// The longest path that Windows allows, in UTF-16 units.
const LONGEST_PATH: usize = 32_768;

/// A loaded library, which is never unloaded.
pub(crate) struct Handle(std::mem::ManuallyDrop<Library>);

impl Handle {
    /// The address of a symbol that this library itself exports; null when there is none.
    pub(crate) fn address(&self, symbol: &str) -> *mut c_void {
        let Ok(name) = CString::new(symbol) else { return std::ptr::null_mut() };
        // SAFETY: the type is a plain pointer; nothing is called through it here.
        let found = unsafe { self.0.get::<*mut c_void>(name.as_bytes_with_nul()) };
        found.map_or(std::ptr::null_mut(), libloading::os::windows::Symbol::as_raw_ptr)
    }
}

/// Loads a file by its absolute path. Windows looks for its imports in the file's own directory and among the system's libraries, not in the
/// current directory and not along `PATH`.
pub(crate) fn load(file: &Path) -> Result<Handle, String> {
    load_with(file.as_os_str(), LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS)
}

/// Loads a library from the system's library directory.
pub(crate) fn load_from_system(name: &str) -> Result<Handle, String> {
    load_with(OsStr::new(name), LOAD_LIBRARY_SEARCH_SYSTEM32 | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS)
}

fn load_with(file: &OsStr, flags: u32) -> Result<Handle, String> {
    // SAFETY: runs the library's initialisers; llama.cpp's only fill tables, and the user chose this file to be run.
    let library = unsafe { Library::load_with_flags(file, flags) };
    library.map(|library| Handle(std::mem::ManuallyDrop::new(library))).map_err(|e| super::reason(&e))
}

/// The file that the process has loaded under a name. Windows binds every import of that name to it, whatever its directory.
pub(crate) fn file_of_name(name: &OsStr) -> Option<PathBuf> {
    let library = Library::open_already_loaded(name).ok()?;
    let module = library.into_raw();
    file_of_module(std::ptr::with_exposed_provenance_mut(module.cast_unsigned()))
}

/// The file that an address was loaded from, without links. The address is only compared, never read.
pub(crate) fn file_of_address(address: *const c_void) -> Option<PathBuf> {
    let mut module: HMODULE = std::ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    // SAFETY: with these flags the second argument is an address that is only compared; `module` is writable.
    let found = unsafe { GetModuleHandleExW(flags, address.cast(), &raw mut module) };
    if found == 0 { None } else { file_of_module(module) }
}

fn file_of_module(module: HMODULE) -> Option<PathBuf> {
    let mut name = vec![0_u16; LONGEST_PATH];
    // SAFETY: a handle of a module that is loaded, and a buffer of the length given.
    let length = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), LONGEST_PATH as u32) } as usize;
    // A length equal to the buffer's means that the path was cut.
    let name = name.get(..length).filter(|_| 0 < length && length < LONGEST_PATH)?;
    dunce::canonicalize(OsString::from_wide(name)).ok()
}

/// There is no glibc here.
pub(crate) fn glibc_version() -> Option<(u32, u32)> {
    None
}
