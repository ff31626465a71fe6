//! Reading the records of a file in order: every rule of the format is checked here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{GgufError, Subject};
use crate::ggml_type::GgmlType;
use crate::metadata::{Entry, Metadata};
use crate::mmap::Bytes;
use crate::reader::{ByteOrder, Encoding, Reader};
use crate::tensor::{MAX_DIMS, MAX_NAME_BYTES, Shape, TensorInfo};
use crate::text::{grouped, pointer_problem, shown};
use crate::value::{Value, ValueType, skip_value};

/// The alignment of tensor data where the file names none (`GGUF_DEFAULT_ALIGNMENT`).
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;

/// The newest version of the format.
pub(crate) const NEWEST_VERSION: u32 = 3;

/// The contents of the records.
pub(crate) struct Records {
    pub(crate) version: u32,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: Metadata,
    pub(crate) alignment: u64,
    pub(crate) tensors: Vec<TensorInfo>,
    /// Places in `tensors` by name.
    pub(crate) tensor_index: HashMap<String, usize>,
    /// Start of the tensor data, in bytes from the start of the file.
    pub(crate) data_offset: u64,
}

/// Reads the records of one file in order.
pub(crate) struct Parser<'a> {
    name: &'a str,
    pub(crate) reader: Reader<'a>,
}

impl<'a> Parser<'a> {
    /// Starts at the first of `bytes`, the beginning of a file of `total` bytes.
    pub(crate) fn new(name: &'a str, bytes: &'a [u8], total: u64) -> Self {
        let encoding = Encoding { order: ByteOrder::Little, short_lengths: false };
        Self { name, reader: Reader::of_beginning(bytes, total, encoding) }
    }

    /// An error about the record at `offset`.
    pub(crate) fn invalid(&self, offset: u64, subject: Subject, problem: impl Into<String>) -> GgufError {
        GgufError::Invalid { file: self.name.to_owned(), offset, subject, problem: problem.into() }
    }

    /// Reads all records in order; the metadata will be decoded from `file`.
    pub(crate) fn records(&mut self, file: &Arc<Bytes>) -> Result<Records, GgufError> {
        let (version, n_tensors, n_entries) = self.header()?;
        let encoding = self.reader.encoding();
        let mut metadata = Metadata::new(Arc::clone(file), encoding);
        for number in 0..n_entries {
            self.entry(number, &mut metadata)?;
        }
        let alignment = self.alignment(&metadata)?;
        let mut tensors = Vec::new();
        let mut tensor_index = HashMap::new();
        let mut starts = Vec::new();
        for number in 0..n_tensors {
            let start = self.reader.position();
            let tensor = self.tensor(number)?;
            if tensor_index.insert(tensor.name.clone(), tensors.len()).is_some() {
                let subject = Subject::tensor(tensor.name.as_bytes());
                return Err(self.invalid(start, subject, "is there twice, but names must be unique"));
            }
            starts.push(start);
            tensors.push(tensor);
        }
        let data_offset = self.place(&tensors, &starts, alignment)?;
        Ok(Records { version, encoding, metadata, alignment, tensors, tensor_index, data_offset })
    }

    fn header_cut(&self) -> GgufError {
        let problem = "ends before its counts; the file is cut off or still being written";
        self.invalid(self.reader.position(), Subject::Header, problem)
    }

    /// Magic, version and counts: returns the version, the number of tensors and the number of entries.
    fn header(&mut self) -> Result<(u32, u64, u64), GgufError> {
        let magic = self.reader.take(4).ok_or_else(|| self.header_cut())?;
        if magic != b"GGUF" {
            if let Some(problem) = pointer_problem(self.reader.all()) {
                return Err(self.invalid(0, Subject::Header, problem));
            }
            let problem =
                format!("starts with `{}`, but a GGUF file starts with `GGUF`", magic.escape_ascii());
            return Err(self.invalid(0, Subject::Header, problem));
        }
        let stored = self.reader.u32().ok_or_else(|| self.header_cut())?;
        // As in `ggml/src/gguf.cpp`: a small version number read in the wrong byte order has an empty low half.
        let swapped = stored != 0 && stored.trailing_zeros() >= 16;
        let version = if swapped { stored.swap_bytes() } else { stored };
        if version == 0 || version > NEWEST_VERSION {
            let problem =
                format!("has version `{version}`, but versions `1` to `{NEWEST_VERSION}` are known");
            return Err(self.invalid(4, Subject::Header, problem));
        }
        let order = if swapped { ByteOrder::Big } else { ByteOrder::Little };
        let encoding = Encoding { order, short_lengths: version == 1 };
        self.reader.set_encoding(encoding);
        let counts_at = self.reader.position();
        let n_tensors = self.reader.length().ok_or_else(|| self.header_cut())?;
        let n_entries = self.reader.length().ok_or_else(|| self.header_cut())?;
        // The least a record takes: key length, one byte of key, type, one byte of value; name length, rank, type, offset.
        let entry_bytes = encoding.length_bytes() + 6;
        let tensor_bytes = encoding.length_bytes() + 16;
        let left = self.reader.remaining();
        for (what, count, least) in
            [("tensors", n_tensors, tensor_bytes), ("metadata entries", n_entries, entry_bytes)]
        {
            if count.checked_mul(least).is_none_or(|bytes| bytes > left) {
                let problem = format!(
                    "claims `{}` {what}, but only `{}` bytes follow; the file is cut off or damaged",
                    grouped(count),
                    grouped(left)
                );
                return Err(self.invalid(counts_at, Subject::Header, problem));
            }
        }
        Ok((version, n_tensors, n_entries))
    }

    /// The text of a key or tensor name.
    fn name(&mut self, what: &str, number: u64) -> Result<&'a str, GgufError> {
        let at = self.reader.position();
        let length = self.reader.length();
        let left = self.reader.remaining();
        let bytes = length.and_then(|length| self.reader.take(length)).ok_or_else(|| {
            let problem = match length {
                Some(length) => format!(
                    "has {what} number `{}` with a name of `{}` bytes, but only `{}` are left; the file is cut off or damaged",
                    grouped(number),
                    grouped(length),
                    grouped(left)
                ),
                None => format!("promises {what} number `{}`, but the file ends before it", grouped(number)),
            };
            self.invalid(at, Subject::Header, problem)
        })?;
        std::str::from_utf8(bytes).map_err(|_| {
            let problem = format!(
                "has {what} number `{}` called `{}`, which is not UTF-8",
                grouped(number),
                shown(bytes)
            );
            self.invalid(at, Subject::Header, problem)
        })
    }

    /// One metadata entry.
    fn entry(&mut self, number: u64, metadata: &mut Metadata) -> Result<(), GgufError> {
        let offset = self.reader.position();
        let key = self.name("key", number)?;
        let subject = || Subject::key(key.as_bytes());
        if key.is_empty() {
            return Err(self.invalid(offset, subject(), "is empty, but every key has a name"));
        }
        let cut = "ends before its type; the file is cut off or damaged";
        let id = self.reader.u32().ok_or_else(|| self.invalid(offset, subject(), cut))?;
        let value_type = ValueType::from_id(id).ok_or_else(|| {
            let problem = format!("has value type `{id}`, but the types of GGUF are `0` to `12`");
            self.invalid(offset, subject(), problem)
        })?;
        let start = self.reader.position() as usize;
        if let Err(fault) = skip_value(&mut self.reader, value_type, 0) {
            return Err(self.invalid(offset, subject(), fault.to_string()));
        }
        let value = start..self.reader.position() as usize;
        if !metadata.push(Entry { key: key.into(), value_type, offset, value }) {
            return Err(self.invalid(offset, subject(), "is there twice, but keys must be unique"));
        }
        Ok(())
    }

    /// The alignment that the metadata names, or the default.
    fn alignment(&self, metadata: &Metadata) -> Result<u64, GgufError> {
        const KEY: &str = "general.alignment";
        let problem = match metadata.get(KEY) {
            None => return Ok(DEFAULT_ALIGNMENT),
            Some(Value::U32(value)) if value.is_power_of_two() => return Ok(u64::from(value)),
            Some(Value::U32(value)) => format!("is `{value}`, but it must be a power of two"),
            Some(other) => format!("has type `{}`, but it must be `u32`", other.value_type()),
        };
        Err(self.invalid(metadata.offset(KEY).unwrap_or_default(), Subject::key(KEY.as_bytes()), problem))
    }

    /// One tensor record, its offset not checked yet.
    fn tensor(&mut self, number: u64) -> Result<TensorInfo, GgufError> {
        let at = self.reader.position();
        let name = self.name("tensor", number)?;
        let subject = || Subject::tensor(name.as_bytes());
        if name.len() > MAX_NAME_BYTES {
            let problem = format!(
                "has a name of `{}` bytes, but ggml allows `{MAX_NAME_BYTES}`",
                grouped(name.len() as u64)
            );
            return Err(self.invalid(at, subject(), problem));
        }
        let cut = "ends in the middle of its record; the file is cut off or damaged";
        let rank = self.reader.u32().ok_or_else(|| self.invalid(at, subject(), cut))? as usize;
        if rank > MAX_DIMS {
            let problem = format!("has `{}` dimensions, but ggml allows `{MAX_DIMS}`", grouped(rank as u64));
            return Err(self.invalid(at, subject(), problem));
        }
        let mut dims = [1; MAX_DIMS];
        for dim in &mut dims[..rank] {
            *dim = self.reader.length().ok_or_else(|| self.invalid(at, subject(), cut))?;
        }
        let dims = &dims[..rank];
        let shape = Shape::new(dims).ok_or_else(|| {
            self.invalid(
                at,
                subject(),
                format!("has shape `{dims:?}`, whose number of elements overflows 63 bits"),
            )
        })?;
        let id = self.reader.u32().ok_or_else(|| self.invalid(at, subject(), cut))?;
        let ggml_type = GgmlType::from_id(id).ok_or_else(|| self.invalid(at, subject(), unknown_type(id)))?;
        let block = ggml_type.block_size();
        if !shape.row_len().is_multiple_of(block) {
            let problem = format!(
                "has rows of `{}` weights, but type `{ggml_type}` packs them in blocks of `{block}`",
                shape.row_len()
            );
            return Err(self.invalid(at, subject(), problem));
        }
        let n_bytes = ggml_type.n_bytes(shape.n_elements()).ok_or_else(|| {
            self.invalid(at, subject(), format!("has shape `{shape}`, whose size in bytes overflows 64 bits"))
        })?;
        let offset = self.reader.u64().ok_or_else(|| self.invalid(at, subject(), cut))?;
        Ok(TensorInfo { name: name.to_owned(), ggml_type, shape, offset, n_bytes })
    }

    /// Finds the start of the data and proves that each tensor lies where ggml expects it: one after another, each
    /// padded to the alignment. After a type of a fork, whose padding may differ, gaps are allowed.
    fn place(&self, tensors: &[TensorInfo], records: &[u64], alignment: u64) -> Result<u64, GgufError> {
        let end_of_records = self.reader.position();
        if tensors.is_empty() {
            return Ok(end_of_records);
        }
        let size = end_of_records + self.reader.remaining();
        let overflow =
            || self.invalid(end_of_records, Subject::Header, "leads to offsets that overflow 64 bits");
        let data_offset = end_of_records.checked_next_multiple_of(alignment).ok_or_else(overflow)?;
        let mut expected = 0_u64;
        let mut gaps_allowed = false;
        for (index, (tensor, &record)) in tensors.iter().zip(records).enumerate() {
            let fail = |problem| Err(self.invalid(record, Subject::tensor(tensor.name.as_bytes()), problem));
            let offset = tensor.offset;
            if !offset.is_multiple_of(alignment) {
                return fail(format!(
                    "has offset `{}`, which is no multiple of the alignment `{alignment}`",
                    grouped(offset)
                ));
            }
            if offset < expected || (offset > expected && !gaps_allowed) {
                return fail(format!(
                    "has offset `{}`, but the tensors before it end at `{}`",
                    grouped(offset),
                    grouped(expected)
                ));
            }
            // 39 is `MXFP4` here, and `TL2` with fewer bytes in Microsoft's fork.
            let room = tensors.get(index + 1).and_then(|next| next.offset.checked_sub(offset));
            if let Some(room) = room.filter(|room| (1..tensor.n_bytes).contains(room))
                && tensor.ggml_type == GgmlType::MXFP4
            {
                let problem = format!(
                    "has ggml type `39` and `{}` bytes, fewer than the `{}` of `MXFP4`; {}",
                    grouped(room),
                    grouped(tensor.n_bytes),
                    fork_type("TL2")
                );
                return fail(problem);
            }
            let end = offset.checked_add(tensor.n_bytes).ok_or_else(overflow)?;
            let end_in_file = data_offset.checked_add(end).ok_or_else(overflow)?;
            if end_in_file > size {
                return fail(format!(
                    "ends at byte `{}`, but the file has only `{}`; it is cut off",
                    grouped(end_in_file),
                    grouped(size)
                ));
            }
            expected = end.checked_next_multiple_of(alignment).ok_or_else(overflow)?;
            gaps_allowed = !tensor.ggml_type.is_upstream();
        }
        Ok(data_offset)
    }
}

/// What to say about a tensor's type that is none of those known.
fn unknown_type(id: u32) -> String {
    match id {
        37 => format!("has ggml type `37`; {}", fork_type("I8_S")),
        38 => format!("has ggml type `38`; {}", fork_type("TL1")),
        _ => format!("has ggml type `{id}`, which is unknown or was removed from ggml"),
    }
}

/// The way out of a type of Microsoft's BitNet fork whose packing depends on the kernels that it was made for.
fn fork_type(name: &str) -> String {
    format!(
        "that is `{name}` of Microsoft's BitNet fork, packed for the kernels of one machine, which llama.cpp cannot use; convert the original model's \
         folder instead: `tabagent convert FOLDER OUT.gguf --outtype tq2_0`, or take the model's `I2_S` file"
    )
}
