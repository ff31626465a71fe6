//! Arrays of a file's metadata, decoded item by item.

use crate::reader::{Encoding, Reader};
use crate::value::{GgufStr, Value, ValueType, skip_items};

/// An array of a file, decoded item by item: a vocabulary of 262,144 strings costs nothing until it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    item_type: ValueType,
    len: u64,
    items: &'a [u8],
    encoding: Encoding,
}

impl<'a> Array<'a> {
    /// The type of every item.
    pub fn item_type(&self) -> ValueType {
        self.item_type
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True if there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The stored bytes of all items, in the file's byte order.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.items
    }

    /// Decodes the items one after another.
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter {
            reader: Reader::new(self.items, self.encoding),
            item_type: self.item_type,
            left: self.len,
        }
    }

    /// The strings of an array of strings.
    pub fn strings(&self) -> Option<impl Iterator<Item = GgufStr<'a>> + use<'a>> {
        let mut reader = Reader::new(self.items, self.encoding);
        let mut read = move || {
            let length = reader.length()?;
            reader.take(length).map(GgufStr)
        };
        let len = self.len as usize;
        (self.item_type == ValueType::String).then(|| (0..len).map_while(move |_| read()))
    }

    /// Item `index` of an array of numbers or bools, in constant time; `None` past the end and for strings and arrays.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        let size = self.item_type.fixed_bytes()? as usize;
        let start = index.checked_mul(size)?;
        let bytes = self.items.get(start..start.checked_add(size)?)?;
        Value::read(&mut Reader::new(bytes, self.encoding), self.item_type)
    }

    /// An array from its complete record `bytes`, whose extent was checked before.
    pub(crate) fn from_record(bytes: &'a [u8], encoding: Encoding) -> Option<Self> {
        let mut reader = Reader::new(bytes, encoding);
        let item_type = ValueType::from_id(reader.u32()?)?;
        let len = reader.length()?;
        Some(Self { item_type, len, items: bytes.get(reader.position() as usize..)?, encoding })
    }

    /// How the items are stored.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// An array with the same item type over the `len` items that lie in `items`.
    pub(crate) fn over<'b>(&self, items: &'b [u8], len: usize) -> Array<'b> {
        Array { item_type: self.item_type, len: len as u64, items, encoding: self.encoding }
    }

    /// An empty array with the same item type and encoding.
    pub(crate) fn emptied(&self) -> Array<'static> {
        Array { item_type: self.item_type, len: 0, items: &[], encoding: self.encoding }
    }

    /// Reads the type, count and extent of an array; `None` at the end of the bytes or where a type is unknown.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let item_type = ValueType::from_id(reader.u32()?)?;
        let len = reader.length()?;
        let start = reader.position();
        skip_items(reader, item_type, len, 1).ok()?;
        Some(Self { item_type, len, items: reader.since(start), encoding: reader.encoding() })
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Array<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// The items of an [`Array`], in order.
#[derive(Debug, Clone)]
pub struct ArrayIter<'a> {
    reader: Reader<'a>,
    item_type: ValueType,
    left: u64,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        Value::read(&mut self.reader, self.item_type)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}
