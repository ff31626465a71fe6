//! What the operating system refused, as an `OSError` of the subclass that the reason stands for (`FileNotFoundError` and so on).

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// The exception for `source` at the file `path`. `error` says all of it, for where there is no number that Python knows.
pub(crate) fn os_error(py: Python<'_>, path: &Path, source: &io::Error, error: &dyn Display) -> PyErr {
    let path = path.as_os_str().to_owned();
    let Some(code) = source.raw_os_error() else {
        return match errno_named(source.kind())
            .map(|name| py.import("errno")?.getattr(name)?.extract::<i32>())
        {
            Some(Ok(code)) => PyOSError::new_err((code, source.to_string(), path)),
            _ => PyOSError::new_err(error.to_string()),
        };
    };
    numbered(code, system_text(py, code, source), Some(path))
}

/// The exception for a number of the system.
pub(crate) fn numbered(code: i32, text: String, path: Option<OsString>) -> PyErr {
    if cfg!(windows) {
        // Windows has numbers of its own. Python takes them as the fourth argument and makes `errno` of it, whatever the first one is.
        return PyOSError::new_err((0, text, path, code));
    }
    match path {
        Some(path) => PyOSError::new_err((code, text, path)),
        None => PyOSError::new_err((code, text)),
    }
}

/// What the system says about a number.
fn system_text(py: Python<'_>, code: i32, source: &io::Error) -> String {
    if cfg!(windows) {
        // `os.strerror` knows only the numbers of C there.
        let text = source.to_string();
        return text.trim_end_matches(&format!(" (os error {code})")).to_owned();
    }
    let text = py.import("os").and_then(|os| os.call_method1("strerror", (code,))?.extract::<String>());
    text.unwrap_or_else(|_| source.to_string())
}

/// The error number for a refusal of our own, such as to write over a device.
fn errno_named(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind;
    Some(match kind {
        ErrorKind::InvalidInput => "EINVAL",
        ErrorKind::IsADirectory => "EISDIR",
        ErrorKind::NotADirectory => "ENOTDIR",
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::PermissionDenied => "EACCES",
        ErrorKind::AlreadyExists => "EEXIST",
        ErrorKind::WriteZero | ErrorKind::StorageFull => "ENOSPC",
        ErrorKind::UnexpectedEof => "EIO",
        _ => return None,
    })
}
