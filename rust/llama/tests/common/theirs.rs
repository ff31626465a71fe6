//! The pinned library's own samplers, for a test and a bench that compare ours with them.
//!
//! They abort on ordinary input, so the function table of `tabagent-sys` does not have them.

use std::ffi::c_void;
use std::path::Path;

use libloading::Library;

/// `llama_token_data` in `include/llama.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct TokenData {
    pub(crate) id: i32,
    pub(crate) logit: f32,
    pub(crate) p: f32,
}

/// `llama_token_data_array` in `include/llama.h`.
#[repr(C)]
pub(crate) struct TokenDataArray {
    pub(crate) data: *mut TokenData,
    pub(crate) size: usize,
    pub(crate) selected: i64,
    pub(crate) sorted: bool,
}

impl TokenDataArray {
    /// All of `data`, which must outlive the array's use.
    pub(crate) fn of(data: &mut [TokenData]) -> Self {
        Self { data: data.as_mut_ptr(), size: data.len(), selected: -1, sorted: false }
    }
}

const _: () = assert!(size_of::<TokenData>() == 12 && size_of::<TokenDataArray>() == 32);

/// A sampler or a chain of them, made by one of the library's `init` functions and not freed yet.
pub(crate) type Handle = *mut c_void;

/// The library's samplers; kept open for the whole process.
pub(crate) struct Theirs {
    library: Library,
    apply: unsafe extern "C" fn(Handle, *mut TokenDataArray),
    free: unsafe extern "C" fn(Handle),
}

impl Theirs {
    /// Opens the library in a directory.
    pub(crate) fn open(dir: &Path) -> Self {
        let path = dir.join(tabagent_sys::library_file_name());
        // SAFETY: llama.cpp's initialisers have no requirements, and the handle is never dropped before its symbols.
        #[cfg(not(windows))]
        let library = unsafe { Library::new(path) }.unwrap();
        // SAFETY: as above. The flag has Windows look for other libraries beside this one.
        #[cfg(windows)]
        let library = unsafe {
            libloading::os::windows::Library::load_with_flags(
                path,
                libloading::os::windows::LOAD_WITH_ALTERED_SEARCH_PATH,
            )
        }
        .map(Library::from)
        .unwrap();
        let apply = function(&library, "llama_sampler_apply");
        let free = function(&library, "llama_sampler_free");
        Self { library, apply, free }
    }

    /// A function of the library, of the type that `include/llama.h` gives it.
    pub(crate) fn function<F: Copy>(&self, name: &str) -> F {
        function(&self.library, name)
    }

    /// Lets a sampler change the candidates: it moves their start, shortens the array, and changes or selects what is in it.
    pub(crate) fn apply(&self, sampler: Handle, array: &mut TokenDataArray) {
        // SAFETY: a `Handle` is alive, and the array lies in the items that `of` was given.
        unsafe { (self.apply)(sampler, array) };
    }

    /// Frees a sampler, which must not be used again.
    pub(crate) fn free(&self, sampler: Handle) {
        // SAFETY: a `Handle` is alive until it comes here.
        unsafe { (self.free)(sampler) };
    }
}

fn function<F: Copy>(library: &Library, name: &str) -> F {
    // SAFETY: each caller states the type of the header.
    *unsafe { library.get(name) }.unwrap()
}
