//! Calls that are a name, something after it, and JSON.

use super::marker::is_name_char;
use super::output_format::Pair;
use super::sink::{CallSink, Progress};
use super::tool_types::ToolTypes;
use crate::json::{JsonReader, JsonWriter};

/// How much may be between a name and its arguments.
const MAX_MIDDLE: usize = 256;

/// Reads one call.
#[derive(Debug)]
pub(super) struct NamedJson {
    shape: Shape,
    phase: Phase,
    id: Option<String>,
    reader: JsonReader,
    writer: JsonWriter,
    /// Text between name and arguments.
    middle: String,
}

/// What of the format a reader needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) prefix: String,
    /// What is between name and arguments.
    pub(super) middle: String,
    pub(super) id_before: Option<String>,
    pub(super) id_between: Option<Pair>,
    pub(super) has_index: bool,
    /// What ends a call; a call without arguments may have nothing before it.
    pub(super) call_end: String,
    /// Whether a call is only one if its tool is known.
    pub(super) only_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Id,
    Name,
    Middle,
    Arguments,
}

impl NamedJson {
    pub(super) fn new(shape: Shape) -> Self {
        let phase = if shape.id_before.is_some() { Phase::Id } else { Phase::Name };
        Self {
            shape,
            phase,
            id: None,
            reader: JsonReader::new(),
            writer: JsonWriter::new(),
            middle: String::new(),
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
            let (length, progress) = match self.phase {
                Phase::Id => self.id(rest),
                Phase::Name => self.name(rest, at_end, tools, sink),
                Phase::Middle => self.middle(rest, at_end, sink),
                Phase::Arguments => return self.arguments(rest, place, sink),
            };
            place += length;
            match progress {
                Some(Progress::More) if length == 0 => return (place, Progress::More),
                Some(Progress::More) | None => {}
                Some(other) => return (place, other),
            }
        }
    }

    /// The id in front, up to what is between it and the name.
    fn id(&mut self, rest: &str) -> (usize, Option<Progress>) {
        let end = self.shape.id_before.as_deref().unwrap_or_default().trim();
        match rest.find(end) {
            Some(place) => {
                self.id = Some(rest[..place].trim().to_owned());
                self.phase = Phase::Name;
                (place + end.len(), None)
            }
            None if rest.len() > MAX_MIDDLE => (0, Some(Progress::Failed("its id does not end".to_owned()))),
            None => (0, Some(Progress::More)),
        }
    }

    fn name(
        &mut self,
        rest: &str,
        at_end: bool,
        tools: &ToolTypes,
        sink: &mut CallSink,
    ) -> (usize, Option<Progress>) {
        let text = rest.trim_start();
        let space = rest.len() - text.len();
        let Some(end) = text.find(|c| !is_name_char(c)).or(at_end.then_some(text.len())) else {
            return (0, Some(Progress::More));
        };
        let whole = &text[..end];
        let name = whole.strip_prefix(self.shape.prefix.as_str()).unwrap_or(whole);
        let (name, index) = match name.rsplit_once(':') {
            Some((name, index))
                if self.shape.has_index && index.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                (name, Some(index))
            }
            _ => (name, None),
        };
        if name.is_empty() {
            return (0, Some(Progress::Failed("it has no name".to_owned())));
        }
        if self.shape.only_known && !tools.may_have(name) {
            return (0, Some(Progress::Failed("it names no tool".to_owned())));
        }
        let id = self.id.take().or_else(|| index.map(|_| whole.to_owned()));
        sink.begin(name, id);
        self.phase = Phase::Middle;
        (space + end, None)
    }

    /// What is between the name and the arguments, which begin with a brace.
    fn middle(&mut self, rest: &str, at_end: bool, sink: &mut CallSink) -> (usize, Option<Progress>) {
        let end = self.shape.call_end.trim();
        let brace = rest.find('{');
        if !end.is_empty()
            && let Some(place) = rest.find(end)
            && brace.is_none_or(|brace| place < brace)
        {
            sink.end();
            return (place, Some(Progress::Done));
        }
        if let Some(place) = brace {
            self.middle.push_str(&rest[..place]);
            if !self.is_between(self.middle.trim()) {
                return (
                    0,
                    Some(Progress::Failed("text that belongs to no argument follows its name".to_owned())),
                );
            }
            self.find_id(sink);
            self.phase = Phase::Arguments;
            return (place, None);
        }
        if self.middle.len() + rest.len() > MAX_MIDDLE {
            return (0, Some(Progress::Failed("no arguments follow its name".to_owned())));
        }
        if at_end && rest.trim().is_empty() {
            sink.end();
            return (rest.len(), Some(Progress::Done));
        }
        (0, Some(Progress::More))
    }

    /// Whether a text between name and arguments is what may be there.
    fn is_between(&self, text: &str) -> bool {
        let middle = self.shape.middle.trim();
        match &self.shape.id_between {
            _ if text.is_empty() || text == middle => true,
            Some(between) => text.ends_with(between.end.trim()),
            // gpt-oss writes the channel and the form of the arguments there.
            None => middle == "<|message|>" && text.ends_with(middle),
        }
    }

    fn find_id(&mut self, sink: &mut CallSink) {
        let Some(between) = &self.shape.id_between else { return };
        let after = self.middle.split_once(between.start.trim()).map(|(_, after)| after);
        let id = after.map(|after| after.split_once(between.end.trim()).map_or(after, |(id, _)| id).trim());
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            sink.id(id);
        }
    }

    fn arguments(&mut self, rest: &str, before: usize, sink: &mut CallSink) -> (usize, Progress) {
        let mut text = String::new();
        let writer = &mut self.writer;
        let read = self.reader.feed(rest.as_bytes(), |event| writer.write(&event, &mut text));
        sink.arguments(&text);
        match read {
            Err(fault) => (before, Progress::Failed(fault.to_string())),
            Ok(length) if self.reader.is_complete() => {
                sink.end();
                (before + length, Progress::Done)
            }
            Ok(length) => (before + length, Progress::More),
        }
    }
}
