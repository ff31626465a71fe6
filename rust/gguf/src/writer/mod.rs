//! Writing GGUF files: metadata and tensors are collected, then written in order in one pass.

mod content;
mod data;
mod encode;
mod parts;
pub(crate) mod replace;

use std::path::Path;

use crate::error::GgufError;
use crate::file::GgufFile;
use crate::ggml_type::GgmlType;
use crate::input::Inputs;
use crate::mmap::SharedBytes;
use crate::model::GgufModel;
use crate::owned::OwnedValue;
use crate::parser::NEWEST_VERSION;
use crate::progress::{Progress, no_progress};
use crate::reader::{ByteOrder, Encoding, Reader};
use crate::value::{Value, ValueType};

pub use data::{DataMaker, TensorData};
pub use parts::SplitBy;

pub(crate) use parts::is_split_key;

use content::{Content, Told};
use replace::{FinishedFile, NewFile};

/// A value to write.
#[derive(Clone)]
enum Entry {
    Owned(OwnedValue),
    /// A value of an open file, not decoded.
    Raw {
        kind: ValueType,
        bytes: SharedBytes,
        encoding: Encoding,
    },
}

impl Entry {
    fn kind(&self) -> ValueType {
        match self {
            Self::Owned(value) => value.value_type(),
            Self::Raw { kind, .. } => *kind,
        }
    }

    /// The value in memory; never `None` for a value that a file's reader accepted.
    fn to_owned_value(&self) -> Option<OwnedValue> {
        match self {
            Self::Owned(value) => Some(value.clone()),
            Self::Raw { kind, bytes, encoding } => {
                Value::read(&mut Reader::new(bytes, *encoding), *kind).map(OwnedValue::from)
            }
        }
    }
}

/// A tensor to write.
struct PendingTensor {
    name: String,
    ggml_type: GgmlType,
    dims: Vec<u64>,
    data: TensorData,
}

/// Collects metadata and tensors, then writes them in order in one pass: version 3 and little-endian unless told otherwise.
///
/// Rules of the format are checked when writing, so calls can be chained:
///
/// ```
/// use tabagent_gguf::{GgmlType, GgufFile, GgufWriter};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let bytes = GgufWriter::new()
///     .add("general.architecture", "llama")
///     .add("llama.block_count", 2_u32)
///     .add_tensor("output_norm.weight", GgmlType::F32, &[4], vec![0; 16])
///     .to_bytes()?;
/// assert_eq!(GgufFile::from_bytes(bytes)?.tensors().len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct GgufWriter {
    version: u32,
    order: ByteOrder,
    entries: Vec<(String, Entry)>,
    tensors: Vec<PendingTensor>,
    /// What follows the last tensor's data in the file that this one was made from; `None` for padding.
    tail: Option<SharedBytes>,
    /// The files that are read for it and must not be replaced.
    inputs: Inputs,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self {
            version: NEWEST_VERSION,
            order: ByteOrder::Little,
            entries: Vec::new(),
            tensors: Vec::new(),
            tail: None,
            inputs: Inputs::default(),
        }
    }
}

impl GgufWriter {
    /// A writer without any content.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer with all that `file` holds, which can be changed before it is written. Written unchanged it gives the same bytes again if the padding
    /// is zeros and the version is not 1, which becomes 3. Tensors stay where they are until they are written: `file` stays open, but is not read.
    pub fn of_file(file: &GgufFile) -> Self {
        let version = if file.version() == 1 { NEWEST_VERSION } else { file.version() };
        let empty = Self { version, order: file.byte_order(), ..Self::default() };
        let mut writer = empty.add_metadata_of(file).add_tensors_of(file);
        let end =
            file.tensors().last().map_or(file.data_offset(), |last| file.data_start(last) + last.n_bytes);
        writer.tail = Some(SharedBytes::new(file.bytes(), end as usize..file.file_size() as usize));
        writer.inputs.extend(&file.inputs());
        writer
    }

    /// A writer with all that a model's parts hold, as one file: the first part's metadata without its `split.*` keys, and all tensors.
    pub fn of_model(model: &GgufModel) -> Self {
        match model.parts() {
            [only] if !only.metadata().iter().any(|(key, _)| is_split_key(key)) => Self::of_file(only),
            parts => {
                let mut writer = Self::of_file(model.first());
                writer.tensors.clear();
                parts.iter().fold(writer.without_split(), Self::add_tensors_of)
            }
        }
    }

    /// Names the files that are read for what is added, so that none of them is replaced. The writer already knows the files whose metadata or
    /// tensors were added as such.
    #[must_use]
    pub fn with_inputs(mut self, inputs: &Inputs) -> Self {
        self.inputs.extend(inputs);
        self
    }

    /// Writes numbers in `order` from now on, those inside of blocks included. Data that is given as bytes must be in that order.
    #[must_use]
    pub fn with_byte_order(mut self, order: ByteOrder) -> Self {
        self.order = order;
        self
    }

    /// Writes version 2, for readers from before September 2023, or 3. The two differ in nothing but that number.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a metadata entry after those already there. `general.alignment` also sets the alignment.
    #[must_use]
    pub fn add(mut self, key: &str, value: impl Into<OwnedValue>) -> Self {
        self.entries.push((key.to_owned(), Entry::Owned(value.into())));
        self
    }

    /// Replaces the value of `key` where it stands, or adds it at the end.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<OwnedValue>) -> Self {
        let value = Entry::Owned(value.into());
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key.to_owned(), value)),
        }
        self
    }

    /// Leaves out the entry of `key`, if there is one.
    #[must_use]
    pub fn remove(mut self, key: &str) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self
    }

    /// Adds a copy of all metadata of `file`, which is decoded only if the byte orders differ.
    #[must_use]
    pub fn add_metadata_of(mut self, file: &GgufFile) -> Self {
        self.inputs.add(file.bytes().file_id());
        let encoding = file.encoding();
        for (key, kind, bytes) in file.metadata().raw_entries() {
            self.entries.push((key.to_owned(), Entry::Raw { kind, bytes, encoding }));
        }
        self
    }

    /// Adds a tensor after those already there: `dims` in ggml's order; `data` of exactly its size, in the file's byte order.
    #[must_use]
    pub fn add_tensor(
        mut self,
        name: &str,
        ggml_type: GgmlType,
        dims: &[u64],
        data: impl Into<TensorData>,
    ) -> Self {
        let data = data.into();
        if let TensorData::Shared(bytes, _) = &data {
            self.inputs.add(bytes.file_id());
        }
        self.tensors.push(PendingTensor { name: name.to_owned(), ggml_type, dims: dims.to_vec(), data });
        self.tail = None;
        self
    }

    /// The same without the keys that tell which part it is.
    #[must_use]
    pub(crate) fn without_split(mut self) -> Self {
        self.entries.retain(|(key, _)| !is_split_key(key));
        self
    }

    /// The same metadata without any tensors.
    #[must_use]
    pub(crate) fn without_tensors(mut self) -> Self {
        self.tensors.clear();
        self.tail = None;
        self
    }

    /// Adds all tensors of `file`, which stays open for them.
    #[must_use]
    pub fn add_tensors_of(self, file: &GgufFile) -> Self {
        file.tensors().iter().fold(self, |writer, tensor| {
            let data = TensorData::Shared(file.shared_data(tensor), file.byte_order());
            writer.add_tensor(&tensor.name, tensor.ggml_type, tensor.shape.dims(), data)
        })
    }

    /// Writes the file at `path` in one step: readers see the old file or the whole new one, never a part.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken, [`GgufError::SameFile`] if `path` leads to a file that is read for it,
    /// [`GgufError::Write`] if the system refuses.
    pub fn write_to(&self, path: &Path) -> Result<(), GgufError> {
        self.write_with(path, &no_progress)
    }

    /// [`GgufWriter::write_to`] that tells `progress` the bytes of tensors written. Where it returns false nothing is left behind.
    ///
    /// # Errors
    /// As [`GgufWriter::write_to`]; [`GgufError::Cancelled`].
    pub fn write_with(&self, path: &Path, progress: Progress<'_>) -> Result<(), GgufError> {
        self.inputs.refuse(path)?;
        self.write_beside(path, progress)?.show()
    }

    /// Writes the whole file beside `path`, which may be that of a file that is read for it. [`FinishedFile::show`] puts it in its place.
    pub(crate) fn write_beside(
        &self,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<FinishedFile, GgufError> {
        let content = self.content();
        let plan = content.check()?;
        let mut file = NewFile::create(path)?;
        let mut told = Told::new(progress, plan.data_bytes);
        content.emit(file.out(), &plan, &mut told).map_err(|fault| fault.explain(path))?;
        let file = file.finish()?;
        told.ask()?;
        Ok(file)
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GgufError> {
        self.to_bytes_with(&no_progress)
    }

    /// [`GgufWriter::to_bytes`] that tells `progress` the bytes of tensors made.
    ///
    /// # Errors
    /// As [`GgufWriter::to_bytes`]; [`GgufError::Cancelled`].
    pub fn to_bytes_with(&self, progress: Progress<'_>) -> Result<Vec<u8>, GgufError> {
        let content = self.content();
        let plan = content.check()?;
        let mut bytes = Vec::new();
        content
            .emit(&mut bytes, &plan, &mut Told::new(progress, plan.data_bytes))
            .map_err(|fault| fault.explain(Path::new("memory")))?;
        Ok(bytes)
    }

    /// Everything before the tensors' data, padding included.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken.
    pub(crate) fn head(&self) -> Result<Vec<u8>, GgufError> {
        let content = self.content();
        let plan = content.check()?;
        let mut head = content.records(&plan);
        if !self.tensors.is_empty() {
            head.resize(head.len().next_multiple_of(plan.alignment as usize), 0);
        }
        Ok(head)
    }

    /// Bytes of the whole file.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken.
    pub(crate) fn n_bytes(&self) -> Result<u64, GgufError> {
        let alignment = self.content().check()?.alignment;
        let padded = |tensor: &PendingTensor| tensor.data.n_bytes().next_multiple_of(alignment);
        let mut size = self.head()?.len() as u64 + self.tensors.iter().map(padded).sum::<u64>();
        if let (Some(tail), Some(last)) = (&self.tail, self.tensors.last()) {
            size = size - padded(last) + last.data.n_bytes() + tail.len() as u64;
        }
        Ok(size)
    }

    fn content(&self) -> Content<'_> {
        Content {
            version: self.version,
            order: self.order,
            entries: &self.entries,
            tensors: &self.tensors,
            tail: self.tail.as_ref(),
        }
    }
}
