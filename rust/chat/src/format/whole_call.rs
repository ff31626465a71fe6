//! Calls that are read at once when they are complete.

use super::literal::{gemma_call, literal, python_calls};
use super::marker::{Found, find_marker};
use super::sink::{CallSink, Progress};
use super::tool_types::{Kind, ToolTypes};

/// Collects the text of calls up to what ends them.
#[derive(Debug)]
pub(super) struct WholeCall {
    end: String,
    form: Form,
    text: String,
}

/// How the calls are written.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Python,
    Gemma,
    Elements { prefix: String },
}

impl WholeCall {
    pub(super) fn new(form: Form, end: &str) -> Self {
        Self { end: end.trim().to_owned(), form, text: String::new() }
    }

    /// Reads on; how many bytes of the input were the calls', and how far they have come.
    pub(super) fn read(
        &mut self,
        input: &str,
        at_end: bool,
        tools: &ToolTypes,
        sink: &mut CallSink,
    ) -> (usize, Progress) {
        let (length, is_closed) = match find_marker(input, std::slice::from_ref(&self.end), at_end) {
            Found::At { place, .. } => (place, true),
            Found::Maybe { place } => (place, false),
            Found::None => (input.len(), at_end),
        };
        self.text.push_str(&input[..length]);
        let progress = match is_closed {
            false => Progress::More,
            true if self.take(tools, sink) => Progress::Done,
            true => Progress::Failed("it cannot be read".to_owned()),
        };
        (length, progress)
    }

    /// Reads the calls from the text.
    fn take(&self, tools: &ToolTypes, sink: &mut CallSink) -> bool {
        let text = self.text.as_str();
        let calls = match &self.form {
            Form::Python => python_calls(text),
            Form::Gemma => gemma_call(text).map(|call| vec![call]),
            Form::Elements { prefix } => {
                elements_call(&text.replace(prefix.as_str(), ""), tools).map(|call| vec![call])
            }
        };
        for (name, arguments) in calls.iter().flatten() {
            sink.begin(name, None);
            sink.arguments(arguments);
            sink.end();
        }
        calls.is_some()
    }
}

/// What an element is to be, and what it is if there is nothing in it.
type Expected = (Kind, Option<&'static str>);

/// `name">`, then elements of arguments.
fn elements_call(text: &str, tools: &ToolTypes) -> Option<(String, String)> {
    let (name, rest) = text.split_once('>')?;
    let name = name.trim().trim_matches('"');
    let (inner, rest) = object(rest, 0, &|key| (tools.kind(name, key), tools.empty(name, key)))?;
    (rest.trim().is_empty() && !name.is_empty()).then_some((name.to_owned(), inner))
}

/// Elements up to the end of what is around them, as a JSON object or array.
fn object<'a>(mut text: &'a str, depth: usize, kind: &dyn Fn(&str) -> Expected) -> Option<(String, &'a str)> {
    if depth > 64 {
        return None;
    }
    let mut keys: Vec<String> = Vec::new();
    let mut values = Vec::new();
    loop {
        let trimmed = text.trim_start();
        if trimmed.is_empty() || trimmed.starts_with("</") {
            text = trimmed;
            break;
        }
        let (key, rest) = trimmed.strip_prefix('<')?.split_once('>')?;
        let (value, rest) = if kind(key).0 != Kind::String && starts_element(rest) {
            object(rest, depth + 1, &|_| (Kind::Unknown, None))?
        } else {
            leaf(rest, key, kind(key))?
        };
        text = rest.trim_start().strip_prefix(&format!("</{key}>"))?;
        keys.push(key.to_owned());
        values.push(value);
    }
    let is_list = !keys.is_empty() && keys.iter().all(|key| key == "item") && depth > 0;
    let parts: Vec<String> = if is_list {
        values
    } else {
        keys.iter()
            .zip(&values)
            .map(|(key, value)| format!("{}: {value}", serde_json::Value::from(key.as_str())))
            .collect()
    };
    let joined = parts.join(", ");
    Some((if is_list { format!("[{joined}]") } else { format!("{{{joined}}}") }, text))
}

fn starts_element(text: &str) -> bool {
    let name =
        text.trim_start().strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    }) && name.is_some_and(|name| text.contains(&format!("</{name}>")))
}

fn leaf<'a>(text: &'a str, key: &str, (kind, empty): Expected) -> Option<(String, &'a str)> {
    let place = text.find(&format!("</{key}>"))?;
    let inner = &text[..place];
    if let Some(empty) = empty.filter(|_| inner.trim().is_empty()) {
        return Some((empty.to_owned(), &text[place..]));
    }
    let value = literal(inner)
        .filter(|value| kind != Kind::String && !value.starts_with('"'))
        .unwrap_or_else(|| serde_json::Value::from(inner).to_string());
    Some((value, &text[place..]))
}
