//! Whether a schema is valid: the types of its keywords, after the metaschema of draft 2020-12 with the forms of older drafts.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::join;
use super::pattern;
use crate::constraint::GrammarError;

pub(super) const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Where the identified and anchored subschemas of a document are, as JSON pointers.
#[derive(Default, Debug)]
pub(super) struct Names {
    pub(super) ids: HashMap<String, String>,
    pub(super) anchors: HashMap<String, String>,
}

/// Checks `schema` and everything in it; `at` is its JSON pointer.
pub(super) fn check(schema: &Value, at: &str, names: &mut Names) -> Result<(), GrammarError> {
    let map = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(map) => map,
        _ => return Err(GrammarError::schema(at, "a schema must be an object or a boolean")),
    };
    for (key, value) in map {
        let path = join(at, key);
        match key.as_str() {
            "$ref" | "$dynamicRef" | "$recursiveRef" | "format" => string(value, &path).map(drop)?,
            "$id" | "id" => {
                // `id` is a keyword in draft 4 alone; elsewhere it may be anything.
                if let Some(id) = value.as_str() {
                    names.ids.insert(id.trim_end_matches('#').to_owned(), at.to_owned());
                } else if key == "$id" {
                    string(value, &path)?;
                }
            }
            "$anchor" | "$dynamicAnchor" => {
                names.anchors.insert(string(value, &path)?.to_owned(), at.to_owned());
            }
            "type" => check_type(value, &path)?,
            "enum" => check_enum(value, &path)?,
            "pattern" => check_pattern(string(value, &path)?, &path)?,
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {}
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                number(value, &path)?;
            }
            "multipleOf" if number(value, &path)? <= 0.0 => {
                return Err(GrammarError::schema(&path, "must be above 0"));
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => count(value, &path).map(drop)?,
            "uniqueItems" if !value.is_boolean() => {
                return Err(GrammarError::schema(&path, "must be `true` or `false`"));
            }
            "required" => strings(value, &path)?,
            "items" if value.is_array() => list(value, &path, 0, names)?,
            "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "additionalItems"
            | "unevaluatedItems"
            | "items" => check(value, &path, names)?,
            "allOf" | "anyOf" | "oneOf" => list(value, &path, 1, names)?,
            "prefixItems" => list(value, &path, 0, names)?,
            "properties" | "$defs" | "definitions" | "dependentSchemas" => {
                for (name, schema) in object(value, &path)? {
                    check(schema, &join(&path, name), names)?;
                }
            }
            "patternProperties" => {
                for (name, schema) in object(value, &path)? {
                    let path = join(&path, name);
                    check_pattern(name, &path)?;
                    check(schema, &path, names)?;
                }
            }
            "dependentRequired" => {
                for (name, value) in object(value, &path)? {
                    strings(value, &join(&path, name))?;
                }
            }
            "dependencies" => {
                for (name, value) in object(value, &path)? {
                    let path = join(&path, name);
                    if value.is_array() { strings(value, &path)? } else { check(value, &path, names)? }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_type(value: &Value, path: &str) -> Result<(), GrammarError> {
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    let fits = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        name => known(name),
    };
    if fits {
        return Ok(());
    }
    let message = format!("must be one of `{}`, or a list of them", TYPES.join("`, `"));
    Err(GrammarError::schema(path, message))
}

fn check_enum(value: &Value, path: &str) -> Result<(), GrammarError> {
    match value.as_array() {
        Some(values) if !values.is_empty() => Ok(()),
        _ => Err(GrammarError::schema(path, "must be a list of at least one value")),
    }
}

fn check_pattern(text: &str, path: &str) -> Result<(), GrammarError> {
    match pattern::translate(text) {
        Err(pattern::PatternError::Invalid(message)) => {
            Err(GrammarError::schema(path, format!("not a regular expression: {message}")))
        }
        Err(pattern::PatternError::Unsupported(_)) | Ok(_) => Ok(()),
    }
}

fn list(value: &Value, path: &str, least: usize, names: &mut Names) -> Result<(), GrammarError> {
    let schemas = value
        .as_array()
        .filter(|schemas| schemas.len() >= least)
        .ok_or_else(|| GrammarError::schema(path, format!("must be a list of at least {least} schemas")))?;
    for (index, schema) in schemas.iter().enumerate() {
        check(schema, &join(path, index), names)?;
    }
    Ok(())
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, GrammarError> {
    value.as_object().ok_or_else(|| GrammarError::schema(path, "must be an object"))
}

fn string<'a>(value: &'a Value, path: &str) -> Result<&'a str, GrammarError> {
    value.as_str().ok_or_else(|| GrammarError::schema(path, "must be a string"))
}

fn strings(value: &Value, path: &str) -> Result<(), GrammarError> {
    match value.as_array() {
        Some(names) if names.iter().all(Value::is_string) => Ok(()),
        _ => Err(GrammarError::schema(path, "must be a list of strings")),
    }
}

fn number(value: &Value, path: &str) -> Result<f64, GrammarError> {
    value.as_f64().ok_or_else(|| GrammarError::schema(path, "must be a number"))
}

/// A non-negative integer, which may be spelled `2.0`.
pub(super) fn count(value: &Value, path: &str) -> Result<u64, GrammarError> {
    let float = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
    value
        .as_u64()
        .or_else(|| value.as_f64().and_then(float))
        .ok_or_else(|| GrammarError::schema(path, "must be an integer of at least 0"))
}
