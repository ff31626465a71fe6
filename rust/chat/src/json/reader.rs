//! The reader: a machine that takes one byte after another and never looks back.

use super::number::NumberState;
use super::text::Pending;
use super::{JsonEvent, JsonFault};
use std::borrow::Cow;

/// How deep arrays and objects may nest unless a reader is told otherwise.
pub const MAX_DEPTH: usize = 512;

/// Reads one JSON value in pieces, cut anywhere, also inside characters, and says what it finds as soon as that is certain.
///
/// Control characters inside strings are taken as they are (models write line breaks there). A half of a surrogate pair becomes U+FFFD. The
/// work is linear in the text's length, and what is kept between pieces is the nesting and the number, name or literal that is not complete.
///
/// ```
/// use tabagent_chat::json::{JsonEvent, JsonReader};
///
/// let mut reader = JsonReader::new();
/// let mut found = String::new();
/// for piece in [&b"{\"a\": \"x"[..], b"y\"}"] {
///     reader.feed(piece, |event| if let JsonEvent::Text(text) = event { found.push_str(text) })?;
/// }
/// assert!(reader.is_complete());
/// assert_eq!(found, "xy");
/// # Ok::<(), tabagent_chat::json::JsonFault>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonReader {
    stack: Vec<Frame>,
    expected: Expected,
    token: Token,
    /// Bytes of a number or a character, and decoded text of a name, that are not complete.
    kept: Vec<u8>,
    decoded: String,
    offset: usize,
    max_depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Object,
    Array,
}

/// What may come between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value, or the end of an array that has none.
    FirstItem,
    /// A name, or the end of an object that has none.
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of what is open.
    Next,
    Nothing,
}

/// The token that the last piece ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    None,
    String { is_key: bool, pending: Pending },
    Number(NumberState),
    Literal { word: &'static [u8], read: usize },
}

impl Default for JsonReader {
    fn default() -> Self {
        Self::new()
    }
}

impl JsonReader {
    /// A reader at the beginning of a text.
    pub fn new() -> Self {
        Self::with_max_depth(MAX_DEPTH)
    }

    /// A reader that takes so many arrays and objects in one another.
    pub fn with_max_depth(max_depth: usize) -> Self {
        Self {
            stack: Vec::new(),
            expected: Expected::Value,
            token: Token::None,
            kept: Vec::new(),
            decoded: String::new(),
            offset: 0,
            max_depth,
        }
    }

    /// Whether the value has ended. A number at the top has no end of its own; [`finish`](Self::finish) ends it.
    pub fn is_complete(&self) -> bool {
        self.expected == Expected::Nothing && self.token == Token::None
    }

    /// How many bytes were read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Reads a piece up to the end of the value, and gives how many of its bytes that were.
    ///
    /// # Errors
    ///
    /// The text is not JSON, not UTF-8, or nests too deeply. The reader is of no use afterwards.
    pub fn feed(&mut self, piece: &[u8], mut found: impl FnMut(JsonEvent<'_>)) -> Result<usize, JsonFault> {
        let mut at = 0;
        while at < piece.len() && !self.is_complete() {
            at += match self.token {
                Token::None => self.between(piece[at], &mut found)?,
                Token::String { is_key, pending } => {
                    self.in_string(&piece[at..], is_key, pending, &mut found)?
                }
                Token::Number(state) => self.in_number(piece[at], state, &mut found)?,
                Token::Literal { word, read } => self.in_literal(piece[at], word, read, &mut found)?,
            };
        }
        Ok(at)
    }

    /// Says that the text ends here, which ends a number at the top.
    ///
    /// # Errors
    ///
    /// The value is not complete.
    pub fn finish(&mut self, mut found: impl FnMut(JsonEvent<'_>)) -> Result<(), JsonFault> {
        if let Token::Number(state) = self.token
            && self.stack.is_empty()
            && state.may_end()
        {
            self.end_number(&mut found);
        }
        if self.is_complete() { Ok(()) } else { Err(JsonFault::Incomplete { at: self.offset }) }
    }

    /// One byte where no token is open.
    fn between(&mut self, byte: u8, found: &mut impl FnMut(JsonEvent<'_>)) -> Result<usize, JsonFault> {
        let at = self.offset;
        self.offset += 1;
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(1);
        }
        match (self.expected, byte) {
            (Expected::FirstKey | Expected::Next, b'}') if self.stack.last() == Some(&Frame::Object) => {
                self.close(JsonEvent::EndObject, found);
            }
            (Expected::FirstItem | Expected::Next, b']') if self.stack.last() == Some(&Frame::Array) => {
                self.close(JsonEvent::EndArray, found);
            }
            (Expected::FirstKey | Expected::Key, b'"') => {
                self.token = Token::String { is_key: true, pending: Pending::None };
                self.decoded.clear();
            }
            (Expected::Colon, b':') => self.expected = Expected::Value,
            (Expected::Next, b',') => {
                self.expected =
                    if self.stack.last() == Some(&Frame::Object) { Expected::Key } else { Expected::Value };
            }
            (Expected::Value | Expected::FirstItem, _) => self.begin_value(byte, at, found)?,
            _ => return Err(JsonFault::Unexpected { at }),
        }
        Ok(1)
    }

    fn begin_value(
        &mut self,
        byte: u8,
        at: usize,
        found: &mut impl FnMut(JsonEvent<'_>),
    ) -> Result<(), JsonFault> {
        let word: &'static [u8] = match byte {
            b'{' => return self.open(Frame::Object, JsonEvent::BeginObject, at, found),
            b'[' => return self.open(Frame::Array, JsonEvent::BeginArray, at, found),
            b'"' => {
                self.token = Token::String { is_key: false, pending: Pending::None };
                found(JsonEvent::BeginString);
                return Ok(());
            }
            b't' => b"true",
            b'f' => b"false",
            b'n' => b"null",
            _ => {
                let state = NumberState::first(byte).ok_or(JsonFault::Unexpected { at })?;
                self.kept.clear();
                self.kept.push(byte);
                self.token = Token::Number(state);
                return Ok(());
            }
        };
        self.token = Token::Literal { word, read: 1 };
        Ok(())
    }

    fn open(
        &mut self,
        frame: Frame,
        event: JsonEvent<'_>,
        at: usize,
        found: &mut impl FnMut(JsonEvent<'_>),
    ) -> Result<(), JsonFault> {
        if self.stack.len() >= self.max_depth {
            return Err(JsonFault::TooDeep { at, limit: self.max_depth });
        }
        self.stack.push(frame);
        self.expected = if frame == Frame::Object { Expected::FirstKey } else { Expected::FirstItem };
        found(event);
        Ok(())
    }

    fn close(&mut self, event: JsonEvent<'_>, found: &mut impl FnMut(JsonEvent<'_>)) {
        self.stack.pop();
        self.end_value();
        found(event);
    }

    fn end_value(&mut self) {
        self.token = Token::None;
        self.expected = if self.stack.is_empty() { Expected::Nothing } else { Expected::Next };
    }

    /// Bytes of a string, as many as can be taken at once.
    fn in_string(
        &mut self,
        rest: &[u8],
        is_key: bool,
        mut pending: Pending,
        found: &mut impl FnMut(JsonEvent<'_>),
    ) -> Result<usize, JsonFault> {
        let from = if is_key { self.decoded.len() } else { 0 };
        if !is_key {
            self.decoded.clear();
        }
        let mut at = 0;
        let mut is_closed = false;
        while at < rest.len() {
            let byte = rest[at];
            if pending != Pending::None {
                if pending.step(byte, self.offset + at, &mut self.decoded)? {
                    at += 1;
                }
            } else if !self.kept.is_empty() || byte >= 0x80 {
                at += self.in_character(&rest[at..], at)?;
            } else if byte == b'"' {
                at += 1;
                is_closed = true;
                break;
            } else if byte == b'\\' {
                at += 1;
                pending = Pending::Escape;
            } else {
                let plain = plain_length(&rest[at..]);
                // Bytes below 0x80 alone are UTF-8.
                self.decoded.push_str(str::from_utf8(&rest[at..at + plain]).unwrap_or_default());
                at += plain;
            }
        }
        self.offset += at;
        self.token = Token::String { is_key, pending };
        if !is_key && self.decoded.len() > from {
            found(JsonEvent::Text(&self.decoded));
        }
        if is_closed {
            self.end_string(is_key, found);
        }
        Ok(at)
    }

    fn end_string(&mut self, is_key: bool, found: &mut impl FnMut(JsonEvent<'_>)) {
        if is_key {
            found(JsonEvent::Key(Cow::Borrowed(&self.decoded)));
            self.token = Token::None;
            self.expected = Expected::Colon;
        } else {
            found(JsonEvent::EndString);
            self.end_value();
        }
    }

    /// Bytes of characters beyond ASCII; the beginning of one that is cut is kept.
    fn in_character(&mut self, rest: &[u8], before: usize) -> Result<usize, JsonFault> {
        let fault = JsonFault::NotUtf8 { at: self.offset + before };
        if self.kept.is_empty() {
            let length = rest.iter().position(|byte| *byte < 0x80).unwrap_or(rest.len());
            return match str::from_utf8(&rest[..length]) {
                Ok(text) => {
                    self.decoded.push_str(text);
                    Ok(length)
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.decoded.push_str(str::from_utf8(&rest[..valid]).unwrap_or_default());
                    if error.error_len().is_some() || length < rest.len() {
                        return Err(fault);
                    }
                    self.kept.extend_from_slice(&rest[valid..length]);
                    Ok(length)
                }
            };
        }
        self.kept.push(rest[0]);
        match str::from_utf8(&self.kept) {
            Ok(text) => {
                self.decoded.push_str(text);
                self.kept.clear();
            }
            Err(error) if error.error_len().is_some() => return Err(fault),
            Err(_) => {}
        }
        Ok(1)
    }

    fn in_number(
        &mut self,
        byte: u8,
        state: NumberState,
        found: &mut impl FnMut(JsonEvent<'_>),
    ) -> Result<usize, JsonFault> {
        if let Some(next) = state.next(byte) {
            self.kept.push(byte);
            self.token = Token::Number(next);
            self.offset += 1;
            return Ok(1);
        }
        if !state.may_end() {
            return Err(JsonFault::Unexpected { at: self.offset });
        }
        self.end_number(found);
        Ok(0)
    }

    fn end_number(&mut self, found: &mut impl FnMut(JsonEvent<'_>)) {
        found(JsonEvent::Number(str::from_utf8(&self.kept).unwrap_or_default()));
        self.kept.clear();
        self.end_value();
    }

    fn in_literal(
        &mut self,
        byte: u8,
        word: &'static [u8],
        read: usize,
        found: &mut impl FnMut(JsonEvent<'_>),
    ) -> Result<usize, JsonFault> {
        if word[read] != byte {
            return Err(JsonFault::Unexpected { at: self.offset });
        }
        self.offset += 1;
        self.token = Token::Literal { word, read: read + 1 };
        if read + 1 == word.len() {
            found(if word == b"null" { JsonEvent::Null } else { JsonEvent::Bool(word == b"true") });
            self.end_value();
        }
        Ok(1)
    }
}

/// How many bytes are ASCII characters that stand for themselves.
fn plain_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0x80..)).unwrap_or(bytes.len())
}
