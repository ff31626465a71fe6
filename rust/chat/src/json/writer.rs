//! JSON text from events, written as Python's `json.dumps` writes it.

use super::JsonEvent;

/// Writes events as JSON text in which a comma and a colon are followed by a space. Pieces of a string may come apart.
#[derive(Clone, Debug, Default)]
pub struct JsonWriter {
    /// For each open array and object, whether it has something already.
    open: Vec<bool>,
    after_key: bool,
}

impl JsonWriter {
    /// A writer at the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what the event adds to the text.
    pub fn write(&mut self, event: &JsonEvent<'_>, out: &mut String) {
        match event {
            JsonEvent::BeginObject => self.begin('{', out),
            JsonEvent::BeginArray => self.begin('[', out),
            JsonEvent::EndObject => self.end('}', out),
            JsonEvent::EndArray => self.end(']', out),
            JsonEvent::Key(key) => {
                self.separate(out);
                out.push('"');
                escape(key, out);
                out.push_str("\": ");
                self.after_key = true;
            }
            JsonEvent::BeginString => {
                self.separate(out);
                out.push('"');
            }
            JsonEvent::Text(text) => escape(text, out),
            JsonEvent::EndString => out.push('"'),
            JsonEvent::Number(number) => self.word(number, out),
            JsonEvent::Bool(true) => self.word("true", out),
            JsonEvent::Bool(false) => self.word("false", out),
            JsonEvent::Null => self.word("null", out),
        }
    }

    /// Counts a value that was written beside this writer.
    pub(crate) fn skip_value(&mut self) {
        self.after_key = false;
    }

    fn begin(&mut self, bracket: char, out: &mut String) {
        self.separate(out);
        out.push(bracket);
        self.open.push(false);
    }

    fn end(&mut self, bracket: char, out: &mut String) {
        self.open.pop();
        out.push(bracket);
    }

    fn word(&mut self, word: &str, out: &mut String) {
        self.separate(out);
        out.push_str(word);
    }

    fn separate(&mut self, out: &mut String) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if let Some(has_items) = self.open.last_mut()
            && std::mem::replace(has_items, true)
        {
            out.push_str(", ");
        }
    }
}

/// Appends text as the inside of a JSON string.
fn escape(text: &str, out: &mut String) {
    for part in text.chars() {
        match part {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => {
                let code = u32::from(control);
                out.push_str("\\u00");
                for digit in [code >> 4, code & 15] {
                    out.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
            other => out.push(other),
        }
    }
}
