//! Types, values, numbers and strings.

use llguidance::api::{GrammarInit, TopLevelGrammar};
use serde_json::{Map, Value, json};

use super::check::count;
use super::format::{Format, is_annotation, lookup};
use super::integer::Integers;
use super::lower::{Draft, Lowerer};
use super::pattern::{PatternError, translate};
use crate::constraint::engine::guard;
use crate::constraint::limits::parser_limits;

/// The largest integer up to which every one has a 64-bit float of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// The longest length that is enforced; a text of a generation does not come near.
const MAX_LENGTH: u64 = 1_000_000;
const NUMBERS: [&str; 5] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

/// Whether a schema with these `type`s takes values of `name`.
pub(super) fn takes(map: &Map<String, Value>, name: &str) -> bool {
    match map.get("type") {
        None => true,
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().any(|only| only == name),
        Some(_) => false,
    }
}

/// Whether `value` has one of the types of `map`.
pub(super) fn has_type(map: &Map<String, Value>, value: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(number) => {
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            return takes(map, "number") || whole && takes(map, "integer");
        }
    };
    takes(map, name)
}

/// Whether every number in `value` is one that the engine spells exactly.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number
            .as_f64()
            .is_some_and(|float| float.abs() < MAX_EXACT && (float == 0.0 || float.abs() >= 1e-6)),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(map) => map.values().all(is_exact),
        _ => true,
    }
}

impl Lowerer<'_> {
    /// `type`, `enum` and `const`.
    pub(super) fn values(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str) {
        let types = draft.out.get("type").or_else(|| map.get("type")).cloned();
        let mut listed: Option<Vec<Value>> = map.get("enum").and_then(Value::as_array).cloned();
        if let Some(only) = map.get("const") {
            let listed_only = listed.as_ref().is_none_or(|values| values.contains(only));
            listed = Some(if listed_only { vec![only.clone()] } else { Vec::new() });
        }
        let Some(mut values) = listed else {
            if let Some(types) = types {
                draft.set("type", types);
            }
            return;
        };
        let banned = map.get("not").and_then(banned_values).unwrap_or_default();
        values.retain(|value| has_type(map, value) && !banned.contains(value));
        if values.is_empty() {
            draft.never = true;
            return;
        }
        if values.iter().all(is_exact) {
            draft.set("enum", Value::Array(values));
            return;
        }
        let keyword = if map.contains_key("const") { "const" } else { "enum" };
        self.limit(
            at,
            keyword,
            "numbers that 64-bit floats do not hold exactly, or below 1e-6, may be any number",
        );
        let (exact, inexact): (Vec<Value>, Vec<Value>) = values.into_iter().partition(is_exact);
        let kind =
            if inexact.iter().all(|value| value.is_i64() || value.is_u64()) { "integer" } else { "number" };
        let kind = if inexact.iter().all(Value::is_number) { json!({ "type": kind }) } else { json!(true) };
        draft.push(if exact.is_empty() { kind } else { json!({"anyOf": [{ "enum": exact }, kind]}) });
    }

    /// Lengths, patterns and formats.
    pub(super) fn strings(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str) {
        self.check_numbers(draft, at);
        if !takes(map, "string") {
            return;
        }
        let mut out = Map::new();
        for key in ["minLength", "maxLength"] {
            let Some(length) = map.get(key).and_then(|value| count(value, at).ok()) else { continue };
            if length <= MAX_LENGTH {
                out.insert(key.to_owned(), json!(length));
            } else {
                self.limit(at, key, format!("lengths beyond {MAX_LENGTH} are not counted"));
            }
        }
        if let (Some(least), Some(most), None) = (out.get("minLength"), out.get("maxLength"), map.get("type"))
            && least.as_u64() > most.as_u64()
        {
            // No string fits; the other types may.
            let message = "`minLength` above `maxLength` rules every string out, which is not enforced";
            self.limit(at, "minLength", message);
            out.clear();
        }
        let mut patterns = Vec::new();
        if let Some(text) = map.get("pattern").and_then(Value::as_str) {
            patterns.extend(self.pattern(text, "pattern", at));
        }
        if let Some(name) = map.get("format").and_then(Value::as_str) {
            match lookup(name) {
                Format::Engine => {
                    out.insert("format".to_owned(), json!(name));
                }
                Format::Pattern(pattern) => patterns.push(pattern),
                Format::Unknown if is_annotation(name) || name == "int32" => {}
                Format::Unknown => self.limit(at, "format", format!("the format `{name}` is not enforced")),
            }
        }
        let mut patterns = patterns.into_iter();
        if let Some(pattern) = patterns.next() {
            out.insert("pattern".to_owned(), json!(pattern));
        }
        let plain = !out.contains_key("pattern") && !out.contains_key("format");
        if !plain {
            self.affordable(&mut out, at, "pattern");
        }
        draft.out.extend(out);
        for pattern in patterns {
            draft.push(json!({ "pattern": pattern }));
        }
    }

    /// `text` in the engine's syntax, unless the engine cannot match it at all.
    pub(super) fn pattern(&mut self, text: &str, keyword: &str, at: &str) -> Option<String> {
        let translated = match translate(text) {
            Ok(translated) => translated,
            Err(PatternError::Unsupported(what)) => {
                self.limit(at, keyword, format!("`{text}` is not enforced: {what}"));
                return None;
            }
            Err(PatternError::Invalid(_)) => return None,
        };
        if let Some(what) = translated.weaker {
            self.limit(at, keyword, format!("`{text}` is enforced but for {what} in it"));
        }
        match probe(&json!({"type": "string", "pattern": translated.regex})) {
            Err(message) if !is_unsatisfiable(&message) => {
                self.limit(at, keyword, format!("`{text}` is not enforced: it is beyond the engine"));
                None
            }
            _ => Some(translated.regex),
        }
    }

    /// Leaves out what makes a string too costly.
    fn affordable(&mut self, out: &mut Map<String, Value>, at: &str, keyword: &str) {
        let mut schema = out.clone();
        schema.insert("type".to_owned(), json!("string"));
        if !fails(&schema) {
            return;
        }
        for key in ["minLength", "maxLength"] {
            if schema.remove(key).is_some() {
                out.remove(key);
                self.limit(
                    at,
                    key,
                    "not enforced together with the pattern or format: together they are beyond the engine",
                );
            }
        }
        if fails(&schema) {
            let first = if out.contains_key("format") { "format" } else { keyword };
            schema.remove(first);
            out.remove(first);
            self.limit(at, first, "not enforced: it is beyond the engine");
        }
        if fails(&schema) {
            out.clear();
            self.limit(at, keyword, "not enforced: it is beyond the engine");
        }
    }

    /// Bounds and multiples.
    pub(super) fn numbers(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str) {
        if !(takes(map, "number") || takes(map, "integer"))
            || !NUMBERS.iter().any(|key| map.contains_key(*key))
        {
            if map.get("format").and_then(Value::as_str) == Some("int32")
                && takes(map, "integer")
                && map.contains_key("type")
            {
                draft.set("minimum", json!(i32::MIN));
                draft.set("maximum", json!(i32::MAX));
            }
            return;
        }
        if let Some(step) = map.get("multipleOf").filter(|value| value.is_number()) {
            draft.set("multipleOf", step.clone());
        }
        if takes(map, "number") {
            float_bounds(draft, map);
            return;
        }
        let fitted = Integers::of(map).fitted();
        for (keyword, bound) in fitted.bounds {
            draft.set(keyword, bound);
        }
        for (keyword, message) in fitted.limitations {
            self.limit(at, keyword, message);
        }
    }

    /// Leaves out a multiple that the engine cannot count.
    fn check_numbers(&mut self, draft: &mut Draft, at: &str) {
        if !draft.out.contains_key("multipleOf") {
            return;
        }
        let mut schema: Map<String, Value> = draft
            .out
            .iter()
            .filter(|(key, _)| NUMBERS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        schema.insert("type".to_owned(), json!("number"));
        if fails(&schema) {
            draft.out.remove("multipleOf");
            self.limit(at, "multipleOf", "not enforced: the step is beyond the engine");
        }
    }
}

/// Bounds of numbers that need not be integers.
fn float_bounds(draft: &mut Draft, map: &Map<String, Value>) {
    let get = |key: &str| map.get(key).filter(|value| value.is_number());
    for (inclusive, exclusive, low) in
        [("minimum", "exclusiveMinimum", true), ("maximum", "exclusiveMaximum", false)]
    {
        if let Some(bound) = get(inclusive) {
            let strict = map.get(exclusive) == Some(&Value::Bool(true));
            draft.set(if strict { exclusive } else { inclusive }, inner_bound(bound, low));
        }
        if let Some(bound) = get(exclusive) {
            draft.set(exclusive, inner_bound(bound, low));
        }
    }
}

/// The values of a `not` that only lists some.
pub(super) fn banned_values(not: &Value) -> Option<Vec<Value>> {
    let map = not.as_object()?;
    match (map.get("enum").and_then(Value::as_array), map.get("const"), map.len()) {
        (Some(values), None, 1) => Some(values.clone()),
        (None, Some(value), 1) => Some(vec![value.clone()]),
        _ => None,
    }
}

/// A bound beyond the exact integers, moved inwards to the next float.
fn inner_bound(bound: &Value, low: bool) -> Value {
    match bound.as_f64() {
        Some(float) if float.abs() >= MAX_EXACT => {
            json!(if low { float.next_up() } else { float.next_down() })
        }
        _ => bound.clone(),
    }
}

fn fails(schema: &Map<String, Value>) -> bool {
    probe(&Value::Object(schema.clone())).is_err_and(|message| !is_unsatisfiable(&message))
}

fn is_unsatisfiable(message: &str) -> bool {
    message.contains("Unsatisfiable")
}

/// Whether the engine takes `schema` alone; if not, why.
pub(super) fn probe(schema: &Value) -> Result<(), String> {
    let grammar = TopLevelGrammar::from_json_schema(schema.clone());
    let result = guard(|| {
        Ok::<_, String>(
            GrammarInit::Serialized(grammar)
                .to_internal(None, parser_limits())
                .map(drop)
                .map_err(|error| format!("{error:#}")),
        )
    });
    result.unwrap_or_else(|error| Err(error.to_string()))
}
