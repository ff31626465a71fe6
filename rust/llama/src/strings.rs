//! C strings in and out.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;

/// A path as llama.cpp takes it: its bytes on Unix, UTF-8 on Windows (`ggml_fopen` in `ggml/src/ggml.c`). `None` for a path that
/// [`path_problem`] describes.
pub(crate) fn of_path(path: &Path) -> Option<CString> {
    let bytes = if cfg!(windows) { path.to_str()?.as_bytes() } else { path.as_os_str().as_encoded_bytes() };
    CString::new(bytes).ok()
}

/// Why a path cannot be given to llama.cpp.
pub(crate) fn path_problem(path: &Path) -> &'static str {
    if path.as_os_str().as_encoded_bytes().contains(&0) { "contains a NUL byte" } else { "is not Unicode" }
}

/// Copies a NUL-terminated C string, replacing invalid UTF-8; `None` for null.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that stays unchanged during the call.
pub(crate) unsafe fn copy(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller vouches for the terminator.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// Calls a `snprintf`-like function (returns the length it needs, or a negative number) until its buffer is large enough.
pub(crate) fn sized(mut fill: impl FnMut(*mut c_char, usize) -> i32) -> Option<String> {
    let mut buffer = vec![0_u8; 256];
    loop {
        let needed = usize::try_from(fill(buffer.as_mut_ptr().cast(), buffer.len())).ok()?;
        if needed < buffer.len() {
            buffer.truncate(needed);
            return Some(String::from_utf8_lossy(&buffer).into_owned());
        }
        buffer.resize(needed + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_nul_byte_is_none() {
        let path = Path::new("a\0b");
        assert_eq!((of_path(path), path_problem(path)), (None, "contains a NUL byte"));
        assert_eq!(of_path(Path::new("ä/b")).unwrap().to_bytes(), "ä/b".as_bytes());
    }

    #[test]
    fn sized_grows_until_the_text_fits() {
        let long = "x".repeat(1000);
        let text = sized(|out, size| {
            let n = long.len().min(size - 1);
            // SAFETY: `sized` gives `size` writable bytes, and `n < size`.
            unsafe { std::ptr::copy_nonoverlapping(long.as_ptr(), out.cast(), n) };
            long.len() as i32
        });
        assert_eq!(text.as_deref(), Some(long.as_str()));
        assert_eq!(sized(|_, _| -1), None);
    }
}
