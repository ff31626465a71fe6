//! The files that decide what a library does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// All shared libraries in a directory, sorted.
pub(crate) fn library_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        [".so", ".dylib", ".dll"].iter().any(|ending| name.contains(ending))
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_library).collect();
    files.sort();
    files
}

/// What changes when a file is replaced: its name, length and time.
pub(crate) fn file_stamp(file: &Path) -> String {
    let facts = fs::metadata(file).ok();
    let time = facts.as_ref().and_then(|facts| facts.modified().ok());
    let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{} {:?} {time:?}\n", file.display(), facts.map(|facts| facts.len()))
}
