//! Changing metadata of a file that is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::error::GgufError;
use crate::file::{GgufFile, Header};
use crate::owned::OwnedValue;
use crate::progress::Progress;
use crate::writer::GgufWriter;

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Gives the key this value, where it stands or at the end.
    Set(String, OwnedValue),
    /// Leaves the key out; nothing if it is not there.
    Remove(String),
}

/// How a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// It says already what it should.
    Unchanged,
    /// So many bytes were overwritten; the tensors were not touched.
    InPlace {
        /// From the first byte that differs to the last.
        bytes: u64,
    },
    /// The whole file was written anew and took the old one's place.
    Rewritten,
}

/// Changes the metadata of the file at `path`.
///
/// Where the new records end in the same padding as the old ones, only the bytes that differ are overwritten, whatever the size of the
/// tensors. Else, and always for a file with several names (a symbolic or hard link, as in a download cache), a new file is
/// written beside the old one and takes its place in one step.
///
/// ```
/// use tabagent_gguf::{Edit, Edited, GgmlType, GgufFile, GgufWriter, edit_metadata, no_progress};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.gguf");
/// GgufWriter::new().add("a", 1_u32).add_tensor("t", GgmlType::I8, &[1], vec![9]).write_to(&path)?;
/// let edits = [Edit::Set("a".to_owned(), 2_u32.into())];
/// assert_eq!(edit_metadata(&path, &edits, &no_progress)?, Edited::InPlace { bytes: 1 });
/// let file = GgufFile::open(&path)?;
/// assert_eq!(file.metadata().get("a").and_then(|value| value.as_u64()), Some(2));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`GgufFile::open`] and [`GgufWriter::write_with`]. A failed rewriting leaves the old file.
pub fn edit_metadata(path: &Path, edits: &[Edit], progress: Progress<'_>) -> Result<Edited, GgufError> {
    let file = GgufFile::open(path)?;
    let writer = edited(GgufWriter::of_file(&file), edits);
    if !has_other_names(path)
        && let Some(patch) = patch(&file, writer.head()?)
    {
        if patch.bytes.is_empty() {
            return Ok(Edited::Unchanged);
        }
        patch.apply(path).map_err(|source| GgufError::Write { path: path.to_owned(), source })?;
        return Ok(Edited::InPlace { bytes: patch.bytes.len() as u64 });
    }
    writer.write_with(path, progress)?;
    Ok(Edited::Rewritten)
}

/// The writer with its metadata changed.
pub fn edited(writer: GgufWriter, edits: &[Edit]) -> GgufWriter {
    edits.iter().fold(writer, |writer, edit| match edit {
        Edit::Set(key, value) => writer.set(key, value.clone()),
        Edit::Remove(key) => writer.remove(key),
    })
}

/// Bytes to be overwritten.
struct Patch {
    start: u64,
    bytes: Vec<u8>,
}

impl Patch {
    fn apply(&self, path: &Path) -> io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        file.write_all(&self.bytes)?;
        file.sync_all()
    }
}

/// What to overwrite so that `file` starts with `head`; `None` if its tensors would have to move.
fn patch(file: &GgufFile, mut head: Vec<u8>) -> Option<Patch> {
    if head.len() as u64 != file.data_offset() {
        return None;
    }
    // Read as any reader would: the tensors must be found where they are.
    let Ok(Header::Complete(new)) =
        GgufFile::from_beginning(head.clone(), file.file_size(), file.file_name())
    else {
        return None;
    };
    if new.tensors() != file.tensors() || new.data_offset() != file.data_offset() {
        return None;
    }
    let old = file.bytes().as_slice().get(..head.len())?;
    let differs = |(new, old): (&u8, &u8)| new != old;
    let Some(first) = head.iter().zip(old).position(differs) else {
        return Some(Patch { start: 0, bytes: Vec::new() });
    };
    let last = head.iter().zip(old).rposition(differs).unwrap_or(first);
    head.truncate(last + 1);
    head.drain(..first);
    Some(Patch { start: first as u64, bytes: head })
}

/// True if the file is also known by another name, whose readers expect it unchanged.
fn has_other_names(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file() || metadata.nlink() > 1)
    }
    #[cfg(not(unix))]
    {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file())
    }
}
