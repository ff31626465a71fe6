//! The C++ shim that is built with the bundled library: it turns exceptions and failed assertions of llama.cpp into errors.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Its file beside libllama.
const FILE: &str = if cfg!(target_os = "macos") {
    "libtabagent-shim.dylib"
} else if cfg!(windows) {
    "tabagent-shim.dll"
} else {
    "libtabagent-shim.so"
};
/// Bytes of the words of an exception that are kept.
const WORDS: usize = 1024;

type Work = unsafe extern "C-unwind" fn(*mut c_void);

/// The shim's functions (`tabagent_shim.cpp`). Never unloaded.
#[derive(Debug)]
pub struct Shim {
    call: unsafe extern "C-unwind" fn(Work, *mut c_void, *mut c_char, usize) -> c_int,
    set_crash_file: unsafe extern "C" fn(*const c_char),
    /// The crash file is set by one thread at a time.
    setting: Mutex<()>,
}

/// What llama.cpp threw in place of returning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Thrown {
    /// What kind of thing it was.
    pub kind: ThrownKind,
    /// Its words.
    pub words: String,
}

/// The kinds of what llama.cpp throws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrownKind {
    /// An exception, such as `std::runtime_error`.
    Exception,
    /// A failed assertion, on the calling thread and outside of a computation.
    Assertion,
    /// `std::bad_alloc`.
    NoMemory,
}

impl Shim {
    /// Loads the shim that lies beside libllama, and has ggml tell it of failed assertions by `set_abort_callback`, its function of that name if it
    /// has one. `None` where there is no shim, as beside libraries of others.
    ///
    /// # Safety
    /// `set_abort_callback` is null, or the address of ggml's `ggml_set_abort_callback`.
    pub unsafe fn beside(directory: &Path, set_abort_callback: *mut c_void) -> Option<Self> {
        let path = directory.join(FILE);
        if !path.is_file() {
            return None;
        }
        // SAFETY: the file is ours by its name; its start-up code initializes the C++ runtime that is linked into it.
        let library = unsafe { libloading::Library::new(&path) }.ok()?;
        // SAFETY: `tabagent_shim.cpp` defines the function with this signature.
        let call = *unsafe { library.get(b"tabagent_call\0") }.ok()?;
        // SAFETY: as above.
        let set_crash_file = *unsafe { library.get(b"tabagent_set_crash_file\0") }.ok()?;
        if !set_abort_callback.is_null() {
            // SAFETY: as above.
            let catch: libloading::Symbol<'_, unsafe extern "C" fn(*mut c_void)> =
                unsafe { library.get(b"tabagent_catch_assertions\0") }.ok()?;
            // SAFETY: it is given the function that it calls, by the caller's contract.
            unsafe { catch(set_abort_callback) };
        }
        // Its code must stay as long as ggml may call it.
        std::mem::forget(library);
        Some(Self { call, set_crash_file, setting: Mutex::new(()) })
    }

    /// Runs `work`, which calls llama.cpp. `work` must hold nothing that would be wrong to leave half done.
    ///
    /// # Errors
    /// [`Thrown`]. What llama.cpp was doing is then half done: its objects may be freed and nothing else.
    pub fn guard<T>(&self, work: impl FnOnce() -> T) -> Result<T, Thrown> {
        struct Call<F, T> {
            work: Option<F>,
            result: Option<T>,
        }
        unsafe extern "C-unwind" fn run<F: FnOnce() -> T, T>(data: *mut c_void) {
            // SAFETY: `guard` passes its own `Call<F, T>`, which nothing else uses meanwhile.
            let call = unsafe { &mut *data.cast::<Call<F, T>>() };
            call.result = call.work.take().map(|work| work());
        }
        fn runner<F: FnOnce() -> T, T>(_: &Call<F, T>) -> Work {
            run::<F, T>
        }
        let mut call = Call { work: Some(work), result: None };
        let mut words = [0_u8; WORDS];
        let run = runner(&call);
        let data = std::ptr::from_mut(&mut call).cast();
        // SAFETY: `run` takes this very `call`; the buffer has `WORDS` bytes. Foreign exceptions pass through `run`, which catches nothing.
        let code = unsafe { (self.call)(run, data, words.as_mut_ptr().cast(), WORDS) };
        let kind = match (code, call.result) {
            (0, Some(result)) => return Ok(result),
            (2, _) => ThrownKind::Assertion,
            (3, _) => ThrownKind::NoMemory,
            _ => ThrownKind::Exception,
        };
        let words = CStr::from_bytes_until_nul(&words).map(CStr::to_string_lossy).unwrap_or_default();
        Err(Thrown { kind, words: words.into_owned() })
    }

    /// Where to note, in a line, an assertion that ends the process; `None` for nowhere but stderr. A path with a NUL byte or of more than 4,095 is none.
    pub fn set_crash_file(&self, path: Option<&Path>) {
        let path = path.and_then(|path| CString::new(path.as_os_str().as_encoded_bytes()).ok());
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: null or a NUL-terminated path, which it copies.
        unsafe { (self.set_crash_file)(path.as_ref().map_or(std::ptr::null(), |path| path.as_ptr())) };
    }
}
