//! The content of a file to be written: proves that a reader would accept it, and writes it.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use crate::error::{GgufError, Subject};
use crate::mmap::SharedBytes;
use crate::owned::{OwnedArray, OwnedValue};
use crate::parser::{DEFAULT_ALIGNMENT, NEWEST_VERSION};
use crate::progress::Progress;
use crate::reader::{ByteOrder, Encoding};
use crate::tensor::{MAX_DIMS, MAX_NAME_BYTES, Shape};
use crate::text::grouped;
use crate::value::MAX_ARRAY_DEPTH;

use super::encode::Encoder;
use super::replace::failed;
use super::{Entry, PendingTensor};

pub(super) const ALIGNMENT: &str = "general.alignment";

/// The records and data of one file.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) version: u32,
    pub(super) order: ByteOrder,
    pub(super) entries: &'a [(String, Entry)],
    pub(super) tensors: &'a [PendingTensor],
    /// What follows the last tensor's data; `None` for padding.
    pub(super) tail: Option<&'a SharedBytes>,
}

impl Content<'_> {
    /// The alignment that the entries name, or the default.
    fn alignment(&self) -> Result<u64, GgufError> {
        let Some((_, entry)) = self.entries.iter().find(|(key, _)| key == ALIGNMENT) else {
            return Ok(DEFAULT_ALIGNMENT);
        };
        match entry.to_owned_value() {
            Some(OwnedValue::U32(value)) if value.is_power_of_two() => Ok(u64::from(value)),
            _ => Err(unwritable(
                Subject::key(ALIGNMENT.as_bytes()),
                "must be a `u32` that is a power of two".to_owned(),
            )),
        }
    }

    /// Proves that the reader would accept the result, and computes its sizes.
    pub(super) fn check(&self) -> Result<Plan, GgufError> {
        if !(2..=NEWEST_VERSION).contains(&self.version) {
            let problem = format!("cannot have version `{}`; choose `2` or `3`", self.version);
            return Err(unwritable(Subject::Header, problem));
        }
        let mut seen = HashSet::new();
        for (key, entry) in self.entries {
            let fail = |problem: &str| Err(unwritable(Subject::key(key.as_bytes()), problem.to_owned()));
            if key.is_empty() {
                return fail("is empty; give every key a name");
            }
            if !seen.insert(key) {
                return fail("was added twice; keys must be unique");
            }
            if let Entry::Owned(value) = entry
                && depth(value) > MAX_ARRAY_DEPTH
            {
                return fail(&format!("has arrays nested more than `{MAX_ARRAY_DEPTH}` deep"));
            }
        }
        let alignment = self.alignment()?;
        let mut seen = HashSet::new();
        let mut data_bytes = 0_u64;
        let mut offset = 0_u64;
        for tensor in self.tensors {
            let fail = |problem| Err(unwritable(Subject::tensor(tensor.name.as_bytes()), problem));
            if !seen.insert(&tensor.name) {
                return fail("was added twice; names must be unique".to_owned());
            }
            if let Some(problem) = tensor.problem() {
                return fail(problem);
            }
            data_bytes += tensor.data.n_bytes();
            let end = offset.checked_add(tensor.data.n_bytes());
            let Some(end) = end.and_then(|end| end.checked_next_multiple_of(alignment)) else {
                return fail("ends beyond 64 bits".to_owned());
            };
            offset = end;
        }
        Ok(Plan { alignment, data_bytes })
    }

    /// Header, entries and tensor records.
    pub(super) fn records(&self, plan: &Plan) -> Vec<u8> {
        let mut head = Encoder::new(self.order);
        head.bytes.extend_from_slice(b"GGUF");
        head.number(self.version);
        head.number(self.tensors.len() as u64);
        head.number(self.entries.len() as u64);
        let own = Encoding { order: self.order, short_lengths: false };
        for (key, entry) in self.entries {
            head.string(key.as_bytes());
            head.number(entry.kind().id());
            match entry {
                Entry::Owned(value) => head.value(value),
                Entry::Raw { bytes, encoding, .. } if *encoding == own => head.bytes.extend_from_slice(bytes),
                Entry::Raw { .. } => {
                    if let Some(value) = entry.to_owned_value() {
                        head.value(&value);
                    }
                }
            }
        }
        let mut offset = 0_u64;
        for tensor in self.tensors {
            head.string(tensor.name.as_bytes());
            head.number(tensor.dims.len() as u32);
            tensor.dims.iter().for_each(|&dim| head.number(dim));
            head.number(tensor.ggml_type.id());
            head.number(offset);
            offset += tensor.data.n_bytes().next_multiple_of(plan.alignment);
        }
        head.bytes
    }

    /// Writes everything; `check` has passed.
    pub(super) fn emit(&self, out: &mut impl Write, plan: &Plan, told: &mut Told<'_>) -> Result<(), Fault> {
        let head = self.records(plan);
        out.write_all(&head)?;
        if !self.tensors.is_empty() {
            pad(out, head.len() as u64, plan.alignment)?;
        }
        drop(head);
        for (number, tensor) in self.tensors.iter().enumerate() {
            let mut counted = Counted { out: &mut *out, told, written: 0, cancelled: false };
            let result = tensor.data.emit(tensor.ggml_type, self.order, &mut counted);
            let (written, expected) = (counted.written, tensor.data.n_bytes());
            if counted.cancelled {
                return Err(Fault::Cancelled);
            }
            result?;
            if written != expected {
                let problem = format!(
                    "was promised with `{}` bytes of data, but `{}` came",
                    grouped(expected),
                    grouped(written)
                );
                return Err(Fault::Unwritable(unwritable(Subject::tensor(tensor.name.as_bytes()), problem)));
            }
            if self.tail.is_none() || number + 1 < self.tensors.len() {
                pad(out, written, plan.alignment)?;
            }
        }
        if let Some(tail) = self.tail {
            out.write_all(tail)?;
        }
        Ok(())
    }
}

/// Sizes of a file to be written.
pub(super) struct Plan {
    pub(super) alignment: u64,
    /// Bytes of all tensors, without padding.
    pub(super) data_bytes: u64,
}

impl PendingTensor {
    /// The rule that this tensor breaks in a file of `order`.
    fn problem(&self) -> Option<String> {
        if self.name.len() > MAX_NAME_BYTES {
            return Some(format!(
                "has a name of `{}` bytes, but ggml allows `{MAX_NAME_BYTES}`",
                self.name.len()
            ));
        }
        let Some(shape) = Shape::new(&self.dims) else {
            return Some(format!(
                "has shape `{:?}`, but ggml allows `{MAX_DIMS}` dimensions and 63 bits",
                self.dims
            ));
        };
        let block = self.ggml_type.block_size();
        if !shape.row_len().is_multiple_of(block) {
            let (row, kind) = (shape.row_len(), self.ggml_type);
            return Some(format!(
                "has rows of `{row}` weights, but type `{kind}` packs them in blocks of `{block}`"
            ));
        }
        let needed = self.ggml_type.n_bytes(shape.n_elements());
        if needed == Some(self.data.n_bytes()) {
            return None;
        }
        let given = grouped(self.data.n_bytes());
        Some(format!(
            "has `{given}` bytes of data, but shape `{shape}` of type `{}` takes another size",
            self.ggml_type
        ))
    }
}

/// Why writing ended early.
pub(super) enum Fault {
    Io(io::Error),
    Unwritable(GgufError),
    Cancelled,
}

impl Fault {
    pub(super) fn explain(self, path: &Path) -> GgufError {
        match self {
            Self::Io(source) => failed(path, source),
            Self::Unwritable(error) => error,
            Self::Cancelled => GgufError::Cancelled,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reports what was written, over all files of a model, to the caller's progress function.
pub(super) struct Told<'a> {
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl<'a> Told<'a> {
    pub(super) fn new(progress: Progress<'a>, total: u64) -> Self {
        Self { progress, done: 0, total }
    }

    /// Asks once more, when everything is written and before the file becomes visible.
    pub(super) fn ask(&self) -> Result<(), GgufError> {
        if (self.progress)(self.done, self.total) { Ok(()) } else { Err(GgufError::Cancelled) }
    }
}

/// Passes a tensor's data on, counts it, and stops when told to.
struct Counted<'a, 'b, W> {
    out: &'a mut W,
    told: &'a mut Told<'b>,
    written: u64,
    cancelled: bool,
}

impl<W: Write> Write for Counted<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        self.told.done += n as u64;
        if (self.told.progress)(self.told.done, self.told.total) {
            return Ok(n);
        }
        self.cancelled = true;
        Err(io::Error::other("cancelled"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn unwritable(subject: Subject, problem: String) -> GgufError {
    GgufError::Unwritable { subject, problem }
}

/// How deep arrays are nested in `value`, `value` itself included.
fn depth(value: &OwnedValue) -> u32 {
    fn of_array(array: &OwnedArray) -> u32 {
        match array {
            OwnedArray::Array(items) => 1 + items.iter().map(of_array).max().unwrap_or_default(),
            _ => 1,
        }
    }
    match value {
        OwnedValue::Array(array) => of_array(array),
        _ => 0,
    }
}

fn pad(out: &mut impl Write, written: u64, alignment: u64) -> io::Result<()> {
    let missing = written.next_multiple_of(alignment) - written;
    io::copy(&mut io::Read::take(io::repeat(0), missing), out).map(|_| ())
}
