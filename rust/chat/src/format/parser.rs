//! The parser of a message that is being written.

mod output;
mod reasoning;

use crate::format::call_reader::CallReader;
use crate::format::marker::{Found, Loose, find_marker, is_name_char, loose_match};
use crate::format::output_format::{Body, CallFormat, OutputFormat, Pair};
use crate::format::pieces::first_tag;
use crate::format::sink::{CallSink, Progress};
use crate::format::tool_types::ToolTypes;
use crate::format::{Delta, ParsedMessage};
use std::sync::Arc;

/// Takes a message in pieces and says what each has more: content, reasoning, calls with their arguments as JSON text.
///
/// What may become a marker is held until it is certain. What cannot be read is content in the end, with a warning.
#[derive(Debug)]
pub struct OutputParser {
    format: Arc<OutputFormat>,
    tools: ToolTypes,
    markers: Vec<String>,
    roles: Vec<Role>,
    /// Text that was not read yet.
    input: String,
    /// Text of a call that is none, which is read again.
    again: String,
    /// How many calls could not be read.
    failures: usize,
    state: State,
    sink: CallSink,
    message: ParsedMessage,
    /// White space at the end of content or reasoning, which is only given if more follows.
    held: String,
    /// Whether white space in front of what comes says nothing.
    at_start: bool,
    /// What goes in front of the next content or reasoning, which follows other content or reasoning at a distance.
    gap: &'static str,
    has_content: bool,
    has_reasoning: bool,
    /// The reasoning that a call interrupted, and the white space at its end, until the call is known to be one.
    thought: Option<(usize, String)>,
    /// Whether a call without a marker may begin here.
    may_be_bare: bool,
}

/// What a marker in content means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Reasoning(usize),
    Section,
    Call,
    Dropped,
    Recipient,
}

#[derive(Debug)]
enum State {
    Content,
    Reasoning(usize),
    /// Calls may come, separated or not, or the end of their section.
    Between {
        raw: String,
        is_first: bool,
    },
    /// The rest of a recipient's name follows.
    Recipient,
    /// A name follows, of a tool or of what stands for content.
    Header {
        raw: String,
    },
    Call {
        reader: Box<CallReader>,
        raw: String,
        /// How much of `raw` announced the call.
        lead: usize,
        from: usize,
    },
    /// After a call, where what ends it may be.
    AfterCall,
}

/// After so many calls that cannot be read nothing is taken for one any more.
const MAX_FAILURES: usize = 32;

/// How much of the rest was read, and whether another step can follow.
type Step = (usize, bool);

impl OutputParser {
    /// A parser of a message of this format that begins in its content, or in its reasoning.
    pub fn new(format: Arc<OutputFormat>, tools: ToolTypes, in_reasoning: bool) -> Self {
        let mut markers: Vec<String> = Vec::new();
        let mut roles = Vec::new();
        let mut add = |marker: &str, role: Role| {
            let marker = marker.trim();
            if !marker.is_empty() && !markers.iter().any(|known| known == marker) {
                markers.push(marker.to_owned());
                roles.push(role);
            }
        };
        let calls = format.calls.as_ref().filter(|_| !tools.is_none());
        if let Some(calls) = calls {
            add(&calls.section.start, Role::Section);
            add(&calls.call.start, Role::Call);
            calls.other_starts.iter().for_each(|start| add(start, Role::Call));
        }
        format
            .reasoning
            .iter()
            .enumerate()
            .for_each(|(index, pair)| add(&pair.start, Role::Reasoning(index)));
        for marker in &format.dropped {
            add(marker, Role::Dropped);
        }
        if let Some(pair) = &format.recipient {
            add(&pair.start, Role::Recipient);
        }
        let state =
            match (in_reasoning && !format.reasoning.is_empty(), format.begins_in_call && calls.is_some()) {
                (true, _) => State::Reasoning(0),
                (false, true) => State::Header { raw: String::new() },
                (false, false) => State::Content,
            };
        Self {
            at_start: in_reasoning || format.has_space_before_content || !format.reasoning.is_empty(),
            may_be_bare: calls.is_some_and(CallFormat::is_bare),
            format,
            tools,
            markers,
            roles,
            input: String::new(),
            again: String::new(),
            failures: 0,
            state,
            sink: CallSink::default(),
            message: ParsedMessage::default(),
            held: String::new(),
            gap: "",
            has_content: false,
            has_reasoning: false,
            thought: None,
        }
    }

    /// It for a text in the middle of content or reasoning.
    pub(super) fn continuing(self) -> Self {
        let state = match self.state {
            State::Header { .. } => State::Content,
            other => other,
        };
        Self { state, at_start: false, may_be_bare: false, ..self }
    }

    /// Takes the next piece, and gives what the message has more.
    pub fn feed(&mut self, piece: &str) -> Vec<Delta> {
        self.input.push_str(piece);
        self.run(false)
    }

    /// Says that the message ends, and gives what the end makes certain.
    pub fn finish(&mut self) -> Vec<Delta> {
        self.run(true)
    }

    /// The message so far.
    pub fn message(&self) -> &ParsedMessage {
        &self.message
    }

    /// The message, taken out.
    pub fn into_message(self) -> ParsedMessage {
        self.message
    }

    fn run(&mut self, at_end: bool) -> Vec<Delta> {
        let mut input = std::mem::take(&mut self.input);
        let mut place = 0;
        loop {
            let (length, goes_on) = self.step(&input[place..], at_end);
            place += length;
            if !self.again.is_empty() {
                input = std::mem::take(&mut self.again) + &input[place..];
                place = 0;
            }
            if !goes_on {
                break;
            }
        }
        input[place..].clone_into(&mut self.input);
        if at_end {
            self.end();
        }
        let deltas = std::mem::take(&mut self.sink.deltas);
        for delta in &deltas {
            self.message.apply(delta);
        }
        deltas
    }

    fn step(&mut self, rest: &str, at_end: bool) -> Step {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Content => self.in_content(rest, at_end),
            State::Reasoning(pair) => self.in_reasoning(rest, pair, at_end),
            State::Between { raw, is_first } => self.between(rest, raw, is_first, at_end),
            State::Header { raw } => self.header(rest, raw, at_end),
            State::Recipient => self.recipient(rest, at_end),
            State::Call { reader, raw, lead, from } => self.in_call(rest, reader, (raw, lead), from, at_end),
            State::AfterCall => self.after_call(rest, at_end),
        }
    }

    fn in_content(&mut self, rest: &str, at_end: bool) -> Step {
        if self.may_be_bare {
            let space = rest.len() - rest.trim_start().len();
            match rest[space..].chars().next() {
                None if at_end => self.may_be_bare = false,
                None => return (0, false),
                Some('{' | '[') => {
                    self.may_be_bare = false;
                    self.begin_call(rest[..space].to_owned(), false);
                    return (space, true);
                }
                Some(_) => {
                    self.may_be_bare = self.markers.iter().any(|marker| {
                        marker.starts_with(&rest[space..]) || rest[space..].starts_with(marker)
                    });
                }
            }
        }
        match find_marker(rest, &self.markers, at_end) {
            Found::At { place, marker } => {
                self.content(&rest[..place]);
                let length = self.markers[marker].len();
                self.marker(self.roles[marker], &rest[place..place + length]);
                (place + length, true)
            }
            Found::Maybe { place } => {
                self.content(&rest[..place]);
                (place, false)
            }
            Found::None => {
                self.content(rest);
                (rest.len(), false)
            }
        }
    }

    fn marker(&mut self, role: Role, text: &str) {
        match role {
            Role::Dropped => {
                if !self.format.space_after_content.is_empty() {
                    self.held.clear();
                }
                self.at_start = true;
            }
            Role::Recipient => {
                self.held.clear();
                self.state = State::Recipient;
            }
            Role::Reasoning(pair) => {
                self.held.clear();
                self.at_start = true;
                self.gap = if self.has_reasoning { "\n\n" } else { "" };
                self.state = State::Reasoning(pair);
            }
            Role::Section => self.state = State::Between { raw: self.raw_before_call(text), is_first: true },
            Role::Call => {
                let raw = self.raw_before_call(text);
                if self.content_name().is_some() {
                    self.state = State::Header { raw };
                } else {
                    self.begin_call(raw, true);
                }
            }
        }
    }

    /// What becomes content if a call that begins with `marker` is none.
    fn raw_before_call(&mut self, marker: &str) -> String {
        if self.format.has_space_before_calls {
            return std::mem::take(&mut self.held) + marker;
        }
        self.release();
        marker.to_owned()
    }

    fn begin_call(&mut self, raw: String, is_marked: bool) {
        if let Some(calls) = &self.format.calls {
            let reader = Box::new(CallReader::new(calls, is_marked));
            self.state = State::Call { reader, lead: raw.len(), raw, from: self.sink.count };
        }
    }

    fn content_name(&self) -> Option<&str> {
        match self.format.calls.as_ref().map(|calls| &calls.body) {
            Some(Body::NamedJson { content_name, .. }) => content_name.as_deref(),
            _ => None,
        }
    }

    /// After the beginning of a section, or between two calls.
    fn between(&mut self, rest: &str, mut raw: String, is_first: bool, at_end: bool) -> Step {
        let text = rest.trim_start();
        let space = rest.len() - text.len();
        let Some(calls) = self.format.calls.clone() else { return (0, true) };
        if text.is_empty() && !at_end {
            self.state = State::Between { raw, is_first };
            return (0, false);
        }
        for (marker, is_call) in [(&calls.call.start, true), (&calls.section.end, false)] {
            if marker.trim().is_empty() || text.is_empty() {
                continue;
            }
            match loose_match(text, marker) {
                Loose::Is(length) => {
                    if is_call {
                        raw.push_str(&rest[..space + length]);
                        self.begin_call_or_header(raw);
                    } else {
                        self.after_calls();
                    }
                    return (space + length, true);
                }
                Loose::Maybe if !at_end => {
                    self.state = State::Between { raw, is_first };
                    return (0, false);
                }
                _ => {}
            }
        }
        if !is_first
            && text.starts_with([',', ';'])
            && calls.begins_body(text[1..].trim_start()) != Some(false)
        {
            if text[1..].trim_start().is_empty() && !at_end {
                self.state = State::Between { raw, is_first };
                return (0, false);
            }
            raw.push_str(&rest[..=space]);
            self.state = State::Between { raw, is_first: true };
            return (space + 1, true);
        }
        let may_begin = calls.call.start.trim().is_empty()
            || matches!(calls.body, Body::Json { .. } | Body::NameKeyed { .. });
        let has_section = !calls.section.start.trim().is_empty();
        if may_begin && (has_section || calls.is_bare()) && calls.begins_body(text) == Some(true) {
            raw.push_str(&rest[..space]);
            self.begin_call(raw, has_section);
            return (space, true);
        }
        if is_first {
            self.warn("calls were announced but none follows");
            self.not_a_call(&raw);
            return (0, true);
        }
        self.after_calls();
        (space, true)
    }

    fn begin_call_or_header(&mut self, raw: String) {
        if self.content_name().is_some() {
            self.state = State::Header { raw };
        } else {
            self.begin_call(raw, true);
        }
    }

    /// Content may follow the calls.
    fn after_calls(&mut self) {
        self.held.clear();
        self.at_start = true;
        self.gap = if self.has_content { "\n\n" } else { "" };
        self.state = State::Content;
    }

    /// Where the name of a tool or the name that stands for content comes.
    fn header(&mut self, rest: &str, raw: String, at_end: bool) -> Step {
        let text = rest.trim_start();
        let name = self.content_name().unwrap_or_default().to_owned();
        let end = text.find(|c| !is_name_char(c));
        match end {
            None if !at_end => {
                self.state = State::Header { raw };
                (0, false)
            }
            _ if text[..end.unwrap_or(text.len())] == *name => {
                self.after_calls();
                (rest.len() - text.len() + name.len(), true)
            }
            _ => {
                self.begin_call(raw, true);
                (0, true)
            }
        }
    }

    /// What is between the beginning and the end of a recipient, which the call itself names again.
    fn recipient(&mut self, rest: &str, at_end: bool) -> Step {
        let Pair { start, end } = self.format.recipient.clone().unwrap_or_default();
        let length = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
        match loose_match(&rest[length..], &end) {
            Loose::Is(end) => {
                self.at_start = true;
                (length + end, true)
            }
            Loose::Maybe if !at_end => {
                self.state = State::Recipient;
                (0, false)
            }
            _ => {
                self.raw_content(&start);
                (0, true)
            }
        }
    }

    fn in_call(
        &mut self,
        rest: &str,
        mut reader: Box<CallReader>,
        (mut raw, lead): (String, usize),
        from: usize,
        at_end: bool,
    ) -> Step {
        let (length, progress) = reader.read(rest, at_end, &self.tools, &mut self.sink);
        raw.push_str(&rest[..length]);
        let why = match progress {
            Progress::Done => {
                self.thought = None;
                self.state = State::AfterCall;
                return (length, true);
            }
            Progress::More if !at_end => {
                self.state = State::Call { reader, raw, lead, from };
                return (length, false);
            }
            Progress::More => "the text ends before it does".to_owned(),
            Progress::Failed(why) => why,
        };
        if self.sink.count > from {
            self.sink.deltas.push(Delta::CallsDropped { from });
            self.sink.count = from;
        }
        self.sink.is_open = false;
        let is_marked = raw.trim_start().chars().next().is_some_and(|c| c != '{' && c != '[');
        if is_marked || self.format.calls.as_ref().is_some_and(|calls| !calls.is_bare()) {
            self.warn(&format!("a call could not be read: {why}"));
        }
        self.may_be_bare = false;
        self.failures += 1;
        if self.failures == MAX_FAILURES {
            self.forget_calls();
        }
        // What announced the call is content. The rest may be anything and is read again.
        raw[lead..].clone_into(&mut self.again);
        self.not_a_call(&raw[..lead]);
        (length, true)
    }

    /// From here on nothing begins a call: a text that is full of what looks like calls must not be read over and over.
    fn forget_calls(&mut self) {
        let kept = |role: &Role| !matches!(role, Role::Section | Role::Call);
        let mut roles = self.roles.iter();
        self.markers.retain(|_| roles.next().is_some_and(kept));
        self.roles.retain(kept);
    }

    fn after_call(&mut self, rest: &str, at_end: bool) -> Step {
        let end =
            self.format.calls.as_ref().map(|calls| calls.call.end.trim().to_owned()).unwrap_or_default();
        let text = rest.trim_start();
        let next = State::Between { raw: String::new(), is_first: false };
        let length = match loose_match(text, &end) {
            _ if end.is_empty() => 0,
            Loose::Is(length) => rest.len() - text.len() + length,
            Loose::Maybe if !at_end => {
                self.state = State::AfterCall;
                return (0, false);
            }
            // The first of several tags alone will do.
            _ => match loose_match(text, first_tag(&end)) {
                Loose::Is(length) => rest.len() - text.len() + length,
                _ => 0,
            },
        };
        self.state = next;
        (length, true)
    }
}
