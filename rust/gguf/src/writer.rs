//! Writing GGUF version 3, little-endian.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{GgufError, Subject};
use crate::file::{DEFAULT_ALIGNMENT, NEWEST_VERSION};
use crate::ggml_type::GgmlType;
use crate::owned::{OwnedArray, OwnedValue};
use crate::tensor::{MAX_DIMS, MAX_NAME_BYTES, Shape};
use crate::text::grouped;
use crate::value::MAX_ARRAY_DEPTH;

/// A tensor to write.
struct PendingTensor {
    name: String,
    ggml_type: GgmlType,
    dims: Vec<u64>,
    data: Vec<u8>,
}

/// Collects metadata and tensors, then writes them in order in one pass.
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
#[derive(Default)]
pub struct GgufWriter {
    entries: Vec<(String, OwnedValue)>,
    tensors: Vec<PendingTensor>,
}

impl GgufWriter {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata entry after those already there. `general.alignment` also sets the alignment.
    #[must_use]
    pub fn add(mut self, key: &str, value: impl Into<OwnedValue>) -> Self {
        self.entries.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a tensor after those already there: `dims` in ggml's order, `data` little-endian, exactly its size.
    #[must_use]
    pub fn add_tensor(mut self, name: &str, ggml_type: GgmlType, dims: &[u64], data: Vec<u8>) -> Self {
        self.tensors.push(PendingTensor { name: name.to_owned(), ggml_type, dims: dims.to_vec(), data });
        self
    }

    /// Writes the file at `path` in one step: readers see the old file or the whole new one, never a part.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken, [`GgufError::Write`] if the system refuses.
    pub fn write_to(&self, path: &Path) -> Result<(), GgufError> {
        let alignment = self.check()?;
        let failed = |source| GgufError::Write { path: path.to_owned(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tabagent-").suffix(".gguf.part");
        if let Some(permissions) = default_permissions() {
            builder.permissions(permissions);
        }
        let mut file = builder.tempfile_in(dir).map_err(failed)?;
        let mut out = BufWriter::new(file.as_file_mut());
        self.emit(&mut out, alignment).and_then(|()| out.flush()).map_err(failed)?;
        drop(out);
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a rule of the format is broken.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GgufError> {
        let alignment = self.check()?;
        let mut bytes = Vec::new();
        self.emit(&mut bytes, alignment)
            .map_err(|source| GgufError::Write { path: "memory".into(), source })?;
        Ok(bytes)
    }

    /// Proves that the reader would accept the result; returns the alignment.
    fn check(&self) -> Result<u64, GgufError> {
        let fail = |subject: Subject, problem: String| Err(GgufError::Unwritable { subject, problem });
        let mut alignment = DEFAULT_ALIGNMENT;
        let mut seen = HashSet::new();
        for (key, value) in &self.entries {
            let subject = Subject::key(key.as_bytes());
            if key.is_empty() {
                return fail(subject, "is empty; give every key a name".to_owned());
            }
            if !seen.insert(key) {
                return fail(subject, "was added twice; keys must be unique".to_owned());
            }
            if depth(value) > MAX_ARRAY_DEPTH {
                return fail(subject, format!("has arrays nested more than `{MAX_ARRAY_DEPTH}` deep"));
            }
            if key == "general.alignment" {
                match value {
                    OwnedValue::U32(value) if value.is_power_of_two() => alignment = u64::from(*value),
                    _ => return fail(subject, "must be a `u32` that is a power of two".to_owned()),
                }
            }
        }
        let mut seen = HashSet::new();
        for tensor in &self.tensors {
            let subject = Subject::tensor(tensor.name.as_bytes());
            if !seen.insert(&tensor.name) {
                return fail(subject, "was added twice; names must be unique".to_owned());
            }
            if let Some(problem) = tensor.problem() {
                return fail(subject, problem);
            }
        }
        Ok(alignment)
    }

    /// Writes everything; `check` has passed.
    fn emit(&self, out: &mut impl Write, alignment: u64) -> io::Result<()> {
        let mut head = Vec::new();
        head.extend_from_slice(b"GGUF");
        head.extend_from_slice(&NEWEST_VERSION.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            put_string(&mut head, key.as_bytes());
            head.extend_from_slice(&value.value_type().id().to_le_bytes());
            put_value(&mut head, value);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_string(&mut head, tensor.name.as_bytes());
            head.extend_from_slice(&(tensor.dims.len() as u32).to_le_bytes());
            for dim in &tensor.dims {
                head.extend_from_slice(&dim.to_le_bytes());
            }
            head.extend_from_slice(&tensor.ggml_type.id().to_le_bytes());
            head.extend_from_slice(&offset.to_le_bytes());
            offset += (tensor.data.len() as u64).next_multiple_of(alignment);
        }
        out.write_all(&head)?;
        if !self.tensors.is_empty() {
            pad(out, head.len() as u64, alignment)?;
        }
        for tensor in &self.tensors {
            out.write_all(&tensor.data)?;
            pad(out, tensor.data.len() as u64, alignment)?;
        }
        Ok(())
    }
}

impl PendingTensor {
    /// The rule that this tensor breaks.
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
        if needed == Some(self.data.len() as u64) {
            return None;
        }
        let given = grouped(self.data.len() as u64);
        Some(format!(
            "has `{given}` bytes of data, but shape `{shape}` of type `{}` takes another size",
            self.ggml_type
        ))
    }
}

/// The mode that an ordinary new file gets, before the process's umask.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such mode")]
fn default_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(Permissions::from_mode(0o666))
}

/// Windows files take the directory's access list.
#[cfg(not(unix))]
fn default_permissions() -> Option<Permissions> {
    None
}

/// Arrays inside `value`, counted inwards, `value` itself included.
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

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
}

fn put_value(out: &mut Vec<u8>, value: &OwnedValue) {
    match value {
        OwnedValue::U8(value) => out.push(*value),
        OwnedValue::I8(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::U16(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::I16(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::U32(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::I32(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::U64(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::I64(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::F64(value) => out.extend_from_slice(&value.to_le_bytes()),
        OwnedValue::Bool(value) => out.push(u8::from(*value)),
        OwnedValue::String(text) => put_string(out, text),
        OwnedValue::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &OwnedArray) {
    out.extend_from_slice(&array.item_type().id().to_le_bytes());
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    match array {
        OwnedArray::U8(items) => out.extend_from_slice(items),
        OwnedArray::I8(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::U16(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::I16(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::U32(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::I32(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::U64(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::I64(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::F32(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::F64(items) => items.iter().for_each(|item| out.extend_from_slice(&item.to_le_bytes())),
        OwnedArray::Bool(items) => items.iter().for_each(|&item| out.push(u8::from(item))),
        OwnedArray::String(items) => items.iter().for_each(|item| put_string(out, item)),
        OwnedArray::Array(items) => items.iter().for_each(|item| put_array(out, item)),
    }
}
