//! Alternatives, negations and conditions.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::check::TYPES;
use super::join;
use super::lower::{Draft, Lowerer};
use super::scalar::{banned_values, has_type, takes};
use crate::constraint::GrammarError;

/// Up to how many branches of a `oneOf` are compared with each other.
const MAX_COMPARED: usize = 300;
/// How deep two schemas are compared.
const MAX_COMPARE_DEPTH: usize = 4;

impl Lowerer<'_> {
    /// `anyOf` and `oneOf`.
    pub(super) fn alternatives(
        &mut self,
        draft: &mut Draft,
        at: &str,
        key: &str,
        value: &Value,
        merged: bool,
    ) -> Result<(), GrammarError> {
        let path = join(at, key);
        let n = value.as_array().map_or(0, Vec::len);
        if key == "oneOf"
            && let Some(names) = single_required(value)
        {
            draft.push(exactly_one(&names));
            return Ok(());
        }
        let mut branches = Vec::new();
        for index in 0..n {
            let branch = self.lower(&join(&path, index), merged)?;
            if branch == Value::Bool(true) && key == "anyOf" {
                return Ok(());
            }
            if branch != Value::Bool(false) {
                branches.push(branch);
            }
        }
        if key == "oneOf" && !self.all_disjoint(&path, n) {
            self.limit(at, key, "more than one of the schemas may fit");
        }
        match branches.len() {
            0 => draft.never = true,
            1 => draft.push(branches.remove(0)),
            _ => draft.push(json!({ "anyOf": branches })),
        }
        Ok(())
    }

    /// Whether no value fits two of the branches, as far as types, constants and required properties tell.
    fn all_disjoint(&self, path: &str, n: usize) -> bool {
        n <= MAX_COMPARED
            && (0..n)
                .all(|i| (0..i).all(|j| self.disjoint(&join(path, i), &join(path, j), MAX_COMPARE_DEPTH)))
    }

    fn disjoint(&self, one: &str, two: &str, depth: usize) -> bool {
        let (one, two) = (self.follow(one), self.follow(two));
        if one == two || depth == 0 {
            return false;
        }
        let (a, b) = (self.document.at(&one), self.document.at(&two));
        if a == &Value::Bool(false) || b == &Value::Bool(false) {
            return true;
        }
        let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
        let (types_a, types_b) = (types(a), types(b));
        if types_a.is_disjoint(&types_b) {
            return true;
        }
        if let (Some(a), Some(b)) = (listed(a), listed(b)) {
            return a.iter().all(|value| !b.contains(value));
        }
        for (map, values) in [(a, listed(b)), (b, listed(a))] {
            if values.is_some_and(|values| values.iter().all(|value| !has_type(map, value))) {
                return true;
            }
        }
        if !types_a.intersection(&types_b).all(|name| *name == "object") {
            return false;
        }
        let required = |map: &Map<String, Value>| -> HashSet<String> {
            let names = map.get("required").and_then(Value::as_array);
            names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let has =
            |map: &Map<String, Value>, name: &str| map.get("properties").and_then(|p| p.get(name)).is_some();
        let closed = |map: &Map<String, Value>| {
            map.get("additionalProperties") == Some(&Value::Bool(false))
                && !map.contains_key("patternProperties")
        };
        let (required_a, required_b) = (required(a), required(b));
        let shared = required_a.union(&required_b).any(|name| {
            has(a, name)
                && has(b, name)
                && self.disjoint(
                    &join(&join(&one, "properties"), name),
                    &join(&join(&two, "properties"), name),
                    depth - 1,
                )
        });
        shared
            || (closed(b) && required_a.iter().any(|name| !has(b, name)))
            || (closed(a) && required_b.iter().any(|name| !has(a, name)))
    }

    /// `not`, where it can be said in another way.
    pub(super) fn not(&mut self, draft: &mut Draft, map: &Map<String, Value>, at: &str, value: &Value) {
        let inner = match value {
            Value::Bool(false) => return,
            Value::Bool(true) => {
                draft.never = true;
                return;
            }
            value => value.as_object(),
        };
        let Some(inner) = inner else { return };
        let annotations = ["description", "title", "$comment"];
        let keys: Vec<&str> =
            inner.keys().map(String::as_str).filter(|key| !annotations.contains(key)).collect();
        match keys.as_slice() {
            [] => draft.never = true,
            ["type"] if !(takes(inner, "integer") && !takes(inner, "number") && takes(map, "number")) => {
                let mut left: Vec<&str> = TYPES
                    .into_iter()
                    .filter(|name| {
                        takes(map, name)
                            && !takes(inner, name)
                            && !(*name == "integer" && takes(inner, "number"))
                    })
                    .collect();
                if left.contains(&"number") {
                    left.retain(|name| *name != "integer");
                }
                if left.is_empty() {
                    draft.never = true;
                } else {
                    draft.set("type", json!(left));
                }
            }
            ["required"] | ["type", "required"] | ["required", "type"] if takes(inner, "object") => {
                match inner.get("required").and_then(Value::as_array).map(Vec::as_slice) {
                    Some([Value::String(name)]) => draft.push(json!({"properties": {name.as_str(): false}})),
                    _ => self.limit(at, "not", "not enforced"),
                }
            }
            ["anyOf"] => {
                let n = inner.get("anyOf").and_then(Value::as_array).map_or(0, Vec::len);
                for index in 0..n {
                    let path = join(&join(&join(at, "not"), "anyOf"), index);
                    let part = self.document.at(&path).clone();
                    if banned_values(&part).is_some() {
                        self.limit(at, "not", "not enforced");
                    } else {
                        self.not(draft, map, at, &part);
                    }
                }
            }
            _ if banned_values(value).is_some()
                && (map.contains_key("enum") || map.contains_key("const")) => {}
            _ => self.limit(at, "not", "not enforced"),
        }
    }

    /// `if`, `then` and `else`, which the engine does not have.
    pub(super) fn conditional(&mut self, at: &str, map: &Map<String, Value>) {
        let demands = |key: &str| map.get(key).is_some_and(|schema| schema != &Value::Bool(true));
        if demands("then") || demands("else") {
            self.limit(at, "if", "`then` and `else` are not enforced");
        }
    }
}

/// The types of a schema, `number` standing for both kinds of numbers.
fn types(map: &Map<String, Value>) -> HashSet<&'static str> {
    let values = listed(map);
    TYPES
        .into_iter()
        .filter(|name| takes(map, name))
        .filter(|name| {
            values.as_ref().is_none_or(|values| {
                let mut only = Map::new();
                only.insert("type".to_owned(), json!(name));
                values.iter().any(|value| has_type(&only, value))
            })
        })
        .map(|name| if name == "integer" { "number" } else { name })
        .collect()
}

fn listed(map: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (map.get("const"), map.get("enum").and_then(Value::as_array)) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(values)) => Some(values.iter().collect()),
        (None, None) => None,
    }
}

/// The names of a `oneOf` in which every branch demands one property and nothing else.
fn single_required(value: &Value) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = value
        .as_array()?
        .iter()
        .map(|branch| match (branch.as_object()?.len(), branch.get("required")?.as_array()?.as_slice()) {
            (1, [Value::String(name)]) => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.filter(|names| names.len() <= 32 && names.iter().collect::<HashSet<_>>().len() == names.len())
}

fn exactly_one(names: &[String]) -> Value {
    let branches: Vec<Value> = names
        .iter()
        .map(|only| {
            let others: Map<String, Value> = names
                .iter()
                .filter(|name| *name != only)
                .map(|name| (name.clone(), Value::Bool(false)))
                .collect();
            json!({"type": "object", "required": [only], "properties": others})
        })
        .collect();
    json!({ "anyOf": branches })
}
