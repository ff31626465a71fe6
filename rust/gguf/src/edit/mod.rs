//! Changes the metadata of an existing file.

mod check;
pub(crate) mod known;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::error::{GgufError, Subject};
use crate::file::{GgufFile, Header};
use crate::file_id::name_count;
use crate::owned::OwnedValue;
use crate::progress::Progress;
use crate::writer::GgufWriter;

use check::as_unwritable;

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Gives the key this value, where it stands or at the end.
    Set(String, OwnedValue),
    /// Removes the key, if it is there.
    Remove(String),
}

/// How a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// The file already had these values.
    Unchanged,
    /// Some bytes were overwritten; the tensors were not touched.
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
/// An edit cannot make the file worse. It is refused if the file would not open afterwards, if [`check_model`](crate::check_model) would refuse the
/// file and does not refuse it now, or if a known key would get a value of another type.
///
/// # Errors
/// As [`GgufFile::open`] and [`GgufWriter::write_with`], [`GgufError::Unwritable`] for an edit that is refused. A failed rewriting leaves the
/// old file.
pub fn edit_metadata(path: &Path, edits: &[Edit], progress: Progress<'_>) -> Result<Edited, GgufError> {
    let file = GgufFile::open(path)?;
    let Changed { writer, head, after } = Changed::of(&file, path, edits)?;
    if !has_other_names(path)
        && let Some(patch) = patch(&file, head, &after)
    {
        if patch.bytes.is_empty() {
            return Ok(Edited::Unchanged);
        }
        patch.apply(path).map_err(|source| GgufError::Write { path: path.to_owned(), source })?;
        return Ok(Edited::InPlace { bytes: patch.bytes.len() as u64 });
    }
    let fresh = writer.write_beside(path, progress)?;
    // Windows replaces no file that is mapped.
    drop((writer, file, after));
    fresh.show()?;
    Ok(Edited::Rewritten)
}

/// As [`edit_metadata`], but leaves the file as it is and writes the changed copy at `out`, which must not be the file or a part of
/// the same model. The copy of a part must be named as that part, so that the others can be put beside it.
///
/// # Errors
/// As [`edit_metadata`]; [`GgufError::SameFile`].
pub fn edit_metadata_to(
    path: &Path,
    edits: &[Edit],
    out: &Path,
    progress: Progress<'_>,
) -> Result<(), GgufError> {
    let file = GgufFile::open(path)?;
    file.inputs().refuse(out)?;
    let changed = Changed::of(&file, path, edits)?;
    check::check_name(&changed.after, out)?;
    changed.writer.write_with(out, progress)
}

/// A file with its metadata changed, as it will be.
struct Changed {
    writer: GgufWriter,
    head: Vec<u8>,
    /// The changed file's records, without its data.
    after: GgufFile,
}

impl Changed {
    /// Makes the changes, and proves that they are allowed.
    fn of(file: &GgufFile, path: &Path, edits: &[Edit]) -> Result<Self, GgufError> {
        let writer = edited(GgufWriter::of_file(file), edits);
        let head = writer.head()?;
        let header = GgufFile::from_beginning(head.clone(), writer.n_bytes()?, file.file_name());
        let after = match header.map_err(as_unwritable)? {
            Header::Complete(after) => after,
            Header::Needs(_) => return Err(check::refused(Subject::Header, "would end in its own records")),
        };
        let after = check::check(file, after, path, edits)?;
        Ok(Self { writer, head, after })
    }
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

/// What to overwrite so that `file` starts with `head`, whose records are `new`; `None` if its tensors would have to move.
fn patch(file: &GgufFile, mut head: Vec<u8>, new: &GgufFile) -> Option<Patch> {
    // A reader of the new head must find the tensors where they already are.
    if head.len() as u64 != file.data_offset()
        || new.tensors() != file.tensors()
        || new.data_offset() != file.data_offset()
    {
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
    std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file())
        || name_count(path).is_some_and(|names| names > 1)
}
