//! Arrays and objects.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::check::count;
use super::join;
use super::lower::{Draft, Effort, Lowerer};
use super::scalar::{probe, takes};
use crate::constraint::GrammarError;

/// The largest count of items or properties that is enforced.
const MAX_COUNT: u64 = 10_000;
/// How many dependencies of one object are enforced: each doubles the ways to fit it.
const MAX_DEPENDENCIES: usize = 4;

impl Lowerer<'_> {
    pub(super) fn arrays(
        &mut self,
        draft: &mut Draft,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), GrammarError> {
        if !takes(map, "array") {
            return Ok(());
        }
        let tuple = if map.get("items").is_some_and(Value::is_array) { "items" } else { "prefixItems" };
        let rest = if tuple == "items" { "additionalItems" } else { "items" };
        if let Some(items) = map.get(tuple).and_then(Value::as_array) {
            let path = join(at, tuple);
            let items: Result<Vec<Value>, _> =
                (0..items.len()).map(|i| self.child(&join(&path, i))).collect();
            draft.set("prefixItems", Value::Array(items?));
        }
        let applied = ["$ref", "allOf", "anyOf", "oneOf", "if"].iter().any(|key| map.contains_key(*key));
        let rest = if map.contains_key(rest) { rest } else { "unevaluatedItems" };
        if rest == "unevaluatedItems" && applied && map.contains_key(rest) {
            self.limit(at, rest, "not enforced beside schemas that apply to the same array");
        } else if map.contains_key(rest) {
            let items = self.child(&join(at, rest))?;
            draft.set("items", items);
        }
        self.counts(draft, map, at, "minItems", "maxItems");
        let at_most_one = map.get("maxItems").and_then(Value::as_f64).is_some_and(|most| most <= 1.0);
        if map.get("uniqueItems") == Some(&Value::Bool(true)) && !at_most_one {
            self.limit(at, "uniqueItems", "items may repeat");
        }
        let least = map.get("minContains").and_then(Value::as_f64).unwrap_or(1.0);
        if map.contains_key("contains") && (least > 0.0 || map.contains_key("maxContains")) {
            self.limit(at, "contains", "not enforced");
        }
        Ok(())
    }

    fn counts(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str, least: &str, most: &str) {
        for key in [least, most] {
            let Some(n) = map.get(key).and_then(|value| count(value, at).ok()) else { continue };
            if n <= MAX_COUNT {
                draft.set(key, json!(n));
            } else {
                self.limit(at, key, format!("counts beyond {MAX_COUNT} are not enforced"));
            }
        }
    }

    pub(super) fn objects(
        &mut self,
        draft: &mut Draft,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), GrammarError> {
        if !takes(map, "object") {
            return Ok(());
        }
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            let path = join(at, "properties");
            let mut lowered = Map::new();
            for name in properties.keys() {
                lowered.insert(name.clone(), self.child(&join(&path, name))?);
            }
            draft.set("properties", Value::Object(lowered));
        }
        self.pattern_properties(draft, map, at)?;
        if map.contains_key("additionalProperties") {
            let lowered = self.child(&join(at, "additionalProperties"))?;
            draft.set("additionalProperties", lowered);
        } else if map.contains_key("unevaluatedProperties") {
            self.unevaluated_properties(draft, map, at)?;
        }
        if let Some(required) = map.get("required") {
            draft.set("required", required.clone());
        }
        self.property_names(draft, map, at);
        self.property_counts(draft, map, at);
        self.dependencies(draft, map, at)
    }

    fn pattern_properties(
        &mut self,
        draft: &mut Draft,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), GrammarError> {
        let Some(patterns) = map.get("patternProperties").and_then(Value::as_object) else { return Ok(()) };
        let path = join(at, "patternProperties");
        let mut lowered = Map::new();
        let mut kept = Map::new();
        for text in patterns.keys() {
            let schema = self.child(&join(&path, text))?;
            let Some(pattern) = self.pattern(text, "patternProperties", at) else { continue };
            kept.insert(pattern.clone(), Value::Bool(true));
            let overlap =
                kept.len() > 1 && probe(&json!({"type": "object", "patternProperties": kept})).is_err();
            if overlap {
                kept.remove(&pattern);
                self.limit(
                    at,
                    "patternProperties",
                    format!("`{text}` is not enforced: it overlaps with a pattern before it"),
                );
            } else {
                lowered.insert(pattern, schema);
            }
        }
        if !lowered.is_empty() {
            draft.set("patternProperties", Value::Object(lowered));
        }
        Ok(())
    }

    /// `unevaluatedProperties`, as what it is where the schemas that apply to the object can be listed.
    fn unevaluated_properties(
        &mut self,
        draft: &mut Draft,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), GrammarError> {
        let rest = self.child(&join(at, "unevaluatedProperties"))?;
        if rest == Value::Bool(true) {
            return Ok(());
        }
        let mut known = Known::default();
        self.collect(at, true, &mut known, &mut HashSet::new());
        if known.open {
            return Ok(());
        }
        if known.uncertain {
            self.limit(at, "unevaluatedProperties", "properties of branches that do not apply are allowed");
        }
        let applied = map.keys().any(|key| APPLIED.contains(&key.as_str()));
        if !applied {
            draft.set("additionalProperties", rest);
            return Ok(());
        }
        let mut also = Map::new();
        also.insert("type".to_owned(), json!("object"));
        also.insert(
            "properties".to_owned(),
            known.names.into_iter().map(|name| (name, Value::Bool(true))).collect(),
        );
        let patterns: Map<String, Value> = known
            .patterns
            .iter()
            .filter_map(|text| self.pattern(text, "patternProperties", at))
            .map(|pattern| (pattern, Value::Bool(true)))
            .collect();
        if !patterns.is_empty() {
            also.insert("patternProperties".to_owned(), Value::Object(patterns));
        }
        also.insert("additionalProperties".to_owned(), rest);
        if takes(map, "null") || !map.contains_key("type") {
            let others = json!({"type": ["null", "boolean", "number", "string", "array"]});
            draft.push(json!({"anyOf": [also, others]}));
        } else {
            draft.push(Value::Object(also));
        }
        Ok(())
    }

    /// The properties that the schema at `at` and those that apply with it know.
    fn collect(&self, at: &str, top: bool, known: &mut Known, seen: &mut HashSet<String>) {
        let Some(map) = self.document.at(at).as_object() else { return };
        if !seen.insert(at.to_owned()) {
            return;
        }
        let names = map.get("properties").and_then(Value::as_object);
        known.names.extend(names.into_iter().flat_map(|names| names.keys().cloned()));
        let patterns = map.get("patternProperties").and_then(Value::as_object);
        known.patterns.extend(patterns.into_iter().flat_map(|patterns| patterns.keys().cloned()));
        known.open |= map.get("additionalProperties").is_some_and(|rest| rest != &Value::Bool(false));
        known.open |=
            !top && map.get("unevaluatedProperties").is_some_and(|rest| rest != &Value::Bool(false));
        if let Some(target) =
            map.get("$ref").and_then(Value::as_str).and_then(|r| self.document.resolve(r, at).ok())
        {
            self.collect(&target, false, known, seen);
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            let n = map.get(key).and_then(Value::as_array).map_or(0, Vec::len);
            known.uncertain |= n > 0 && key != "allOf";
            (0..n).for_each(|i| self.collect(&join(&join(at, key), i), false, known, seen));
        }
        for key in ["if", "then", "else"] {
            known.uncertain |= map.contains_key(key);
            self.collect(&join(at, key), false, known, seen);
        }
        if let Some(schemas) = map.get("dependentSchemas").and_then(Value::as_object) {
            known.uncertain = true;
            for name in schemas.keys() {
                self.collect(&join(&join(at, "dependentSchemas"), name), false, known, seen);
            }
        }
    }

    /// `propertyNames`, as patterns where the schema of names is one of strings alone.
    fn property_names(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str) {
        let Some(names) = map.get("propertyNames") else { return };
        let names = match names {
            Value::Bool(true) => return,
            Value::Bool(false) => {
                draft.set("properties", json!({}));
                draft.set("additionalProperties", json!(false));
                return;
            }
            names => {
                self.document.at(&self.follow(&join(at, "propertyNames"))).as_object().unwrap_or_else(|| {
                    static EMPTY: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
                    names.as_object().unwrap_or_else(|| EMPTY.get_or_init(Map::new))
                })
            }
        };
        let rest = draft.out.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
        let listed = names
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .or_else(|| names.get("const").map(|name| vec![name.clone()]));
        if let Some(listed) = listed {
            let mut properties = Map::new();
            let given = draft.out.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, schema) in given {
                let allowed = listed.contains(&Value::from(name.as_str()));
                properties.insert(name, if allowed { schema } else { Value::Bool(false) });
            }
            if draft.out.contains_key("patternProperties") {
                self.limit(at, "propertyNames", "not enforced beside `patternProperties`");
                return;
            }
            for name in listed.iter().filter_map(Value::as_str) {
                properties.entry(name).or_insert_with(|| rest.clone());
            }
            draft.set("properties", Value::Object(properties));
            draft.set("additionalProperties", json!(false));
            return;
        }
        let bound = |key: &str| names.get(key).and_then(|value| count(value, at).ok());
        let lengths = (bound("minLength"), bound("maxLength"));
        let known = ["type", "pattern", "minLength", "maxLength", "description", "title"];
        let simple = names.keys().all(|key| known.contains(&key.as_str())) && takes(names, "string");
        let pattern = match (names.get("pattern").and_then(Value::as_str), lengths) {
            (None, (None, None)) if simple => return,
            (Some(text), (None, None)) if simple => self.pattern(text, "propertyNames", at),
            (None, (least, most)) if simple => {
                let most = most.map_or(String::new(), |most| most.to_string());
                Some(format!("^(?s:.){{{},{most}}}$", least.unwrap_or(0)))
            }
            _ => None,
        };
        let taken = draft.out.contains_key("patternProperties");
        let usable = pattern.filter(|pattern| {
            !taken && probe(&json!({"type": "object", "patternProperties": {pattern.as_str(): true}})).is_ok()
        });
        match usable {
            Some(pattern) => {
                draft.set("patternProperties", json!({ pattern: rest }));
                draft.set("additionalProperties", json!(false));
            }
            None => self.limit(at, "propertyNames", "not enforced"),
        }
    }

    /// `minProperties` and `maxProperties`, where the engine can count.
    fn property_counts(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str) {
        let bound = |key: &str| map.get(key).and_then(|value| count(value, at).ok());
        let (least, most) = (bound("minProperties"), bound("maxProperties"));
        if least.is_none() && most.is_none() {
            return;
        }
        let required: HashSet<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = draft.out.get("properties").and_then(Value::as_object);
        let possible = properties
            .map_or(0, |names| names.values().filter(|schema| **schema != Value::Bool(false)).count());
        let closed = draft.out.get("additionalProperties") == Some(&Value::Bool(false))
            && !draft.out.contains_key("patternProperties");
        let optional = properties.is_some_and(|names| {
            names
                .iter()
                .any(|(name, schema)| !required.contains(name.as_str()) && *schema != Value::Bool(false))
        });
        let needed_least = least.filter(|&least| least > required.len() as u64);
        let needed_most = most.filter(|&most| !(closed && most >= possible as u64));
        let left = needed_least.map_or(0, |least| least - required.len() as u64);
        let left_most = needed_most.map_or(1, |most| most.saturating_sub(required.len() as u64));
        let one_of_closed = closed && left <= 1 && left_most == 1;
        let mut kept = Map::new();
        for (key, bound) in [("minProperties", needed_least), ("maxProperties", needed_most)] {
            let Some(bound) = bound else { continue };
            if bound > MAX_COUNT {
                self.limit(at, key, format!("counts beyond {MAX_COUNT} are not enforced"));
            } else if optional && !one_of_closed {
                self.limit(at, key, "not enforced beside optional properties");
            } else {
                kept.insert(key.to_owned(), json!(bound));
            }
        }
        draft.out.extend(kept);
    }

    /// What the presence of a property demands: either the property is absent, or what it demands holds.
    fn dependencies(
        &mut self,
        draft: &mut Draft,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), GrammarError> {
        let mut found = 0;
        for key in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let Some(entries) = map.get(key).and_then(Value::as_object) else { continue };
            for (name, demand) in entries {
                found += 1;
                if found > MAX_DEPENDENCIES || self.effort < Effort::Full {
                    self.limit(at, key, format!("what `{name}` demands is not enforced"));
                    continue;
                }
                let holds = if demand.is_array() {
                    json!({ "required": demand })
                } else {
                    self.lower(&join(&join(at, key), name), true)?
                };
                if holds != Value::Bool(true) {
                    draft.push(json!({"anyOf": [{"properties": {name.as_str(): false}}, holds]}));
                }
            }
        }
        Ok(())
    }
}

/// The keywords by which other schemas apply to the same object.
const APPLIED: [&str; 6] = ["$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"];

/// The properties that some schemas know.
#[derive(Default)]
struct Known {
    names: Vec<String>,
    patterns: Vec<String>,
    /// They know every property.
    open: bool,
    /// Which of them apply depends on the value.
    uncertain: bool,
}
