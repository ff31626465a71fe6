//! An open GGUF file: what it holds, and where.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{GgufError, Subject};
use crate::input::Inputs;
use crate::metadata::Metadata;
use crate::mmap::{Bytes, SharedBytes};
use crate::parser::{Parser, Records};
use crate::reader::{ByteOrder, Encoding};
use crate::split::Split;
use crate::tensor::TensorInfo;

/// The name in errors of a file that was given as bytes.
pub(crate) const MEMORY: &str = "memory.gguf";

/// The contents of a file's beginning.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for a file, moved once")]
pub enum Header {
    /// All of the metadata and the tensor table.
    Complete(GgufFile),
    /// Too few bytes: at least this many of the file's first bytes are needed.
    Needs(u64),
}

/// An open GGUF file of version 1, 2 or 3 in either byte order.
///
/// The file is mapped, not read: opening costs one pass over its metadata. It must not be truncated while it is open.
///
/// It accepts more than ggml's reader (`gguf_init_from_reader` in `ggml/src/gguf.cpp`) where nothing can be misread: version 1 with its lengths of 32
/// bits, the other byte order, arrays of arrays, the types of Microsoft's BitNet fork with gaps after their tensors, and a last tensor that is not
/// padded to the alignment, which ggml refuses only where it reads tensors itself. [`check_model`](crate::check_model) tells whether llama.cpp loads
/// the file.
///
/// ```
/// use tabagent_gguf::{GgufFile, GgufWriter};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let bytes = GgufWriter::new().add("general.architecture", "llama").to_bytes()?;
/// let file = GgufFile::from_bytes(bytes)?;
/// assert_eq!(file.architecture(), Some("llama"));
/// assert!(file.tensors().is_empty());
/// # Ok(())
/// # }
/// ```
pub struct GgufFile {
    name: String,
    /// Where it was opened; `None` for one that was given as bytes or as an open file.
    path: Option<PathBuf>,
    bytes: Arc<Bytes>,
    size: u64,
    version: u32,
    byte_order: ByteOrder,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    tensor_index: HashMap<String, usize>,
    data_offset: u64,
    alignment: u64,
}

impl GgufFile {
    /// Maps the file at `path` and checks its structure.
    ///
    /// # Errors
    /// [`GgufError::Open`] if the file cannot be mapped, [`GgufError::Invalid`] if it breaks a rule of the format.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let bytes = Bytes::map(path).map_err(|source| GgufError::Open { path: path.to_owned(), source })?;
        let name = path
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let mut file = Self::parse(name, bytes)?;
        file.path = std::path::absolute(path).ok();
        Ok(file)
    }

    /// Maps a file that is already open, from its start, and checks its structure. Errors call it `name`.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn from_file(file: &File, name: &str) -> Result<Self, GgufError> {
        let bytes = Bytes::map_file(file).map_err(|source| GgufError::Open { path: name.into(), source })?;
        Self::parse(name.to_owned(), bytes)
    }

    /// Checks the structure of a file that is already in memory. Errors call it `memory.gguf`.
    ///
    /// # Errors
    /// [`GgufError::Invalid`] if the bytes break a rule of the format.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::parse(MEMORY.to_owned(), Bytes::Owned(bytes))
    }

    /// As [`GgufFile::from_bytes`], but uses bytes that another owner shares, without a copy. Errors call it `name`.
    ///
    /// # Errors
    /// [`GgufError::Invalid`] if the bytes break a rule of the format.
    pub fn from_foreign(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>, name: &str) -> Result<Self, GgufError> {
        Self::parse(name.to_owned(), Bytes::Foreign(bytes))
    }

    /// Reads metadata and tensor table from `beginning`, the first bytes of a file of `file_size` bytes, such as one on a server.
    ///
    /// The tensors of a file opened this way have no data ([`GgufFile::is_header_only`]).
    ///
    /// ```
    /// use tabagent_gguf::{GgmlType, GgufFile, GgufWriter, Header};
    /// # fn main() -> Result<(), tabagent_gguf::GgufError> {
    /// let whole = GgufWriter::new().add_tensor("t", GgmlType::F32, &[9000], vec![0; 36_000]).to_bytes()?;
    /// let size = whole.len() as u64;
    /// let mut known = 16;
    /// let file = loop {
    ///     match GgufFile::from_beginning(whole[..known].to_vec(), size, "there.gguf")? {
    ///         Header::Complete(file) => break file,
    ///         Header::Needs(bytes) => known = bytes as usize,
    ///     }
    /// };
    /// assert!(known < 100 && file.tensors().len() == 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GgufError::Invalid`] if the bytes break a rule of the format.
    pub fn from_beginning(beginning: Vec<u8>, file_size: u64, name: &str) -> Result<Header, GgufError> {
        Self::parse_beginning(name.to_owned(), Bytes::Owned(beginning), Some(file_size))
    }

    /// The version of the format: 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The order of the bytes of every number, tensor data included.
    pub fn byte_order(&self) -> ByteOrder {
        self.byte_order
    }

    /// The key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of their data.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.tensor_index.get(name)?)
    }

    /// The data of a tensor of this file; empty for a tensor of another file whose place lies outside of this one.
    pub fn tensor_data(&self, tensor: &TensorInfo) -> &[u8] {
        let range = self.data_range(tensor).and_then(|range| self.bytes.as_slice().get(range));
        range.unwrap_or_default()
    }

    /// Takes a part of a tensor's data, a range of its bytes, out of this process's memory where it is mapped from the file: for whoever copies weights and
    /// does not read them again. Reading them again is possible and slower.
    pub fn let_go(&self, tensor: &TensorInfo, part: Range<usize>) {
        let Some(data) = self.data_range(tensor) else { return };
        let start = data.start.saturating_add(part.start).min(data.end);
        self.bytes.let_go(start..data.start.saturating_add(part.end).clamp(start, data.end));
    }

    /// Start of the tensor data, in bytes from the start of the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Alignment of tensor data in bytes, a power of two.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.size
    }

    /// True if only the file's beginning is in memory, so that its tensors have no data ([`GgufFile::from_beginning`]).
    pub fn is_header_only(&self) -> bool {
        (self.bytes.as_slice().len() as u64) < self.size
    }

    /// All bytes of the file, or its beginning.
    pub(crate) fn bytes(&self) -> &Arc<Bytes> {
        &self.bytes
    }

    /// The file and the parts of the same model beside it; nothing made from it may replace them.
    pub(crate) fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.add(self.bytes.file_id());
        if let (Some(path), true) = (&self.path, self.split().is_some()) {
            inputs.add_path(path);
        }
        inputs
    }

    /// How the file writes its numbers.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding { order: self.byte_order, short_lengths: self.version == 1 }
    }

    /// The data of a tensor of this file as a value that keeps the file open; empty as in [`GgufFile::tensor_data`].
    pub fn shared_data(&self, tensor: &TensorInfo) -> SharedBytes {
        SharedBytes::new(&self.bytes, self.data_range(tensor).unwrap_or_default())
    }

    /// Where the data of a tensor starts, in bytes from the start of the file.
    pub fn data_start(&self, tensor: &TensorInfo) -> u64 {
        self.data_offset.saturating_add(tensor.offset)
    }

    fn data_range(&self, tensor: &TensorInfo) -> Option<Range<usize>> {
        let start = self.data_offset.checked_add(tensor.offset)?;
        let end = start.checked_add(tensor.n_bytes)?;
        Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The file's name without its directory, as errors print it.
    pub fn file_name(&self) -> &str {
        &self.name
    }

    /// The value of `general.architecture`, such as `llama`.
    pub fn architecture(&self) -> Option<&str> {
        self.metadata.get("general.architecture")?.as_str()
    }

    /// Which part of a model in several files this is; `None` for a model in one file.
    pub fn split(&self) -> Option<Split> {
        Split::of(&self.metadata)
    }

    pub(crate) fn parse(name: String, bytes: Bytes) -> Result<Self, GgufError> {
        match Self::parse_beginning(name, bytes, None)? {
            Header::Complete(file) => Ok(file),
            // With the whole file in memory no bytes can be missing.
            Header::Needs(bytes) => Err(GgufError::Invalid {
                file: MEMORY.to_owned(),
                offset: bytes,
                subject: Subject::Header,
                problem: "ends before its counts; the file is cut off".to_owned(),
            }),
        }
    }

    fn parse_beginning(name: String, bytes: Bytes, size: Option<u64>) -> Result<Header, GgufError> {
        let bytes = Arc::new(bytes);
        let here = bytes.as_slice().len() as u64;
        let size = size.unwrap_or(here);
        let mut parser =
            Parser::new(&name, bytes.as_slice().get(..size as usize).unwrap_or(bytes.as_slice()), size);
        match parser.records(&bytes) {
            Ok(records) => {
                let Records { version, encoding, metadata, alignment, tensors, tensor_index, data_offset } =
                    records;
                let byte_order = encoding.order;
                Ok(Header::Complete(Self {
                    name,
                    path: None,
                    bytes,
                    size,
                    version,
                    byte_order,
                    metadata,
                    tensors,
                    tensor_index,
                    data_offset,
                    alignment,
                }))
            }
            Err(error) => parser.reader.missing().map(Header::Needs).ok_or(error),
        }
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}
