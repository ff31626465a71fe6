//! The metadata of a file: ordered, looked up by key, decoded on demand.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::mmap::{Bytes, SharedBytes};
use crate::reader::Encoding;
use crate::shared_array::SharedArray;
use crate::value::{Value, ValueType};

/// Where one entry lies.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: Arc<str>,
    /// Type of the value.
    pub(crate) value_type: ValueType,
    /// Start of the record (the length of its key), in bytes from the start of the file.
    pub(crate) offset: u64,
    /// The value's bytes in the file, after its type.
    pub(crate) value: Range<usize>,
}

/// The key-value pairs of a file, in the file's order. Keys are unique.
pub struct Metadata {
    bytes: Arc<Bytes>,
    encoding: Encoding,
    entries: Vec<Entry>,
    index: HashMap<Arc<str>, usize>,
}

impl Metadata {
    /// Metadata without entries yet, over the bytes of a file.
    pub(crate) fn new(bytes: Arc<Bytes>, encoding: Encoding) -> Self {
        Self { bytes, encoding, entries: Vec::new(), index: HashMap::new() }
    }

    /// Adds an entry, or returns false if its key is already there.
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        if self.index.contains_key(&entry.key) {
            return false;
        }
        self.index.insert(Arc::clone(&entry.key), self.entries.len());
        self.entries.push(entry);
        true
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.decode(self.entry(key)?)
    }

    /// The pairs in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries.iter().filter_map(|entry| Some((&*entry.key, self.decode(entry)?)))
    }

    /// Where the record of `key` starts, in bytes from the start of the file.
    pub fn offset(&self, key: &str) -> Option<u64> {
        self.entry(key).map(|entry| entry.offset)
    }

    /// The array of `key` as a value that keeps the file open and finds any of its items quickly; `None` if there is no array.
    pub fn shared_array(&self, key: &str) -> Option<SharedArray> {
        SharedArray::new(&self.bytes, self.get(key)?.as_array()?)
    }

    /// Type and stored bytes of every value, in the file's order.
    pub(crate) fn raw_entries(&self) -> impl Iterator<Item = (&str, ValueType, SharedBytes)> {
        self.entries
            .iter()
            .map(|entry| (&*entry.key, entry.value_type, SharedBytes::new(&self.bytes, entry.value.clone())))
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.index.get(key)?)
    }

    fn decode(&self, entry: &Entry) -> Option<Value<'_>> {
        let bytes = self.bytes.as_slice().get(entry.value.clone())?;
        Value::from_record(bytes, self.encoding, entry.value_type)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|entry| (&entry.key, entry.value_type))).finish()
    }
}
