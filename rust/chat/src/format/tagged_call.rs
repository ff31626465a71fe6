//! Calls whose arguments are each between tags.

use super::literal::literal;
use super::marker::{Found, find_marker, is_name_char};
use super::output_format::Tagged;
use super::sink::{CallSink, Progress};
use super::tool_types::{Kind, ToolTypes};
use crate::json::{JsonEvent, JsonWriter};

const CDATA: &str = "<![CDATA[";
const CDATA_END: &str = "]]>";

/// Reads one call, up to and without the marker of its end.
#[derive(Debug)]
pub(super) struct TaggedCall {
    tags: Tagged,
    /// What may come after a value: the next argument, or the end of the call.
    next: Vec<String>,
    phase: Phase,
    tool: String,
    key: String,
    writer: JsonWriter,
    has_begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Name,
    /// Between arguments.
    Between,
    Key,
    /// What is between an argument's name and its value.
    Type,
    /// The first line break of a value, or the beginning of a CDATA section.
    Lead(Value),
    Value(Value),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    kind: Kind,
    is_cdata: bool,
    /// A value that is not a string for certain, as far as it has come.
    kept: String,
}

impl TaggedCall {
    pub(super) fn new(tags: Tagged, call_end: &str) -> Self {
        let next = vec![tags.key_start.trim().to_owned(), call_end.trim().to_owned()];
        Self {
            tags,
            next,
            phase: Phase::Name,
            tool: String::new(),
            key: String::new(),
            writer: JsonWriter::new(),
            has_begun: false,
        }
    }

    /// Reads on; how many bytes of the input were the call's, and how far it has come.
    pub(super) fn read(
        &mut self,
        input: &str,
        at_end: bool,
        tools: &ToolTypes,
        sink: &mut CallSink,
    ) -> (usize, Progress) {
        let mut place = 0;
        loop {
            let rest = &input[place..];
            let (length, progress) = match self.phase.clone() {
                Phase::Name => self.name(rest, at_end, sink),
                Phase::Between => self.between(rest, at_end, sink),
                Phase::Key => self.read_key(rest),
                Phase::Type => self.read_type(rest, tools),
                Phase::Lead(value) => self.lead(rest, value, at_end),
                Phase::Value(value) => self.value(rest, value, at_end, sink),
            };
            place += length;
            if let Some(progress) = progress {
                return (place, progress);
            }
        }
    }

    fn name(&mut self, rest: &str, at_end: bool, sink: &mut CallSink) -> (usize, Option<Progress>) {
        let text = rest.trim_start();
        let Some(end) = text.find(|c| !is_name_char(c)).or(at_end.then_some(text.len())) else {
            return (0, Some(Progress::More));
        };
        if end == 0 {
            return (0, Some(Progress::Failed("it has no name".to_owned())));
        }
        text[..end].clone_into(&mut self.tool);
        sink.begin(&self.tool, None);
        self.phase = Phase::Between;
        (rest.len() - text.len() + end, None)
    }

    /// The next argument, or the end of the call.
    fn between(&mut self, rest: &str, at_end: bool, sink: &mut CallSink) -> (usize, Option<Progress>) {
        match find_marker(rest, &self.next, at_end) {
            Found::At { place, .. } if !self.is_between(rest[..place].trim()) => {
                (0, Some(Progress::Failed("it has text that belongs to no argument".to_owned())))
            }
            Found::At { place, marker: 0 } => {
                self.phase = Phase::Key;
                (place + self.next[0].len(), None)
            }
            Found::At { place, .. } => {
                self.end(sink);
                (place, Some(Progress::Done))
            }
            _ if at_end && rest.trim().is_empty() => {
                self.end(sink);
                (rest.len(), Some(Progress::Done))
            }
            // More than the end of the name and white space: this is no call.
            _ if rest.trim().len() > 256 => {
                (0, Some(Progress::Failed("no argument and no end follow".to_owned())))
            }
            _ => (0, Some(Progress::More)),
        }
    }

    /// Whether a text between the name, the arguments and the end is one of the tags that may be there.
    fn is_between(&self, text: &str) -> bool {
        let (name_end, value_end) = (self.tags.name_end.trim(), self.tags.value_end.trim());
        // Kimi K3 numbers its calls after the name.
        let is_number = self.tags.type_marks.is_some() && text.starts_with(name_end) && !self.has_begun;
        text.is_empty() || text == name_end || text == value_end || is_number
    }

    fn end(&mut self, sink: &mut CallSink) {
        if self.has_begun {
            self.emit(&JsonEvent::EndObject, sink);
        }
        sink.end();
    }

    fn read_key(&mut self, rest: &str) -> (usize, Option<Progress>) {
        let end = self.tags.key_end.trim();
        let Some(place) = rest.find(end) else {
            let is_long = rest.len() > 1024;
            return (
                0,
                Some(if is_long {
                    Progress::Failed("the name of an argument does not end".to_owned())
                } else {
                    Progress::More
                }),
            );
        };
        rest[..place].trim().clone_into(&mut self.key);
        self.phase = Phase::Type;
        (place + end.len(), None)
    }

    fn read_type(&mut self, rest: &str, tools: &ToolTypes) -> (usize, Option<Progress>) {
        let start = self.tags.value_start.trim();
        let Some(place) = rest.find(start) else {
            let is_long = rest.len() > 1024;
            return (
                0,
                Some(if is_long {
                    Progress::Failed("the value of an argument does not begin".to_owned())
                } else {
                    Progress::More
                }),
            );
        };
        let kind = match &self.tags.type_marks {
            Some(marks) if rest[..place].trim() == marks.start.trim() => Kind::String,
            Some(_) => Kind::Other,
            None => tools.kind(&self.tool, &self.key),
        };
        self.phase = Phase::Lead(Value { kind, is_cdata: false, kept: String::new() });
        (place + start.len(), None)
    }

    fn lead(&mut self, rest: &str, mut value: Value, at_end: bool) -> (usize, Option<Progress>) {
        let mut length = 0;
        if self.tags.has_line_breaks {
            if rest.is_empty() && !at_end {
                return (0, Some(Progress::More));
            }
            length = usize::from(rest.starts_with('\n'));
        }
        if self.tags.has_cdata {
            let text = &rest[length..];
            if text.starts_with(CDATA) {
                value.is_cdata = true;
                length += CDATA.len();
            } else if CDATA.starts_with(text) && !at_end {
                return (0, Some(Progress::More));
            }
        }
        self.phase = Phase::Value(value);
        (length, None)
    }

    fn value(
        &mut self,
        rest: &str,
        mut value: Value,
        at_end: bool,
        sink: &mut CallSink,
    ) -> (usize, Option<Progress>) {
        let end = if value.is_cdata { CDATA_END } else { self.tags.value_end.trim() };
        let found = find_marker(rest, &[end.to_owned()], at_end);
        let (text, is_closed) = match found {
            Found::At { place, .. } => (&rest[..place], true),
            Found::Maybe { place } => (&rest[..place], false),
            Found::None => (rest, false),
        };
        // A line break may belong to the tag that follows.
        let text = match text.strip_suffix('\n') {
            Some(shorter) if self.tags.has_line_breaks && !value.is_cdata => shorter,
            _ => text,
        };
        let length = if is_closed { rest.find(end).unwrap_or_default() + end.len() } else { text.len() };
        if value.kind == Kind::String || value.is_cdata {
            self.string_piece(&mut value, text, sink);
            if is_closed {
                self.emit(&JsonEvent::EndString, sink);
            }
        } else {
            value.kept.push_str(text);
            if is_closed {
                self.whole_value(&value, sink);
            }
        }
        if is_closed {
            self.phase = Phase::Between;
            return (length, None);
        }
        self.phase = Phase::Value(value);
        (length, Some(Progress::More))
    }

    /// More of a value that is a string; `kept` is not empty once it has begun.
    fn string_piece(&mut self, value: &mut Value, text: &str, sink: &mut CallSink) {
        if value.kept.is_empty() {
            value.kept.push('"');
            self.begin_value(sink);
            self.emit(&JsonEvent::BeginString, sink);
        }
        self.emit(&JsonEvent::Text(text), sink);
    }

    fn whole_value(&mut self, value: &Value, sink: &mut CallSink) {
        self.begin_value(sink);
        let text = literal(&value.kept);
        match text.filter(|text| value.kind != Kind::Mixed || !text.starts_with('"')) {
            Some(text) => sink.arguments(&text),
            None => {
                for event in [JsonEvent::BeginString, JsonEvent::Text(&value.kept), JsonEvent::EndString] {
                    Self::emit_beside(&event, sink);
                }
            }
        }
        self.writer.skip_value();
    }

    fn begin_value(&mut self, sink: &mut CallSink) {
        if !self.has_begun {
            self.has_begun = true;
            self.emit(&JsonEvent::BeginObject, sink);
        }
        let key = std::mem::take(&mut self.key);
        self.emit(&JsonEvent::Key(key.into()), sink);
    }

    fn emit(&mut self, event: &JsonEvent<'_>, sink: &mut CallSink) {
        let mut text = String::new();
        self.writer.write(event, &mut text);
        sink.arguments(&text);
    }

    /// Writes a value beside the writer.
    fn emit_beside(event: &JsonEvent<'_>, sink: &mut CallSink) {
        let mut text = String::new();
        JsonWriter::new().write(event, &mut text);
        sink.arguments(&text);
    }
}
