//! Metadata values that own their data, for writing.

use crate::array::Array;
use crate::value::{Value, ValueType};

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnedValue {
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// IEEE 754, 32 bits.
    F32(f32),
    /// IEEE 754, 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A string; bytes, because some vocabularies are not UTF-8.
    String(Vec<u8>),
    /// Items of one type.
    Array(OwnedArray),
}

macro_rules! owned_arrays {
    ($($name:ident($item:ty, $doc:literal)),+ $(,)?) => {
        /// An array to write: one vector per item type, so that mixed arrays cannot be built.
        #[derive(Debug, Clone, PartialEq)]
        pub enum OwnedArray {
            $(#[doc = $doc] $name(Vec<$item>),)+
        }

        impl OwnedArray {
            /// The type of every item.
            pub fn item_type(&self) -> ValueType {
                match self { $(Self::$name(_) => ValueType::$name),+ }
            }

            /// How many items there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$name(items) => items.len()),+ }
            }

            /// True if there are no items.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            fn empty(kind: ValueType) -> Self {
                match kind { $(ValueType::$name => Self::$name(Vec::new())),+ }
            }

            /// Appends `value` if it has the type of the items.
            fn push(&mut self, value: OwnedValue) {
                match (self, value) {
                    $((Self::$name(items), OwnedValue::$name(item)) => items.push(item),)+
                    _ => {}
                }
            }
        }
    };
}

owned_arrays! {
    U8(u8, "Unsigned, 8 bits."),
    I8(i8, "Signed, 8 bits."),
    U16(u16, "Unsigned, 16 bits."),
    I16(i16, "Signed, 16 bits."),
    U32(u32, "Unsigned, 32 bits."),
    I32(i32, "Signed, 32 bits."),
    U64(u64, "Unsigned, 64 bits."),
    I64(i64, "Signed, 64 bits."),
    F32(f32, "IEEE 754, 32 bits."),
    F64(f64, "IEEE 754, 64 bits."),
    Bool(bool, "True or false."),
    String(Vec<u8>, "Strings, as bytes."),
    Array(OwnedArray, "Arrays, which llama.cpp does not read."),
}

impl OwnedValue {
    /// The type as stored.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(value) => Self::U8(value),
            Value::I8(value) => Self::I8(value),
            Value::U16(value) => Self::U16(value),
            Value::I16(value) => Self::I16(value),
            Value::U32(value) => Self::U32(value),
            Value::I32(value) => Self::I32(value),
            Value::U64(value) => Self::U64(value),
            Value::I64(value) => Self::I64(value),
            Value::F32(value) => Self::F32(value),
            Value::F64(value) => Self::F64(value),
            Value::Bool(value) => Self::Bool(value),
            Value::String(text) => Self::String(text.as_bytes().to_vec()),
            Value::Array(array) => Self::Array(array.into()),
        }
    }
}

impl From<Array<'_>> for OwnedArray {
    fn from(array: Array<'_>) -> Self {
        let mut owned = Self::empty(array.item_type());
        for item in array {
            owned.push(item.into());
        }
        owned
    }
}

impl From<&str> for OwnedValue {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().to_vec())
    }
}

impl From<Vec<&str>> for OwnedValue {
    fn from(items: Vec<&str>) -> Self {
        Self::Array(OwnedArray::String(items.into_iter().map(|text| text.as_bytes().to_vec()).collect()))
    }
}

impl From<Vec<String>> for OwnedValue {
    fn from(items: Vec<String>) -> Self {
        Self::Array(OwnedArray::String(items.into_iter().map(String::into_bytes).collect()))
    }
}

macro_rules! from_number {
    ($($type:ty => $name:ident),+ $(,)?) => {$(
        impl From<$type> for OwnedValue {
            fn from(value: $type) -> Self {
                Self::$name(value)
            }
        }

        impl From<Vec<$type>> for OwnedValue {
            fn from(items: Vec<$type>) -> Self {
                Self::Array(OwnedArray::$name(items))
            }
        }
    )+};
}

from_number! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
    f32 => F32, f64 => F64, bool => Bool,
}
