//! Metadata values, decoded on demand from the file's bytes.

use std::borrow::Cow;
use std::fmt;

use crate::array::Array;
use crate::reader::{Encoding, Reader};
use crate::text::shown;

/// Arrays inside arrays inside … : how deep a file may go. llama.cpp reads only one level.
pub(crate) const MAX_ARRAY_DEPTH: u32 = 4;

/// The longest string, in bytes, and the longest array, in items, that llama.cpp reads (`ggml/src/gguf.cpp`).
pub(crate) const MAX_LENGTH: u64 = 1024 * 1024 * 1024;

/// The type of a metadata value (`enum gguf_type` in `ggml/include/gguf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// IEEE 754, 32 bits.
    F32,
    /// One byte; anything but 0 is true.
    Bool,
    /// Bytes with a length, meant to be UTF-8.
    String,
    /// Items of one type with a count.
    Array,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754, 64 bits.
    F64,
}

impl ValueType {
    /// The types by their number in a file.
    const BY_ID: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with number `id` in a file.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::BY_ID.get(id as usize).copied()
    }

    /// The number of the type in a file.
    pub fn id(self) -> u32 {
        Self::BY_ID.iter().position(|&kind| kind == self).unwrap_or_default() as u32
    }

    /// The name that llama.cpp uses: `u32`, `str`, `arr`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "str",
            Self::Array => "arr",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of one value; `None` for strings and arrays, whose size varies.
    pub const fn fixed_bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A string of a file. The format says UTF-8; some vocabularies hold other bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GgufStr<'a>(pub(crate) &'a [u8]);

impl<'a> GgufStr<'a> {
    /// The bytes as stored.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, or `None` if the bytes are not UTF-8.
    pub fn to_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// The text with U+FFFD in place of bytes that are not UTF-8.
    pub fn to_string_lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

impl fmt::Debug for GgufStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

/// A metadata value, borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
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
    /// A string.
    String(GgufStr<'a>),
    /// Items of one type, not decoded yet.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
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

    /// The type including that of all items, written as for setting a value: `u32`, `arr[arr[str]]`.
    pub fn full_type(&self) -> String {
        match self {
            Self::Array(array) => {
                let nested = array.iter().next().filter(|item| matches!(item, Value::Array(_)));
                let item = nested.map_or_else(|| array.item_type().to_string(), |item| item.full_type());
                format!("arr[{item}]")
            }
            other => other.value_type().to_string(),
        }
    }

    /// The type as errors and differences print it: `u32`, `arr of str`.
    pub(crate) fn spoken_type(&self) -> String {
        match self {
            Self::Array(array) => format!("arr of {}", array.item_type()),
            other => other.value_type().to_string(),
        }
    }

    /// The value of any integer type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The text of a string value that is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(text) => text.to_str(),
            _ => None,
        }
    }

    /// The array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match self {
            Self::Array(array) => Some(*array),
            _ => None,
        }
    }

    /// The value of either float type; integers are not converted.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Decodes the value of type `kind` at the position of `reader`.
    pub(crate) fn read(reader: &mut Reader<'a>, kind: ValueType) -> Option<Self> {
        Some(match kind {
            ValueType::U8 => Self::U8(reader.u8()?),
            ValueType::I8 => Self::I8(reader.i8()?),
            ValueType::U16 => Self::U16(reader.u16()?),
            ValueType::I16 => Self::I16(reader.i16()?),
            ValueType::U32 => Self::U32(reader.u32()?),
            ValueType::I32 => Self::I32(reader.i32()?),
            ValueType::U64 => Self::U64(reader.u64()?),
            ValueType::I64 => Self::I64(reader.i64()?),
            ValueType::F32 => Self::F32(reader.f32()?),
            ValueType::F64 => Self::F64(reader.f64()?),
            ValueType::Bool => Self::Bool(reader.u8()? != 0),
            ValueType::String => {
                let length = reader.length()?;
                Self::String(GgufStr(reader.take(length)?))
            }
            ValueType::Array => Self::Array(Array::read(reader)?),
        })
    }

    /// A value from its complete record `bytes`, which was checked when the file was opened.
    pub(crate) fn from_record(bytes: &'a [u8], encoding: Encoding, value_type: ValueType) -> Option<Self> {
        match value_type {
            ValueType::Array => Array::from_record(bytes, encoding).map(Self::Array),
            _ => Self::read(&mut Reader::new(bytes, encoding), value_type),
        }
    }
}

/// Short text for errors: the value itself, or the type of an array.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::String(value) => f.write_str(&shown(value.0)),
            Self::Array(array) => write!(f, "{} x {}", array.len(), array.item_type()),
        }
    }
}

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueFault {
    /// The bytes end inside a number or a length.
    Truncated,
    /// There is no type with this number.
    UnknownType(u32),
    /// Arrays are nested deeper than [`MAX_ARRAY_DEPTH`].
    TooDeep,
    /// A string or array claims more than is left.
    TooLong {
        /// `"bytes"` of a string or `"items"` of an array.
        unit: &'static str,
        /// What the file says.
        claimed: u64,
        /// Bytes left.
        left: u64,
    },
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::text::grouped;
        match *self {
            Self::Truncated => f.write_str("ends in the middle of its value; the file is cut off or damaged"),
            Self::UnknownType(id) => {
                write!(f, "has value type `{id}`, but the types of GGUF are `0` to `12`")
            }
            Self::TooDeep => write!(f, "has arrays nested more than `{MAX_ARRAY_DEPTH}` deep"),
            Self::TooLong { unit, claimed, left } if claimed > MAX_LENGTH => write!(
                f,
                "claims `{}` {unit}, but the format allows `{}` (`{}` bytes are left)",
                grouped(claimed),
                grouped(MAX_LENGTH),
                grouped(left)
            ),
            Self::TooLong { unit, claimed, left } => write!(
                f,
                "claims `{}` {unit}, but only `{}` bytes are left; the file is cut off or damaged",
                grouped(claimed),
                grouped(left)
            ),
        }
    }
}

/// Moves `reader` past a value of type `kind`, checking every length on the way and allocating nothing.
pub(crate) fn skip_value(reader: &mut Reader<'_>, kind: ValueType, depth: u32) -> Result<(), ValueFault> {
    match kind {
        ValueType::String => {
            let claimed = reader.length().ok_or(ValueFault::Truncated)?;
            let left = reader.remaining();
            if claimed > MAX_LENGTH || reader.take(claimed).is_none() {
                return Err(ValueFault::TooLong { unit: "bytes", claimed, left });
            }
            Ok(())
        }
        ValueType::Array => {
            if depth >= MAX_ARRAY_DEPTH {
                return Err(ValueFault::TooDeep);
            }
            let id = reader.u32().ok_or(ValueFault::Truncated)?;
            let item_type = ValueType::from_id(id).ok_or(ValueFault::UnknownType(id))?;
            let len = reader.length().ok_or(ValueFault::Truncated)?;
            skip_items(reader, item_type, len, depth + 1)
        }
        _ => skip_items(reader, kind, 1, depth),
    }
}

/// Moves `reader` past `len` items of type `kind`.
pub(crate) fn skip_items(
    reader: &mut Reader<'_>,
    kind: ValueType,
    len: u64,
    depth: u32,
) -> Result<(), ValueFault> {
    let left = reader.remaining();
    let length_bytes = reader.encoding().length_bytes();
    // The least that an item can take: a string its length, an array its type and its count.
    let least = kind.fixed_bytes().unwrap_or(match kind {
        ValueType::Array => 4 + length_bytes,
        _ => length_bytes,
    });
    if len > MAX_LENGTH || len.checked_mul(least).is_none_or(|bytes| bytes > left) {
        return Err(if len == 1 {
            ValueFault::Truncated
        } else {
            ValueFault::TooLong { unit: "items", claimed: len, left }
        });
    }
    if kind.fixed_bytes().is_some() {
        return reader.take(len * least).map(|_| ()).ok_or(ValueFault::Truncated);
    }
    for _ in 0..len {
        skip_value(reader, kind, depth)?;
    }
    Ok(())
}
