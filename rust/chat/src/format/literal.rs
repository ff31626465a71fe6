//! Values as JSON and Python write them, and as Gemma does, made into JSON text.

use crate::json::{JsonEvent, JsonWriter};

/// How deep values may nest.
const MAX_DEPTH: usize = 128;

/// Gemma's quotes.
pub(super) const GEMMA_QUOTE: &str = "<|\"|>";

/// Reads values from a complete text.
pub(super) struct LiteralReader<'a> {
    text: &'a str,
    place: usize,
    writer: JsonWriter,
    out: String,
}

/// The JSON text of one value that a text consists of; `None` if it is none.
pub(super) fn literal(text: &str) -> Option<String> {
    let mut reader = LiteralReader::new(text);
    reader.value(0)?;
    reader.skip_space();
    reader.rest().is_empty().then_some(reader.out)
}

/// The calls in `name(key=value, …), …`, each with its arguments as JSON text.
pub(super) fn python_calls(text: &str) -> Option<Vec<(String, String)>> {
    let mut reader = LiteralReader::new(text);
    let mut calls = Vec::new();
    let is_list = reader.take("[");
    loop {
        reader.skip_space();
        if (is_list && reader.take("]")) || reader.rest().is_empty() {
            break;
        }
        let name = reader.name();
        if name.is_empty() || !reader.take("(") {
            return None;
        }
        reader.emit(&JsonEvent::BeginObject);
        while !reader.take(")") {
            let key = reader.name();
            if key.is_empty() || !reader.take("=") {
                return None;
            }
            reader.emit(&JsonEvent::Key(key.into()));
            reader.value(1)?;
            if !reader.take(",") && !reader.starts(")") {
                return None;
            }
        }
        reader.emit(&JsonEvent::EndObject);
        calls.push((name, std::mem::take(&mut reader.out)));
        reader.writer = JsonWriter::new();
        reader.take(",");
        reader.take(";");
    }
    reader.skip_space();
    (reader.rest().is_empty() && !calls.is_empty()).then_some(calls)
}

/// The name and the arguments in `call:name{key:value, …}`.
pub(super) fn gemma_call(text: &str) -> Option<(String, String)> {
    let mut reader = LiteralReader::new(text.trim().strip_prefix("call:").unwrap_or(text.trim()));
    let name = reader.name();
    reader.skip_space();
    if name.is_empty() {
        return None;
    }
    if reader.rest().is_empty() {
        return Some((name, "{}".to_owned()));
    }
    reader.value(0)?;
    reader.skip_space();
    (reader.rest().is_empty() && reader.out.starts_with('{')).then_some((name, reader.out))
}

impl<'a> LiteralReader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, place: 0, writer: JsonWriter::new(), out: String::new() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.place..]
    }

    fn skip_space(&mut self) {
        self.place += self.rest().len() - self.rest().trim_start().len();
    }

    fn starts(&mut self, text: &str) -> bool {
        self.skip_space();
        self.rest().starts_with(text)
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.starts(text);
        if is_there {
            self.place += text.len();
        }
        is_there
    }

    fn emit(&mut self, event: &JsonEvent<'_>) {
        self.writer.write(event, &mut self.out);
    }

    /// A run of characters that names have.
    fn name(&mut self) -> String {
        self.skip_space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | '$')))
            .unwrap_or(rest.len());
        self.place += end;
        rest[..end].to_owned()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        if self.take(GEMMA_QUOTE) {
            let rest = self.rest();
            let end = rest.find(GEMMA_QUOTE)?;
            self.place += end + GEMMA_QUOTE.len();
            self.string(&rest[..end]);
            return Some(());
        }
        match self.rest().chars().next()? {
            '{' => self.object(depth),
            '[' => self.list(']', depth),
            '(' => self.list(')', depth),
            quote @ ('"' | '\'') => {
                let text = self.quoted(quote)?;
                self.string(&text);
                Some(())
            }
            _ => self.word(),
        }
    }

    fn string(&mut self, text: &str) {
        self.emit(&JsonEvent::BeginString);
        self.emit(&JsonEvent::Text(text));
        self.emit(&JsonEvent::EndString);
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.place += 1;
        self.emit(&JsonEvent::BeginObject);
        while !self.take("}") {
            self.skip_space();
            let key = if self.take(GEMMA_QUOTE) {
                let rest = self.rest();
                let end = rest.find(GEMMA_QUOTE)?;
                self.place += end + GEMMA_QUOTE.len();
                rest[..end].to_owned()
            } else {
                self.key()?
            };
            if !self.take(":") {
                return None;
            }
            self.emit(&JsonEvent::Key(key.into()));
            self.value(depth + 1)?;
            if !self.take(",") && !self.starts("}") {
                return None;
            }
        }
        self.emit(&JsonEvent::EndObject);
        Some(())
    }

    /// The name of a property: in quotes, or as it is up to the colon.
    fn key(&mut self) -> Option<String> {
        if let quote @ ('"' | '\'') = self.rest().chars().next()? {
            return self.quoted(quote);
        }
        let rest = self.rest();
        let end = rest.find(':')?;
        self.place += end;
        Some(rest[..end].trim().to_owned())
    }

    fn list(&mut self, end: char, depth: usize) -> Option<()> {
        self.place += 1;
        self.emit(&JsonEvent::BeginArray);
        let end = end.to_string();
        while !self.take(&end) {
            self.value(depth + 1)?;
            if !self.take(",") && !self.starts(&end) {
                return None;
            }
        }
        self.emit(&JsonEvent::EndArray);
        Some(())
    }

    /// A string in quotes. Templates write some strings without escaping: a quote that nothing fitting follows is part of the string.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let rest = self.rest();
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                let (_, escaped) = chars.next()?;
                match escaped {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    '0' => text.push('\0'),
                    '\n' => {}
                    'u' | 'x' | 'U' => {
                        let length = match escaped {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let mut code = 0;
                        for _ in 0..length {
                            code = code << 4 | chars.next()?.1.to_digit(16)?;
                        }
                        if (0xD800..0xDC00).contains(&code) {
                            let after = chars.clone().map(|(_, c)| c).take(6).collect::<String>();
                            let low = after
                                .strip_prefix("\\u")
                                .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                            if let Some(low @ 0xDC00..0xE000) = low {
                                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                                chars.nth(5);
                            }
                        }
                        text.push(char::from_u32(code).unwrap_or('\u{FFFD}'));
                    }
                    '\\' | '\'' | '"' | '/' => text.push(escaped),
                    other => text.extend(['\\', other]),
                }
            } else if c == quote {
                let after = rest[at + 1..].trim_start();
                if after.is_empty() || after.starts_with([',', ')', ']', '}', ':', ';']) {
                    self.place += at + 1;
                    return Some(text);
                }
                text.push(c);
            } else {
                text.push(c);
            }
        }
        None
    }

    /// A number or a name that stands for a value.
    fn word(&mut self) -> Option<()> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | ')' | ']' | '}' | ':' | ';'))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        match word {
            "true" | "True" => self.emit(&JsonEvent::Bool(true)),
            "false" | "False" => self.emit(&JsonEvent::Bool(false)),
            "null" | "None" => self.emit(&JsonEvent::Null),
            _ => {
                let is_number = serde_json::from_str::<serde_json::Number>(word).is_ok();
                if !is_number {
                    return None;
                }
                self.emit(&JsonEvent::Number(word));
            }
        }
        self.place += end;
        Some(())
    }
}
