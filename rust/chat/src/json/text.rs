//! The inside of strings: escapes and UTF-8, in any pieces.

use super::JsonFault;

/// What is left over between two pieces of a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing.
    #[default]
    None,
    /// A backslash.
    Escape,
    /// `\u` and so many digits, with their value, and the first half of a pair before it.
    Unicode { digits: u8, value: u16, high: Option<u16> },
    /// The first half of a pair, which waits for the second.
    High(u16),
    /// The first half of a pair and a backslash.
    HighEscape(u16),
}

/// Stands for half of a pair: Rust's strings cannot hold it.
const REPLACEMENT: char = '\u{FFFD}';

impl Pending {
    /// Goes on by one byte of an escape; decoded characters go to `out`. `false`: the byte is no part of the escape and has still to be read.
    pub(super) fn step(&mut self, byte: u8, at: usize, out: &mut String) -> Result<bool, JsonFault> {
        match *self {
            Self::None => return Ok(false),
            Self::Escape => *self = escaped(byte, None, at, out)?,
            Self::Unicode { digits, value, high } => {
                let digit = (byte as char).to_digit(16).ok_or(JsonFault::Unexpected { at })?;
                let value = value << 4 | digit as u16;
                *self = if digits == 3 {
                    unit(value, high, out)
                } else {
                    Self::Unicode { digits: digits + 1, value, high }
                };
            }
            Self::High(high) => {
                if byte == b'\\' {
                    *self = Self::HighEscape(high);
                } else {
                    out.push(REPLACEMENT);
                    *self = Self::None;
                    return Ok(false);
                }
            }
            Self::HighEscape(high) => *self = escaped(byte, Some(high), at, out)?,
        }
        Ok(true)
    }
}

/// The character after a backslash.
fn escaped(byte: u8, high: Option<u16>, at: usize, out: &mut String) -> Result<Pending, JsonFault> {
    let simple = match byte {
        b'"' | b'\\' | b'/' => byte as char,
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return Ok(Pending::Unicode { digits: 0, value: 0, high }),
        _ => return Err(JsonFault::Unexpected { at }),
    };
    if high.is_some() {
        out.push(REPLACEMENT);
    }
    out.push(simple);
    Ok(Pending::None)
}

/// A complete `\uXXXX`.
fn unit(value: u16, high: Option<u16>, out: &mut String) -> Pending {
    match (high, value) {
        (Some(high), 0xDC00..=0xDFFF) => {
            let code = 0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(value) - 0xDC00);
            out.push(char::from_u32(code).unwrap_or(REPLACEMENT));
        }
        (_, 0xD800..=0xDBFF) => {
            if high.is_some() {
                out.push(REPLACEMENT);
            }
            return Pending::High(value);
        }
        (high, value) => {
            if high.is_some() {
                out.push(REPLACEMENT);
            }
            out.push(char::from_u32(u32::from(value)).unwrap_or(REPLACEMENT));
        }
    }
    Pending::None
}
