//! The files that a task reads, none of which it may overwrite.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::file_id::FileId;
use crate::mmap::SharedBytes;
use crate::split::present_parts;

/// How deep folders of models keep files: `1_Pooling/config.json`, `additional_chat_templates/tool_use.jinja`.
const FOLDER_DEPTH: usize = 3;

/// The files that a task reads. What it writes must be none of them, by whatever path or link.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    files: BTreeSet<FileId>,
    folders: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Adds the file at `path` and the parts of the same model beside it, or a folder with all its files but those in GGUF.
    pub fn add_path(&mut self, path: &Path) {
        if path.is_dir() {
            self.folders.insert(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
            return;
        }
        self.files.extend(FileId::of_path(path));
        self.files.extend(present_parts(path).iter().filter_map(|part| FileId::of_path(part)));
    }

    /// Adds the file that `bytes` are a piece of.
    pub fn add_bytes(&mut self, bytes: &SharedBytes) {
        self.add(bytes.file_id());
    }

    /// Adds a file by its identity.
    pub(crate) fn add(&mut self, file: Option<&FileId>) {
        self.files.extend(file.cloned());
    }

    /// Adds what `other` holds.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.files.extend(other.files.iter().cloned());
        self.folders.extend(other.folders.iter().cloned());
    }

    /// Refuses to write at `out` if that is one of the files.
    ///
    /// # Errors
    /// [`GgufError::SameFile`].
    pub fn refuse(&self, out: &Path) -> Result<(), GgufError> {
        let Some(id) = FileId::of_path(out) else { return Ok(()) };
        let is_read = self.files.contains(&id)
            || self.folders.iter().any(|folder| is_in_folder(&id, folder, FOLDER_DEPTH));
        if is_read { Err(GgufError::SameFile { path: out.to_owned() }) } else { Ok(()) }
    }
}

/// True if `id` is a file of `folder` that is not in GGUF. GGUF files in it are results of earlier work.
fn is_in_folder(id: &FileId, folder: &Path, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => depth > 1 && is_in_folder(id, &path, depth - 1),
            Ok(_) => FileId::of_path(&path).as_ref() == Some(id) && !is_gguf(&path),
            Err(_) => false,
        }
    })
}

fn is_gguf(path: &Path) -> bool {
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
        return true;
    }
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}
