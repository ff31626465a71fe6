//! Calls that are JSON objects.

use super::sink::{CallSink, Progress};
use super::tool_types::ToolTypes;
use crate::json::{JsonEvent, JsonReader, JsonWriter};

const NAMES: [&str; 2] = ["name", "tool_name"];
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "args"];
const IDS: [&str; 3] = ["id", "tool_call_id", "call_id"];

/// Reads one object with a name and arguments, or a list of them.
#[derive(Debug)]
pub(super) struct JsonCalls {
    reader: JsonReader,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    is_name_keyed: bool,
    /// Whether only tools that are known count: there is no marker that says that this is a call.
    only_known: bool,
    depth: usize,
    /// The depth at which the keys of the call are; 0 before it begins.
    base: usize,
    has_wrapper: bool,
    part: Part,
    text: String,
    id: Option<String>,
    has_name: bool,
    /// Arguments that came before the name.
    early: String,
    writer: JsonWriter,
    failure: Option<String>,
}

/// What the value that comes belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Other,
    Name,
    Id,
    Arguments,
    /// Arguments as a string that has JSON text.
    ArgumentsText,
}

impl JsonCalls {
    pub(super) fn new(is_name_keyed: bool, only_known: bool) -> Self {
        Self { reader: JsonReader::new(), state: State { is_name_keyed, only_known, ..State::default() } }
    }

    /// Reads on; how many bytes of the input were the calls', and how far they have come.
    pub(super) fn read(&mut self, input: &str, tools: &ToolTypes, sink: &mut CallSink) -> (usize, Progress) {
        let Self { reader, state } = self;
        let read = reader.feed(input.as_bytes(), |event| state.take(&event, tools, sink));
        if let Some(failure) = state.failure.take() {
            return (0, Progress::Failed(failure));
        }
        match read {
            Err(fault) => (0, Progress::Failed(fault.to_string())),
            Ok(length) if reader.is_complete() => (length, Progress::Done),
            Ok(length) => (length, Progress::More),
        }
    }
}

impl State {
    fn take(&mut self, event: &JsonEvent<'_>, tools: &ToolTypes, sink: &mut CallSink) {
        if self.failure.is_some() {
            return;
        }
        match event {
            JsonEvent::BeginObject | JsonEvent::BeginArray => self.depth += 1,
            JsonEvent::EndObject | JsonEvent::EndArray => self.depth -= 1,
            _ => {}
        }
        if self.base == 0 {
            match event {
                JsonEvent::BeginObject if self.depth <= 2 => self.begin(),
                JsonEvent::BeginArray if self.depth == 1 => {}
                JsonEvent::EndArray if self.depth == 0 => {}
                _ => self.fail("it is not an object"),
            }
            return;
        }
        match (self.part, event) {
            (_, JsonEvent::Key(key)) if self.depth == self.base => self.key(key, tools, sink),
            (_, JsonEvent::EndObject) if self.depth + 1 == self.base => self.close(sink),
            (Part::Other, JsonEvent::BeginObject)
                if self.depth == self.base + 1 && self.text == "function" && !self.has_name =>
            {
                self.base += 1;
                self.has_wrapper = true;
            }
            (Part::Other, JsonEvent::BeginString)
                if self.depth == self.base && self.text == "function" && !self.has_name =>
            {
                self.part = Part::Name;
                self.text.clear();
            }
            (Part::Name, JsonEvent::Text(text))
            | (Part::Id, JsonEvent::Text(text) | JsonEvent::Number(text)) => {
                self.text.push_str(text);
            }
            (Part::Name, JsonEvent::EndString) => {
                let name = std::mem::take(&mut self.text);
                self.part = Part::Other;
                self.name(&name, tools, sink);
            }
            (Part::Name, JsonEvent::BeginString) | (Part::Id | Part::Other, _) => {}
            (Part::Name, _) => self.fail("its name is not a string"),
            (Part::Arguments, JsonEvent::BeginString) if self.depth == self.base => {
                self.part = Part::ArgumentsText;
            }
            (Part::ArgumentsText, JsonEvent::Text(text)) => self.arguments(text, sink),
            (Part::ArgumentsText, _) => self.part = Part::Other,
            (Part::Arguments, JsonEvent::Null) if self.depth == self.base => self.part = Part::Other,
            (Part::Arguments, event) => {
                let mut text = String::new();
                self.writer.write(event, &mut text);
                self.arguments(&text, sink);
            }
        }
        if self.part == Part::Id && matches!(event, JsonEvent::EndString | JsonEvent::Number(_)) {
            let id = std::mem::take(&mut self.text);
            self.part = Part::Other;
            if self.has_name { sink.id(&id) } else { self.id = Some(id) }
        }
    }

    fn fail(&mut self, why: &str) {
        self.failure.get_or_insert_with(|| why.to_owned());
    }

    fn begin(&mut self) {
        let kept = (self.is_name_keyed, self.only_known, self.depth);
        *self = Self {
            is_name_keyed: kept.0,
            only_known: kept.1,
            depth: kept.2,
            base: kept.2,
            ..Self::default()
        };
    }

    fn key(&mut self, key: &str, tools: &ToolTypes, sink: &mut CallSink) {
        self.part = Part::Other;
        self.text.clear();
        if self.is_name_keyed {
            if self.has_name {
                self.fail("it has more than one name");
            } else {
                self.name(key, tools, sink);
                self.part = Part::Arguments;
            }
        } else if NAMES.contains(&key) {
            self.part = Part::Name;
        } else if ARGUMENTS.contains(&key) {
            self.part = Part::Arguments;
            self.writer = JsonWriter::new();
        } else if IDS.contains(&key) {
            self.part = Part::Id;
        } else if self.only_known && !self.has_name && !matches!(key, "type" | "function") {
            self.fail("its first key is not that of a call");
        } else {
            self.text.push_str(key);
        }
    }

    fn name(&mut self, name: &str, tools: &ToolTypes, sink: &mut CallSink) {
        if self.has_name {
            return self.fail("it has more than one name");
        }
        if name.is_empty() || (self.only_known && !tools.may_have(name)) {
            return self.fail("it names no tool");
        }
        self.has_name = true;
        sink.begin(name, self.id.take());
        sink.arguments(&std::mem::take(&mut self.early));
    }

    fn arguments(&mut self, text: &str, sink: &mut CallSink) {
        if self.has_name { sink.arguments(text) } else { self.early.push_str(text) }
    }

    /// The object of the call, or the one around it, ends.
    fn close(&mut self, sink: &mut CallSink) {
        if self.has_wrapper {
            self.has_wrapper = false;
            self.base -= 1;
            self.part = Part::Other;
            self.text.clear();
            return;
        }
        if !self.has_name {
            return self.fail("it has no name");
        }
        sink.end();
        self.base = 0;
    }
}
