//! The dynamic loader of each operating system. Both modules have the same functions.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Handle, file_of_address, file_of_name, glibc_version, load, load_from_system};
#[cfg(windows)]
pub(crate) use windows::{Handle, file_of_address, file_of_name, glibc_version, load, load_from_system};

/// The loader's own text about a failure, without what `libloading` adds.
fn reason(error: &libloading::Error) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    text.trim_matches('"').to_owned()
}
