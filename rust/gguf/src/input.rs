//! The files that a task reads, none of which it may overwrite.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::mmap::SharedBytes;
use crate::split::present_parts;

/// How deep folders of models keep files: `1_Pooling/config.json`, `additional_chat_templates/tool_use.jinja`.
const FOLDER_DEPTH: usize = 3;

/// The identity of a file: equal for all its paths, symbolic and hard links.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(Identity);

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

impl FileId {
    /// The file that `path` leads to; `None` if there is none.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        {
            std::fs::metadata(path).ok().as_ref().and_then(Self::of_metadata)
        }
        #[cfg(not(unix))]
        {
            path.canonicalize().ok().map(Self)
        }
    }

    /// The identity of an open file; `None` where the system tells it only by a path.
    pub(crate) fn of_file(file: &File) -> Option<Self> {
        file.metadata().ok().as_ref().and_then(Self::of_metadata)
    }

    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems need a path")]
    fn of_metadata(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        Some(Self((metadata.dev(), metadata.ino())))
    }

    #[cfg(not(unix))]
    fn of_metadata(_metadata: &Metadata) -> Option<Self> {
        None
    }
}

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
