//! Values as a file stores them, in either byte order.

use crate::owned::{OwnedArray, OwnedValue};
use crate::reader::ByteOrder;

/// The head of a file as it grows in memory.
pub(crate) struct Encoder {
    pub(crate) bytes: Vec<u8>,
    order: ByteOrder,
}

/// Numbers that are stored as their bytes.
pub(crate) trait Number: Copy {
    /// Appends the number to `out` in `order`.
    fn put(self, out: &mut Vec<u8>, order: ByteOrder);
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Number for $type {
            fn put(self, out: &mut Vec<u8>, order: ByteOrder) {
                match order {
                    ByteOrder::Little => out.extend_from_slice(&self.to_le_bytes()),
                    ByteOrder::Big => out.extend_from_slice(&self.to_be_bytes()),
                }
            }
        }
    )+};
}

numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl Encoder {
    pub(crate) fn new(order: ByteOrder) -> Self {
        Self { bytes: Vec::new(), order }
    }

    pub(crate) fn number(&mut self, value: impl Number) {
        value.put(&mut self.bytes, self.order);
    }

    fn numbers<T: Number>(&mut self, items: &[T]) {
        for item in items {
            item.put(&mut self.bytes, self.order);
        }
    }

    pub(crate) fn string(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    pub(crate) fn value(&mut self, value: &OwnedValue) {
        match value {
            OwnedValue::U8(value) => self.number(*value),
            OwnedValue::I8(value) => self.number(*value),
            OwnedValue::U16(value) => self.number(*value),
            OwnedValue::I16(value) => self.number(*value),
            OwnedValue::U32(value) => self.number(*value),
            OwnedValue::I32(value) => self.number(*value),
            OwnedValue::U64(value) => self.number(*value),
            OwnedValue::I64(value) => self.number(*value),
            OwnedValue::F32(value) => self.number(*value),
            OwnedValue::F64(value) => self.number(*value),
            OwnedValue::Bool(value) => self.number(u8::from(*value)),
            OwnedValue::String(text) => self.string(text),
            OwnedValue::Array(array) => self.array(array),
        }
    }

    fn array(&mut self, array: &OwnedArray) {
        self.number(array.item_type().id());
        self.number(array.len() as u64);
        match array {
            OwnedArray::U8(items) => self.numbers(items),
            OwnedArray::I8(items) => self.numbers(items),
            OwnedArray::U16(items) => self.numbers(items),
            OwnedArray::I16(items) => self.numbers(items),
            OwnedArray::U32(items) => self.numbers(items),
            OwnedArray::I32(items) => self.numbers(items),
            OwnedArray::U64(items) => self.numbers(items),
            OwnedArray::I64(items) => self.numbers(items),
            OwnedArray::F32(items) => self.numbers(items),
            OwnedArray::F64(items) => self.numbers(items),
            OwnedArray::Bool(items) => items.iter().for_each(|&item| self.number(u8::from(item))),
            OwnedArray::String(items) => items.iter().for_each(|item| self.string(item)),
            OwnedArray::Array(items) => items.iter().for_each(|item| self.array(item)),
        }
    }
}
