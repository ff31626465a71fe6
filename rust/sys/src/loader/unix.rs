//! `dlopen` and related functions.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A loaded library, which is never unloaded.
pub(crate) struct Handle(std::mem::ManuallyDrop<Library>);

impl Handle {
    /// The address of a symbol of this library or of one it depends on; null when there is none.
    pub(crate) fn address(&self, symbol: &str) -> *mut c_void {
        let Ok(name) = CString::new(symbol) else { return std::ptr::null_mut() };
        // SAFETY: the type is a plain pointer; nothing is called through it here.
        let found = unsafe { self.0.get::<*mut c_void>(name.as_bytes_with_nul()) };
        found.map_or(std::ptr::null_mut(), libloading::os::unix::Symbol::as_raw_ptr)
    }
}

/// Loads a file by its absolute path. Libraries that are loaded later do not see its symbols.
pub(crate) fn load(file: &Path) -> Result<Handle, String> {
    // SAFETY: runs the library's constructors; llama.cpp's only fill tables, and the user chose this file to be run.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) };
    library.map(|library| Handle(std::mem::ManuallyDrop::new(library))).map_err(|e| super::reason(&e))
}

/// Loads a library from the system's library directories.
pub(crate) fn load_from_system(name: &str) -> Result<Handle, String> {
    load(Path::new(name))
}

/// The file that the process has loaded under a name, on a system that binds every import of that name to it, whatever its directory.
///
/// Always `None` here: the loader compares sonames and inodes. Which file it bound is seen from the addresses of the functions.
pub(crate) fn file_of_name(_name: &OsStr) -> Option<PathBuf> {
    None
}

/// The file that an address was loaded from, without links. The address is only compared, never read.
pub(crate) fn file_of_address(address: *const c_void) -> Option<PathBuf> {
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
    Path::new(OsStr::from_bytes(name.to_bytes())).canonicalize().ok()
}

/// The version of the running glibc, as `(2, 36)`; `None` with another C library.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn glibc_version() -> Option<(u32, u32)> {
    // SAFETY: takes nothing and returns a static NUL-terminated string.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: as above; the string is static.
    let version = unsafe { CStr::from_ptr(version) }.to_str().ok()?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// The version of the running glibc, as `(2, 36)`; `None` with another C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn glibc_version() -> Option<(u32, u32)> {
    None
}
