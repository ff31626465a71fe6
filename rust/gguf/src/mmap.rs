//! The bytes of a file, mapped or owned. The crate's only unsafe operation is here: mapping a file is what lets a model
//! of tens of gigabytes be opened in milliseconds, and nothing safe offers it.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of one GGUF file.
pub(crate) enum Bytes {
    /// A read-only mapping of a file.
    Mapped(Mmap),
    /// A copy in memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the file at `path`; an empty file becomes an empty vector, because an empty range cannot be mapped.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        // Asked before the file is opened: opening a pipe waits for somebody who writes.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: the mapping is read-only and private to this value, so no code of ours can write through it. Another
        // process that overwrites the file changes only plain bytes, all of which are re-checked where they are decoded;
        // one that truncates it makes a later read fault, which llama.cpp's own mapping of the same file shares.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self::Mapped(map))
    }

    /// All bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
