//! An array of a file that outlives the borrow, with quick access to items of any size.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::array::Array;
use crate::mmap::Bytes;
use crate::reader::Reader;
use crate::value::{Value, ValueType, skip_value};

/// Items between two remembered places. Strings are short: skipping over some costs less than remembering each one.
const STRIDE: usize = 16;

/// An [`Array`] that keeps its file open. The places of its strings are noted once, when the first of them is asked for by number.
///
/// ```
/// use tabagent_gguf::{GgufFile, GgufWriter};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let file = GgufFile::from_bytes(GgufWriter::new().add("k", vec!["a", "b", "c"]).to_bytes()?)?;
/// let array = file.metadata().shared_array("k").expect("an array");
/// drop(file);
/// assert_eq!(array.get(2).and_then(|item| item.as_str()), Some("c"));
/// assert_eq!(array.get(3), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedArray {
    bytes: Arc<Bytes>,
    /// The items, in the file.
    range: Range<usize>,
    /// Type, count and encoding; its own items are empty.
    kind: Array<'static>,
    len: usize,
    /// The start of every [`STRIDE`]th item, in bytes from the first one.
    marks: Arc<OnceLock<Vec<usize>>>,
}

impl SharedArray {
    /// Shares `array`, whose items lie in `bytes`.
    pub(crate) fn new(bytes: &Arc<Bytes>, array: Array<'_>) -> Option<Self> {
        let start = (array.as_bytes().as_ptr() as usize).checked_sub(bytes.as_slice().as_ptr() as usize);
        let start = if array.as_bytes().is_empty() { 0 } else { start? };
        let range = start..start.checked_add(array.as_bytes().len())?;
        bytes.as_slice().get(range.clone())?;
        Some(Self {
            bytes: Arc::clone(bytes),
            range,
            kind: array.emptied(),
            len: array.len(),
            marks: Arc::default(),
        })
    }

    /// The type of every item.
    pub fn item_type(&self) -> ValueType {
        self.kind.item_type()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The array as long as it is borrowed.
    pub fn array(&self) -> Array<'_> {
        self.kind.over(self.bytes.as_slice().get(self.range.clone()).unwrap_or_default(), self.len)
    }

    /// Item `index` of any type; `None` past the end.
    pub fn get(&self, index: usize) -> Option<Value<'_>> {
        self.iter_from(index).next()
    }

    /// The items from number `index` on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Value<'_>> {
        let array = self.array();
        let kind = array.item_type();
        let mut reader = Reader::new(array.as_bytes(), array.encoding());
        let at = self.start_of(index);
        let placed = at.is_some_and(|at| {
            reader.take(at as u64).is_some()
                && (kind.fixed_bytes().is_some()
                    || (0..index % STRIDE).all(|_| skip_value(&mut reader, kind, 1).is_ok()))
        });
        let left = if placed { self.len.saturating_sub(index) } else { 0 };
        (0..left).map_while(move |_| Value::read(&mut reader, kind))
    }

    /// Item `index` of an array of arrays, as a [`SharedArray`] itself.
    pub fn nested(&self, index: usize) -> Option<Self> {
        Self::new(&self.bytes, self.get(index)?.as_array()?)
    }

    /// The start of item `index`, or for items of varying size that of the last marked item before it.
    fn start_of(&self, index: usize) -> Option<usize> {
        match self.kind.item_type().fixed_bytes() {
            Some(size) => index.checked_mul(size as usize),
            None => self.marks.get_or_init(|| self.mark()).get(index / STRIDE).copied(),
        }
    }

    fn mark(&self) -> Vec<usize> {
        let array = self.array();
        let mut reader = Reader::new(array.as_bytes(), array.encoding());
        let mut marks = Vec::with_capacity(self.len.div_ceil(STRIDE));
        for index in 0..self.len {
            if index.is_multiple_of(STRIDE) {
                marks.push(reader.position() as usize);
            }
            if skip_value(&mut reader, array.item_type(), 1).is_err() {
                break;
            }
        }
        marks
    }
}

impl std::fmt::Debug for SharedArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.len, self.item_type())
    }
}
