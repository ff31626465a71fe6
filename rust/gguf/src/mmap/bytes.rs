//! The bytes of a file, mapped or owned.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::file_id::FileId;

/// Shared bytes of another owner.
type Foreign = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The bytes of one GGUF file, or of its beginning.
pub(crate) enum Bytes {
    /// A read-only mapping of a file, and which one it is.
    Mapped(Mmap, Option<FileId>),
    /// A copy in memory.
    Owned(Vec<u8>),
    /// Bytes that belong to another owner.
    Foreign(Foreign),
}

impl Bytes {
    /// Maps the file at `path`; an empty file becomes an empty vector, because an empty range cannot be mapped.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        // Checked before the file is opened, because opening a pipe waits for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Self::map_file(&File::open(path)?)
    }

    /// Maps an open file from its start to its end.
    pub(crate) fn map_file(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if metadata.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: the mapping is read-only and private to this value, so no code of ours can write through it. Another
        // process that overwrites the file changes only plain bytes, all of which are re-checked where they are decoded;
        // one that truncates it makes a later read fault, which llama.cpp's own mapping of the same file shares.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self::Mapped(map, FileId::of_file(file)))
    }

    /// The file that is mapped; `None` for bytes in memory.
    pub(crate) fn file_id(&self) -> Option<&FileId> {
        match self {
            Self::Mapped(_, id) => id.as_ref(),
            Self::Owned(_) | Self::Foreign(_) => None,
        }
    }

    /// Takes the pages of `range` out of this process's memory; whoever reads them has them mapped again. Does nothing for bytes in memory, and where the system cannot.
    pub(crate) fn let_go(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map, _) = self
            && range.end <= map.len()
            && !range.is_empty()
        {
            let (start, n) = (range.start, range.len());
            // SAFETY: nothing writes through this mapping, so a page that is dropped has the file's bytes, and is read from the file again: what others see of
            // it does not change.
            let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, n) };
            // Memory that stays is no failure.
            drop(advised);
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// All bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Owned(bytes) => bytes,
            Self::Foreign(bytes) => (**bytes).as_ref(),
        }
    }
}

/// A piece of an open file that keeps the file open: cheap to clone, and read where it lies.
///
/// ```
/// use tabagent_gguf::{GgmlType, GgufFile, GgufWriter};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let bytes = GgufWriter::new().add_tensor("t", GgmlType::I8, &[2], vec![7, 8]).to_bytes()?;
/// let file = GgufFile::from_bytes(bytes)?;
/// let data = file.shared_data(&file.tensors()[0]);
/// drop(file);
/// assert_eq!(*data, [7, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedBytes {
    bytes: Arc<Bytes>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes of `range`; none if the file ends before them.
    pub(crate) fn new(bytes: &Arc<Bytes>, range: Range<usize>) -> Self {
        let range = if bytes.as_slice().get(range.clone()).is_some() { range } else { 0..0 };
        Self { bytes: Arc::clone(bytes), range }
    }

    /// The file that they are in; `None` for bytes in memory.
    pub(crate) fn file_id(&self) -> Option<&FileId> {
        self.bytes.file_id()
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_slice().get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedBytes({:?})", self.range)
    }
}
