//! The frames of calls: the template's texts around the tools' names and the schemas of their arguments.

use super::literal::GEMMA_QUOTE;
use super::output_format::{Body, CallFormat, Tagged};
use super::tool_types::{Kind, ToolTypes};
use crate::ToolDefinition;
use serde_json::{Value, json};
use tabagent_sampling::constraint::Frame;

/// Ids as models write them.
const ID: &str = "[A-Za-z0-9_.:-]{1,64}";

/// How deep arguments are described where they are not JSON.
const MAX_DEPTH: usize = 6;

/// Makes the frames of calls.
pub(super) struct CallFrames<'a> {
    pub(super) format: &'a CallFormat,
    pub(super) tools: &'a [&'a ToolDefinition],
    /// How many calls there may be.
    pub(super) max: Option<u64>,
    /// Markers that end a message: one of them after a call may be a token that ends the generation.
    pub(super) dropped: &'a [String],
}

impl CallFrames<'_> {
    /// All calls of a message.
    pub(super) fn whole(&self, begins_in_call: bool) -> Frame {
        let section = self.format.section.start.trim();
        let call = self.format.call.start.trim();
        if section.is_empty() {
            let first = if begins_in_call { "" } else { call };
            if first == call {
                return self.calls(call);
            }
            let more = Frame::many(self.call(call), None, self.max.map(|max| max - 1));
            let more = if self.max == Some(1) { Frame::Sequence(Vec::new()) } else { more.optional() };
            return Frame::Sequence(vec![self.call(first), more]);
        }
        Frame::Sequence(vec![text(section), self.after_section_start()])
    }

    /// What follows the beginning of the section.
    pub(super) fn after_section_start(&self) -> Frame {
        let mut parts = vec![self.calls(self.format.call.start.trim())];
        parts.extend(self.end(&self.format.section.end));
        Frame::Sequence(parts)
    }

    /// What follows the beginning of a call.
    pub(super) fn after_call_start(&self) -> Frame {
        self.call("")
    }

    /// What follows `{"name":` where nothing else begins a call.
    pub(super) fn after_name_key(&self) -> Frame {
        let Body::Json { arguments, .. } = &self.format.body else { return self.call("") };
        Frame::Choice(self.tools.iter().map(|tool| Frame::Sequence(after_name(tool, arguments))).collect())
    }

    /// One or more calls, each of which `start` begins.
    fn calls(&self, start: &str) -> Frame {
        match &self.format.body {
            Body::Json { is_list: true, .. } | Body::NameKeyed { is_list: true } => {
                let items = Frame::many(self.object(), Some(text(",")), self.max);
                Frame::Sequence(vec![text("["), items, text("]")])
            }
            Body::Python => {
                let items = Frame::many(self.choice(python), Some(text(",")), self.max);
                Frame::Sequence(vec![text("["), items, text("]")])
            }
            _ => {
                let separator = self.format.separator.trim();
                let separator = (!separator.is_empty()).then(|| text(separator));
                Frame::many(self.call(start), separator, self.max)
            }
        }
    }

    fn choice(&self, make: impl Fn(&ToolDefinition) -> Frame) -> Frame {
        Frame::Choice(self.tools.iter().map(|tool| make(tool)).collect())
    }

    /// A call after `start`, or after what else begins one, with what ends it.
    fn call(&self, start: &str) -> Frame {
        let others = &self.format.other_starts;
        if start.is_empty() || others.is_empty() {
            return self.call_after(start);
        }
        let starts = std::iter::once(start).chain(others.iter().map(|other| other.trim()));
        Frame::Choice(starts.map(|start| self.call_after(start)).collect())
    }

    fn call_after(&self, start: &str) -> Frame {
        let body = match &self.format.body {
            Body::Json { .. } | Body::NameKeyed { .. } => {
                let object = self.object();
                if start.is_empty() { object } else { Frame::Sequence(vec![text(start), object]) }
            }
            Body::NamedJson { .. } => self.choice(|tool| self.named(tool, start)),
            Body::Tagged(tags) => self.choice(|tool| tagged(tool, tags, start)),
            Body::Python => self.choice(python),
            Body::Gemma => self.choice(|tool| {
                let lead = format!("{start}call:{}", tool.name());
                Frame::Sequence(vec![text(&lead), gemma_object(&parameters(tool), 0)])
            }),
            Body::Elements { prefix } => self.choice(|tool| {
                let lead = format!("{start}{}\">", tool.name());
                let mut parts = vec![text(&lead)];
                parts.extend(elements(&parameters(tool), prefix, 0));
                Frame::Sequence(parts)
            }),
        };
        let mut parts = vec![body];
        parts.extend(self.end(&self.format.call.end));
        Frame::Sequence(parts)
    }

    /// A marker at the end; one that may be the end of the generation need not be written.
    fn end(&self, marker: &str) -> Option<Frame> {
        let marker = marker.trim();
        if marker.is_empty() {
            return None;
        }
        let may_end = self.dropped.iter().any(|known| known == marker);
        Some(if may_end { text(marker).optional() } else { text(marker) })
    }

    /// A call that is a JSON object.
    fn object(&self) -> Frame {
        match &self.format.body {
            Body::Json { name, arguments, id, wrapper, .. } => self.choice(|tool| {
                let is_first = id.as_deref() == Some("tool_call_id");
                let written = id.as_deref().map(|id| [key(id), Frame::Regex(format!("\"{}\"", self.id()))]);
                let mut parts = vec![text("{")];
                if let (true, Some(id)) = (is_first, &written) {
                    parts.extend(id.iter().cloned());
                    parts.push(text(","));
                }
                if let Some(wrapper) = wrapper {
                    parts.extend([key("type"), text("\"function\""), text(","), key(wrapper), text("{")]);
                }
                parts.push(key(name));
                parts.extend(after_name(tool, arguments));
                if let (false, Some(id)) = (is_first, written) {
                    // The object's own brace comes last.
                    parts.pop();
                    parts.push(text(","));
                    parts.extend(id);
                    parts.push(text("}"));
                }
                if wrapper.is_some() {
                    parts.push(text("}"));
                }
                Frame::Sequence(parts)
            }),
            _ => self.choice(|tool| {
                Frame::Sequence(vec![text("{"), key(tool.name()), value(&parameters(tool)), text("}")])
            }),
        }
    }

    /// A call that is a name and JSON.
    fn named(&self, tool: &ToolDefinition, start: &str) -> Frame {
        let Body::NamedJson { prefix, middle, id_before, id_between, has_index, .. } = &self.format.body
        else {
            return Frame::Sequence(Vec::new());
        };
        let mut parts = Vec::new();
        let mut lead = start.to_owned();
        if let Some(end) = id_before {
            parts.extend((!lead.is_empty()).then(|| text(&lead)));
            parts.push(Frame::Regex(self.id()));
            end.trim().clone_into(&mut lead);
        }
        parts.push(text(&format!("{lead}{prefix}{}", tool.name())));
        if *has_index {
            parts.push(Frame::Regex(":[0-9]{1,3}".to_owned()));
        }
        if let Some(between) = id_between {
            parts.extend([text(between.start.trim()), Frame::Regex(self.id()), text(between.end.trim())]);
        } else if middle.trim() == "<|message|>" {
            let ways =
                ["<|message|>", "<|constrain|>json<|message|>", "<|channel|>commentary json<|message|>"];
            parts.push(Frame::Choice(ways.iter().map(|way| text(way)).collect()));
        } else if !middle.trim().is_empty() {
            parts.push(text(middle.trim()));
        }
        parts.push(value(&parameters(tool)));
        Frame::Sequence(parts)
    }

    /// Ids; Mistral's are nine letters and digits.
    fn id(&self) -> String {
        let is_mistral = [&self.format.section.start, &self.format.call.start]
            .iter()
            .any(|start| start.trim() == "[TOOL_CALLS]");
        if is_mistral { "[A-Za-z0-9]{9}".to_owned() } else { ID.to_owned() }
    }
}

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

fn value(schema: &Value) -> Frame {
    Frame::Value(schema.to_string())
}

/// A name with its colon.
fn key(name: &str) -> Frame {
    Frame::Sequence(vec![text(&Value::from(name).to_string()), text(":")])
}

/// The name as a JSON string, the arguments, and the end of the object.
fn after_name(tool: &ToolDefinition, arguments: &str) -> Vec<Frame> {
    let name = Value::from(tool.name()).to_string();
    vec![text(&name), text(","), key(arguments), value(&parameters(tool)), text("}")]
}

/// The schema of a tool's arguments: an object, whatever else it says.
fn parameters(tool: &ToolDefinition) -> Value {
    let mut schema = tool.parameters().and_then(Value::as_object).cloned().unwrap_or_default();
    schema.insert("type".to_owned(), "object".into());
    if !schema.contains_key("properties") && !schema.contains_key("$ref") && schema.len() == 1 {
        // Nothing is said of arguments: there are none.
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    Value::Object(schema)
}

/// A part of a schema, with the definitions that it may refer to.
fn part_of(root: &Value, part: &Value) -> Value {
    let Value::Object(fields) = part else { return part.clone() };
    let mut fields = fields.clone();
    for keyword in ["$defs", "definitions"] {
        if let Some(definitions) = root.get(keyword)
            && !fields.contains_key(keyword)
        {
            fields.insert(keyword.to_owned(), definitions.clone());
        }
    }
    Value::Object(fields)
}

/// What a reference from the root leads to, or the schema itself.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(schema)
}

/// The properties of an object, in order, and whether each is required.
fn properties(schema: &Value) -> Vec<(&str, &Value, bool)> {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let all = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    all.map(|(name, part)| (name.as_str(), part, is_required(name))).collect()
}

/// Parts in their order, each there or not as it must be, with commas between.
fn listed(parts: &[(Frame, bool)]) -> Frame {
    let follows = |from: usize| {
        parts[from..].iter().map(|(part, is_required)| {
            let with_comma = Frame::Sequence(vec![text(","), part.clone()]);
            if *is_required { with_comma } else { with_comma.optional() }
        })
    };
    let first_required = parts.iter().position(|(_, is_required)| *is_required);
    // Which part comes first decides which have commas; nothing that is required can be passed over.
    let last = first_required.map_or(parts.len(), |place| place + 1);
    let mut ways: Vec<Frame> = (0..last)
        .map(|first| {
            Frame::Sequence(std::iter::once(parts[first].0.clone()).chain(follows(first + 1)).collect())
        })
        .collect();
    if first_required.is_none() {
        ways.push(Frame::Sequence(Vec::new()));
    }
    Frame::Choice(ways)
}

/// `name(key=value, …)`.
fn python(tool: &ToolDefinition) -> Frame {
    let schema = parameters(tool);
    let arguments: Vec<(Frame, bool)> = properties(&schema)
        .into_iter()
        .map(|(name, part, is_required)| {
            let argument = Frame::Sequence(vec![text(&format!("{name}=")), python_value(&schema, part)]);
            (argument, is_required)
        })
        .collect();
    Frame::Sequence(vec![text(&format!("{}(", tool.name())), listed(&arguments), text(")")])
}

/// A value as JSON writes it; true, false and nothing also as Python does.
fn python_value(root: &Value, part: &Value) -> Frame {
    let plain = value(&part_of(root, part));
    let schema = resolved(root, part);
    let is_any_text = ["enum", "const", "pattern", "format", "minLength", "maxLength"]
        .iter()
        .all(|keyword| schema.get(keyword).is_none());
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if is_any_text => {
            Frame::Choice(vec![plain, Frame::Regex(r"'([^'\\\x00-\x1F]|\\[\\'nrt])*'".to_owned())])
        }
        Some("boolean") => Frame::Choice(vec![plain, Frame::Regex("True|False".to_owned())]),
        _ => plain,
    }
}

/// The name, and each argument between its tags.
fn tagged(tool: &ToolDefinition, tags: &Tagged, start: &str) -> Frame {
    let schema = parameters(tool);
    let kinds = ToolTypes::new(Some(&[json!({"name": tool.name(), "parameters": &schema})]));
    let mut parts = vec![text(&format!("{start}{}", tool.name()))];
    if !tags.name_end.trim().is_empty() {
        parts.push(text(tags.name_end.trim()));
    }
    if tags.type_marks.as_ref().is_some_and(|marks| marks.end.is_empty()) {
        parts.extend([Frame::Regex("index=\"[0-9]{1,3}\"".to_owned()), text("<|sep|>")]);
    }
    for (name, part, is_required) in properties(&schema) {
        let kind = kinds.kind(tool.name(), name);
        let is_text = kind != Kind::Other;
        let mut written = vec![text(&format!("{}{name}{}", tags.key_start.trim(), tags.key_end.trim()))];
        written.extend(type_mark(tags, is_text));
        if !tags.value_start.trim().is_empty() {
            written.push(text(tags.value_start.trim()));
        }
        written.push(tagged_value(&schema, part, is_text, tags.value_end.trim()));
        let written = Frame::Sequence(written);
        parts.push(if is_required { written } else { written.optional() });
    }
    Frame::Sequence(parts)
}

/// What says whether a value is a string.
fn type_mark(tags: &Tagged, is_text: bool) -> Option<Frame> {
    let marks = tags.type_marks.as_ref()?;
    let mark = if is_text { marks.start.trim() } else { marks.end.trim() };
    Some(if mark.is_empty() {
        Frame::Regex("type=\"(number|boolean|object|array|null)\"".to_owned())
    } else {
        text(mark)
    })
}

/// A value with the tag after it.
fn tagged_value(root: &Value, part: &Value, is_text: bool, end: &str) -> Frame {
    if !is_text {
        return Frame::Sequence(vec![python_value(root, part), text(end)]);
    }
    let texts = resolved(root, part).get("enum").and_then(Value::as_array);
    match texts {
        Some(texts) if texts.iter().all(Value::is_string) => {
            let ways =
                texts.iter().filter_map(Value::as_str).map(|way| Frame::Sequence(vec![text(way), text(end)]));
            Frame::Choice(ways.collect())
        }
        _ => Frame::Until(end.to_owned()),
    }
}

/// An object as Gemma writes it.
fn gemma_object(schema: &Value, depth: usize) -> Frame {
    // Gemma's templates write properties by name.
    let mut sorted = properties(schema);
    sorted.sort_by_key(|(name, ..)| *name);
    let items: Vec<(Frame, bool)> = sorted
        .into_iter()
        .map(|(name, part, is_required)| {
            let item = Frame::Sequence(vec![text(&format!("{name}:")), gemma_value(schema, part, depth + 1)]);
            (item, is_required)
        })
        .collect();
    Frame::Sequence(vec![text("{"), listed(&items), text("}")])
}

fn gemma_value(root: &Value, part: &Value, depth: usize) -> Frame {
    let part = resolved(root, part);
    let texts =
        part.get("enum").and_then(Value::as_array).filter(|values| values.iter().all(Value::is_string));
    if let Some(texts) = texts {
        let quoted = texts
            .iter()
            .filter_map(Value::as_str)
            .map(|way| text(&format!("{GEMMA_QUOTE}{way}{GEMMA_QUOTE}")));
        return Frame::Choice(quoted.collect());
    }
    let string = || Frame::Sequence(vec![text(GEMMA_QUOTE), Frame::Until(GEMMA_QUOTE.to_owned())]);
    match part.get("type").and_then(Value::as_str) {
        Some("string") => string(),
        Some("object") if depth < MAX_DEPTH && part.get("properties").is_some() => gemma_object(part, depth),
        Some("array") if depth < MAX_DEPTH => {
            let items = part
                .get("items")
                .map_or_else(|| gemma_scalar(&string), |items| gemma_value(root, items, depth + 1));
            Frame::Sequence(vec![text("["), array(part, items, Some(text(","))), text("]")])
        }
        Some("integer" | "number" | "boolean" | "null") => value(&part_of(root, part)),
        _ => gemma_scalar(&string),
    }
}

/// As many items as the schema of a list allows.
fn array(schema: &Value, item: Frame, separator: Option<Frame>) -> Frame {
    let count = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    let (min, max) = (count("minItems").unwrap_or(0), count("maxItems"));
    if max == Some(0) {
        return Frame::Sequence(Vec::new());
    }
    let mut parts = Vec::new();
    for _ in 1..min {
        parts.push(item.clone());
        parts.extend(separator.clone());
    }
    let rest = Frame::many(item, separator, max.map(|max| max.saturating_sub(min.saturating_sub(1))));
    parts.push(if min == 0 { rest.optional() } else { rest });
    Frame::Sequence(parts)
}

/// What of a tool's schema is not enforced where its arguments are not written as JSON, as the parameter and the keyword.
pub(super) fn unenforced(tool: &ToolDefinition, body: &Body) -> Vec<(String, String)> {
    let keywords: &[&str] = match body {
        Body::Tagged(_) => &["pattern", "format", "minLength", "maxLength"],
        Body::Gemma | Body::Elements { .. } => &[
            "pattern",
            "format",
            "minLength",
            "maxLength",
            "uniqueItems",
            "anyOf",
            "oneOf",
            "allOf",
            "not",
            "contains",
        ],
        _ => &[],
    };
    let schema = parameters(tool);
    let mut found = Vec::new();
    for (name, part, _) in properties(&schema) {
        let text = resolved(&schema, part).to_string();
        for keyword in keywords {
            if text.contains(&format!("\"{keyword}\":")) {
                found.push((name.to_owned(), (*keyword).to_owned()));
            }
        }
    }
    found
}

/// Anything but lists and objects.
fn gemma_scalar(string: &dyn Fn() -> Frame) -> Frame {
    Frame::Choice(vec![string(), value(&json!({"type": ["number", "boolean", "null"]}))])
}

/// The elements of an object's properties, each tag after the marker.
fn elements(schema: &Value, prefix: &str, depth: usize) -> Vec<Frame> {
    let element = |(name, part, is_required): (&str, &Value, bool)| {
        let end = format!("{prefix}</{name}>");
        let frame = Frame::Sequence(vec![
            text(&format!("{prefix}<{name}>")),
            element_value(schema, part, prefix, &end, depth + 1),
        ]);
        if is_required { frame } else { frame.optional() }
    };
    properties(schema).into_iter().map(element).collect()
}

fn element_value(root: &Value, part: &Value, prefix: &str, end: &str, depth: usize) -> Frame {
    let part = resolved(root, part);
    let inner = match part.get("type").and_then(Value::as_str) {
        Some("object") if depth < MAX_DEPTH && part.get("properties").is_some() => {
            elements(part, prefix, depth)
        }
        Some("array") if depth < MAX_DEPTH => {
            let close = format!("{prefix}</item>");
            let any = json!({});
            let item = element_value(root, part.get("items").unwrap_or(&any), prefix, &close, depth + 1);
            let item = Frame::Sequence(vec![text(&format!("{prefix}<item>")), item]);
            vec![array(part, item, None)]
        }
        Some("integer" | "number" | "boolean" | "null") => vec![value(&part_of(root, part))],
        _ => return tagged_value(root, part, true, end),
    };
    Frame::Sequence(inner.into_iter().chain([text(end)]).collect())
}
