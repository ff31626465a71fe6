//! How a template writes calls.

use super::literal::GEMMA_QUOTE;
use super::output_format::{Body, CallFormat, OutputFormat, Pair, Tagged};
use super::pieces::{around, common_prefix, common_suffix, is_tag, pieces, tags};
use super::probe::{Answer, CONTENT, IDS, KEYS, NAMES, Probe, VALUES};
use super::written::{self, ELEMENT_PREFIX};
use crate::json::JsonReader;
use serde_json::Value;
use std::ops::Range;

/// Calls as a template writes them.
pub(super) struct Derived {
    pub(super) format: CallFormat,
    /// Whether white space is between content and calls.
    pub(super) has_space: bool,
}

/// The text of an answer with calls, and where its parts are.
struct Calls {
    text: String,
    /// Where what is before the first call begins.
    from: usize,
    has_two: bool,
    has_space: bool,
}

/// How the template writes calls, and markers that say nothing; `None` if it writes none.
pub(super) fn derive_calls(probe: &Probe<'_>, format: &OutputFormat) -> Option<(Derived, Vec<String>)> {
    let calls = Calls::of(probe, format)?;
    let text = calls.text.as_str();
    let name = place_of(text, NAMES[0], calls.from)?;
    let value = place_of(text, VALUES[0], calls.from)?;
    let end = content_end(probe);
    let (mut made, rest) = if let Some(json) = json_over(text, calls.from..name.start + 1, value.start) {
        json_calls(&calls, json)?
    } else if let Some(json) = json_over(text, name.end..value.start, value.start) {
        named_json(&calls, &name, json)
    } else if text[name.end..].starts_with('(') {
        plain_calls(&calls, &name, Body::Python)
    } else if text[name.end..].starts_with('{') && text.contains(GEMMA_QUOTE) {
        plain_calls(&calls, &name, Body::Gemma)
    } else if text.contains(ELEMENT_PREFIX) {
        (written::elements(), String::new())
    } else {
        tagged_calls(probe, &calls, &name)?
    };
    made.is_parallel = calls.has_two;
    let mut dropped = Vec::new();
    finish_section(&mut made, &rest, &end, &mut dropped);
    Some((Derived { format: made, has_space: calls.has_space }, dropped))
}

impl Calls {
    /// The first answer with calls that the template writes.
    fn of(probe: &Probe<'_>, format: &OutputFormat) -> Option<Self> {
        let tries = [(2, false), (2, true), (1, false), (1, true)];
        let shows = |text: &String| text.contains(NAMES[0]) && text.contains(VALUES[0]);
        let (has_two, arguments_text, alone) = tries.into_iter().find_map(|(calls, arguments_text)| {
            let text = probe.answer(Answer { calls, arguments_text, ..Answer::default() }).filter(shows)?;
            Some((calls == 2 && text.contains(NAMES[1]), arguments_text, text))
        })?;
        let calls = if has_two { 2 } else { 1 };
        let with_content = probe
            .answer(Answer { has_content: true, calls, arguments_text, ..Answer::default() })
            .filter(shows);
        if let Some(text) = with_content
            && let (Some(content), Some(name)) = (text.find(CONTENT), text.find(NAMES[0]))
            && content < name
            && !text[content + CONTENT.len()..name].contains("CHATBOT_TOKEN")
            && format
                .dropped
                .first()
                .is_none_or(|end| !is_new_turn(&text[content + CONTENT.len()..name], end))
        {
            let from = content + CONTENT.len();
            let has_space = text[from..].starts_with(char::is_whitespace);
            return Some(Self { text, from, has_two, has_space });
        }
        let mut from = common_prefix(&alone, &probe.generation);
        // Empty reasoning and wrappers of content may be in front.
        let markers: Vec<&str> = format
            .reasoning
            .iter()
            .flat_map(|pair| [&*pair.start, &*pair.end])
            .chain(format.dropped.iter().map(|m| &**m))
            .collect();
        loop {
            let rest = &alone[from..];
            let space = rest.len() - rest.trim_start().len();
            match markers.iter().find(|marker| !marker.is_empty() && rest[space..].starts_with(**marker)) {
                Some(marker) => from += space + marker.len(),
                None => break,
            }
        }
        Some(Self { has_space: true, text: alone, from, has_two })
    }

    /// The texts before the first call, between the two and after the last, where each call is `ranges`.
    fn around(&self, first: &Range<usize>, second: Option<&Range<usize>>) -> super::pieces::Around {
        let text = self.text.as_str();
        let last = second.unwrap_or(first);
        around(
            &text[self.from..first.start],
            second.map(|second| &text[first.end..second.start]),
            &text[last.end..],
        )
    }
}

/// Whether between content and call the message ends and another one begins.
fn is_new_turn(between: &str, end: &str) -> bool {
    between.trim_start().starts_with(end)
        && between.trim().len() > end.len()
        && tags(between).count() > 1
        && between.contains("SPECIAL_1")
}

/// What follows content at the end of a message.
fn content_end(probe: &Probe<'_>) -> String {
    let text = probe.answer(Answer { has_content: true, ..Answer::default() }).unwrap_or_default();
    text.split_once(CONTENT).map(|(_, end)| end.to_owned()).unwrap_or_default()
}

fn place_of(text: &str, word: &str, from: usize) -> Option<Range<usize>> {
    let place = text[from..].find(word)? + from;
    Some(place..place + word.len())
}

/// The first JSON value that begins in `range` and goes beyond `over`.
fn json_over(text: &str, range: Range<usize>, over: usize) -> Option<Range<usize>> {
    let starts = text[range.clone()].match_indices(['{', '[']).map(|(place, _)| range.start + place);
    starts.into_iter().find_map(|start| {
        let mut reader = JsonReader::new();
        let length = reader.feed(&text.as_bytes()[start..], |_| {}).ok()?;
        (reader.is_complete() && start + length > over).then_some(start..start + length)
    })
}

fn empty_format(body: Body) -> CallFormat {
    CallFormat {
        section: Pair::default(),
        call: Pair::default(),
        other_starts: Vec::new(),
        separator: String::new(),
        body,
        is_parallel: false,
    }
}

fn with_around(body: Body, around: super::pieces::Around) -> (CallFormat, String) {
    let mut format = empty_format(body);
    format.section.start = around.section_start;
    format.call = Pair::new(around.call_start, around.call_end);
    format.separator = around.separator;
    (format, around.rest)
}

/// Calls that are JSON objects, or a list of them.
fn json_calls(calls: &Calls, json: Range<usize>) -> Option<(CallFormat, String)> {
    let text = calls.text.as_str();
    let value: Value = serde_json::from_str(&text[json.clone()]).ok()?;
    let is_list = value.is_array();
    let object = if is_list { value.get(0)? } else { &value };
    let body = json_body(object, is_list)?;
    let second = if is_list || !calls.has_two {
        None
    } else {
        let name = place_of(text, NAMES[1], json.end)?;
        Some(json_over(text, json.end..name.start + 1, name.end)?)
    };
    let mut found = calls.around(&json, second.as_ref());
    if second.is_none() && !is_list {
        // One call alone does not tell what belongs to it; it has all.
        found.call_start = std::mem::take(&mut found.section_start);
    }
    Some(with_around(body, found))
}

/// Where the name and the arguments are in a call's object.
fn json_body(object: &Value, is_list: bool) -> Option<Body> {
    let fields = object.as_object()?;
    if fields.contains_key(NAMES[0]) {
        return Some(Body::NameKeyed { is_list });
    }
    let wrapper = fields.iter().find(|(_, value)| {
        value.is_object() && value.as_object().is_some_and(|inner| inner.values().any(|v| v == NAMES[0]))
    });
    let inner = wrapper.map_or(Some(fields), |(_, value)| value.as_object())?;
    let key_of = |wanted: &dyn Fn(&Value) -> bool| {
        inner.iter().find(|(_, value)| wanted(value)).map(|(key, _)| key.clone())
    };
    let holds_value = |value: &Value| value.to_string().contains(VALUES[0]);
    let id = fields
        .iter()
        .find(|(key, value)| **value == *IDS[0] || (key.contains("id") && *key != "index"))
        .map(|(key, _)| key.clone());
    Some(Body::Json {
        name: key_of(&|value| value == NAMES[0])?,
        arguments: key_of(&holds_value)?,
        id,
        wrapper: wrapper.map(|(key, _)| key.clone()),
        is_list,
    })
}

/// Calls that are a name and JSON.
fn named_json(calls: &Calls, name: &Range<usize>, json: Range<usize>) -> (CallFormat, String) {
    let text = calls.text.as_str();
    let second = calls.has_two.then(|| {
        let name = place_of(text, NAMES[1], json.end)?;
        let value = place_of(text, VALUES[2], name.end)?;
        Some((name.clone(), json_over(text, name.end..value.start, value.start)?))
    });
    let second = second.flatten();
    let middle = &text[name.end..json.start];
    let id_between = middle.split_once(IDS[0]).map(|(start, end)| Pair::new(start.trim(), end.trim()));
    let has_index = middle.starts_with(":0");
    let middle = match (&id_between, has_index) {
        (Some(_), _) => String::new(),
        (None, true) => middle[2..].trim().to_owned(),
        (None, false) => middle.trim().to_owned(),
    };
    // An id in front is part of the call, what is before it begins the call.
    let id = text[calls.from..name.start].find(IDS[0]).map(|place| calls.from + place);
    let id_before = id.map(|place| text[place + IDS[0].len()..name.start].trim().to_owned());
    let first = id.unwrap_or(name.start)..json.end;
    let second = second.map(|(name, json)| {
        let start = id
            .and_then(|_| text[first.end..name.start].find(IDS[1]))
            .map_or(name.start, |place| first.end + place);
        start..json.end
    });
    let mut found = calls.around(&first, second.as_ref());
    if second.is_none() {
        found.call_start = std::mem::take(&mut found.section_start);
    }
    let prefix = if found.call_start.ends_with("functions.") { "functions." } else { "" };
    let length = found.call_start.len() - prefix.len();
    found.call_start.truncate(length);
    let body = Body::NamedJson {
        prefix: prefix.to_owned(),
        middle,
        id_before,
        id_between,
        has_index,
        content_name: None,
    };
    with_around(body, found)
}

/// Calls whose own form is known.
fn plain_calls(calls: &Calls, name: &Range<usize>, body: Body) -> (CallFormat, String) {
    let text = calls.text.as_str();
    let close = |value: &str, from: usize| {
        let value = text[from..].find(value).map_or(text.len(), |place| from + place + value.len());
        let rest = &text[value..];
        let end = match body {
            Body::Python => rest.find(')').map_or(rest.len(), |place| place + 1),
            _ => rest.find('}').map_or(rest.len(), |place| place + 1),
        };
        value + end
    };
    let first = name.start..close(VALUES[1], name.end);
    let second = place_of(text, NAMES[1], first.end)
        .filter(|_| calls.has_two)
        .map(|name| name.start..close(VALUES[2], name.end));
    let mut found = calls.around(&first, second.as_ref());
    if let Body::Python = body {
        // The list's brackets are the body's.
        let start = found.section_start + &found.call_start;
        let rest = found.rest.trim_start().strip_prefix(']').unwrap_or(&found.rest).to_owned();
        found = super::pieces::Around {
            section_start: start.trim_end_matches('[').trim().to_owned(),
            rest,
            ..Default::default()
        };
    }
    if let Body::Gemma = body {
        let length = found.call_start.trim_end_matches("call:").len();
        found.call_start.truncate(length);
    }
    with_around(body, found)
}

/// Calls with tags around each argument.
fn tagged_calls(probe: &Probe<'_>, calls: &Calls, name: &Range<usize>) -> Option<(CallFormat, String)> {
    let text = calls.text.as_str();
    let key = place_of(text, KEYS[0], name.end)?;
    let value = place_of(text, VALUES[0], key.end)?;
    let next = place_of(text, KEYS[1], value.end)?;
    let last = place_of(text, VALUES[1], next.end)?;
    let (before_key, after_key, after_value) =
        (&text[name.end..key.start], &text[key.end..value.start], &text[value.end..next.start]);
    let key_start = from_open(&before_key[before_key.len() - common_chars_back(before_key, after_value)..]);
    let value_end = after_value[..after_value.len() - key_start.len()].to_owned();
    let name_end = before_key[..before_key.len() - key_start.len()].to_owned();
    let numbers = probe.answer(Answer { calls: 1, numbers: true, ..Answer::default() });
    let marks = numbers.as_deref().and_then(|text| number_mark(text, after_key));
    let (key_end, value_start) = match &marks {
        Some((end, _, start)) => (end.clone(), start.clone()),
        None => split_tags(after_key),
    };
    let tags = Tagged {
        name_end: name_end.trim().to_owned(),
        key_start: key_start.trim().to_owned(),
        has_line_breaks: after_key.ends_with('\n') && value_end.starts_with('\n'),
        value_end: value_end.trim().to_owned(),
        type_marks: marks.map(|(_, marks, _)| marks),
        has_cdata: probe.template.text().contains("CDATA"),
        is_python: false,
        key_end,
        value_start,
    };
    if tags.key_start.is_empty() || tags.key_end.is_empty() || tags.value_end.is_empty() {
        return None;
    }
    let after = text[last.end..].find(tags.value_end.as_str())? + last.end + tags.value_end.len();
    let first = name.start..after;
    let second = place_of(text, NAMES[1], after).filter(|_| calls.has_two).and_then(|name| {
        let value = place_of(text, VALUES[2], name.end)?;
        Some(name.start..text[value.end..].find(tags.value_end.as_str())? + value.end + tags.value_end.len())
    });
    let mut found = calls.around(&first, second.as_ref());
    if second.is_none() {
        found.call_start = std::mem::take(&mut found.section_start);
    }
    let (mut format, rest) = with_around(Body::Tagged(tags), found);
    // Of several tags the last one alone begins a call, too.
    if let Some(place) = format.call.start.rfind('<').filter(|place| *place > 0) {
        format.other_starts.push(format.call.start[place..].to_owned());
    }
    Some((format, rest))
}

/// How many characters two texts share at their ends.
fn common_chars_back(one: &str, other: &str) -> usize {
    one.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// A text from the last opening bracket of its tags on that still has all of the last tag.
fn from_open(text: &str) -> &str {
    let place = text.find('<').or_else(|| text.find('[')).unwrap_or(0);
    &text[place..]
}

/// The end of an argument's name and the beginning of its value, where both are tags.
fn split_tags(text: &str) -> (String, String) {
    let trimmed = text.trim();
    let place = trimmed
        .find('>')
        .map(|place| place + 1)
        .filter(|place| trimmed[*place..].trim_start().starts_with('<'));
    match place {
        Some(place) => (trimmed[..place].to_owned(), trimmed[place..].trim().to_owned()),
        None => (trimmed.to_owned(), String::new()),
    }
}

/// Where strings and numbers differ between an argument's name and its value: what is before, the two marks, and what is after.
fn number_mark(text: &str, strings: &str) -> Option<(String, Pair, String)> {
    let key = place_of(text, KEYS[0], 0)?;
    let value = place_of(text, "7001", key.end)?;
    let numbers = &text[key.end..value.start];
    if numbers == strings {
        return None;
    }
    let before = strings
        .chars()
        .zip(numbers.chars())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum::<usize>();
    let after = common_suffix(&strings[before..], &numbers[before..]);
    // The name ends at the first quote.
    let quote = strings[..before].find('"')? + 1;
    let start = from_quote(strings[strings.len() - after..].trim_start_matches(char::is_alphanumeric));
    let mark = |text: &str| text[quote..text.len() - start.len()].trim().to_owned();
    Some((
        strings[..quote].trim().to_owned(),
        Pair::new(mark(strings), mark(numbers)),
        start.trim().to_owned(),
    ))
}

fn from_quote(text: &str) -> &str {
    text.strip_prefix('"').unwrap_or(text)
}

/// What of the text after the last call ends the section, and what the message.
fn finish_section(format: &mut CallFormat, rest: &str, end: &str, dropped: &mut Vec<String>) {
    let end_tags: Vec<&str> = tags(end).collect();
    let mut kept = rest.strip_suffix(end).filter(|_| !end.trim().is_empty()).unwrap_or(rest);
    if kept.len() == rest.len() {
        let all = pieces(rest);
        let mut length = rest.len();
        for piece in all.iter().rev() {
            let is_end = piece.trim().is_empty() || end_tags.contains(piece);
            if !is_end {
                break;
            }
            length -= piece.len();
        }
        kept = &rest[..length];
    }
    let kept = kept.trim();
    let is_alone = format.section.start.is_empty();
    if is_alone && format.call.end.is_empty() && !format.call.start.is_empty() && !kept.is_empty() {
        // One call alone: the first tag after it is its end.
        let first = pieces(kept).first().filter(|piece| is_tag(piece)).map_or(kept, |piece| *piece);
        first.clone_into(&mut format.call.end);
        tags(&kept[first.len()..]).for_each(|tag| dropped.push(tag.to_owned()));
    } else if is_alone {
        tags(kept).for_each(|tag| dropped.push(tag.to_owned()));
    } else if !matches!(format.body, Body::Elements { .. }) {
        // Tags beyond the section's end belong to the message.
        let length = section_end(kept);
        kept[..length].trim().clone_into(&mut format.section.end);
        tags(&kept[length..]).for_each(|tag| dropped.push(tag.to_owned()));
    }
}

/// How much of the text after the calls is the section's end: all up to its first tag, with it.
fn section_end(text: &str) -> usize {
    let mut length = 0;
    for piece in pieces(text) {
        if is_tag(piece) {
            // Words in front of the tag are the end themselves.
            return if text[..length].trim().is_empty() { length + piece.len() } else { length };
        }
        length += piece.len();
    }
    text.len()
}
