//! Whether a schema is valid: the types of its keywords, after the metaschema of draft 2020-12 with the forms of older drafts.

use serde_json::{Map, Value};

use super::join;
use super::pattern;
use crate::constraint::GrammarError;
use crate::constraint::limits::{MAX_LISTED_VALUES, MAX_SCHEMA_NODES};

pub(super) const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// A schema in a document.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    pub(super) schema: &'a Value,
    pub(super) path: String,
    /// The number of the schema around it among those found.
    pub(super) parent: Option<usize>,
}

/// The schemas of a document, each after the one around it.
#[derive(Default, Debug)]
pub(super) struct Findings<'a> {
    pub(super) schemas: Vec<Found<'a>>,
    listed: usize,
}

/// Checks `schema` and everything in it; `at` is its JSON pointer.
pub(super) fn check<'a>(schema: &'a Value, at: &str, found: &mut Findings<'a>) -> Result<(), GrammarError> {
    Checker { found, parent: None }.check(schema, at)
}

struct Checker<'f, 'a> {
    found: &'f mut Findings<'a>,
    parent: Option<usize>,
}

impl<'a> Checker<'_, 'a> {
    fn check(&mut self, schema: &'a Value, at: &str) -> Result<(), GrammarError> {
        if self.found.schemas.len() >= MAX_SCHEMA_NODES {
            return Err(GrammarError::too_large(format!(
                "the schema has more than `{MAX_SCHEMA_NODES}` parts; split it"
            )));
        }
        let map = match schema {
            Value::Bool(_) => None,
            Value::Object(map) => Some(map),
            _ => return Err(GrammarError::schema(at, "a schema must be an object or a boolean")),
        };
        let number = self.found.schemas.len();
        self.found.schemas.push(Found { schema, path: at.to_owned(), parent: self.parent });
        let outer = self.parent.replace(number);
        for (key, value) in map.into_iter().flatten() {
            self.keyword(key, value, &join(at, key))?;
        }
        self.parent = outer;
        Ok(())
    }

    fn keyword(&mut self, key: &str, value: &'a Value, path: &str) -> Result<(), GrammarError> {
        match key {
            "$ref" | "$dynamicRef" | "$recursiveRef" | "format" | "$anchor" | "$dynamicAnchor" | "$id" => {
                string(value, path).map(drop)?;
            }
            "type" => check_type(value, path)?,
            "enum" => self.check_enum(value, path)?,
            "const" => self.count_values(value)?,
            "pattern" => check_pattern(string(value, path)?, path)?,
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {}
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                number(value, path)?;
            }
            "multipleOf" if number(value, path)? <= 0.0 => {
                return Err(GrammarError::schema(path, "must be above 0"));
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => count(value, path).map(drop)?,
            "uniqueItems" if !value.is_boolean() => {
                return Err(GrammarError::schema(path, "must be `true` or `false`"));
            }
            "required" => strings(value, path)?,
            "items" if value.is_array() => self.list(value, path, 0)?,
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
            | "items" => self.check(value, path)?,
            "allOf" | "anyOf" | "oneOf" => self.list(value, path, 1)?,
            "prefixItems" => self.list(value, path, 0)?,
            "properties" | "$defs" | "definitions" | "dependentSchemas" => {
                for (name, schema) in object(value, path)? {
                    self.check(schema, &join(path, name))?;
                }
            }
            "patternProperties" => {
                for (name, schema) in object(value, path)? {
                    let path = join(path, name);
                    check_pattern(name, &path)?;
                    self.check(schema, &path)?;
                }
            }
            "dependentRequired" => {
                for (name, value) in object(value, path)? {
                    strings(value, &join(path, name))?;
                }
            }
            "dependencies" => {
                for (name, value) in object(value, path)? {
                    let path = join(path, name);
                    if value.is_array() { strings(value, &path)? } else { self.check(value, &path)? }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn list(&mut self, value: &'a Value, path: &str, least: usize) -> Result<(), GrammarError> {
        let schemas = value.as_array().filter(|schemas| schemas.len() >= least).ok_or_else(|| {
            GrammarError::schema(path, format!("must be a list of at least {least} schemas"))
        })?;
        for (index, schema) in schemas.iter().enumerate() {
            self.check(schema, &join(path, index))?;
        }
        Ok(())
    }

    fn check_enum(&mut self, value: &'a Value, path: &str) -> Result<(), GrammarError> {
        match value.as_array() {
            Some(values) if !values.is_empty() => self.count_values(value),
            _ => Err(GrammarError::schema(path, "must be a list of at least one value")),
        }
    }

    /// Counts the values that `const` and `enum` list, with those inside them.
    fn count_values(&mut self, value: &Value) -> Result<(), GrammarError> {
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            // A long text is as much work as several short ones.
            self.found.listed += 1 + value.as_str().map_or(0, |text| text.len() / 32);
            if self.found.listed > MAX_LISTED_VALUES {
                return Err(GrammarError::too_large(format!(
                    "`const` and `enum` list more than `{MAX_LISTED_VALUES}` values, counting 32 bytes of a text as one; list fewer"
                )));
            }
            match value {
                Value::Array(values) => stack.extend(values),
                Value::Object(map) => stack.extend(map.values()),
                _ => {}
            }
        }
        Ok(())
    }
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

fn check_pattern(text: &str, path: &str) -> Result<(), GrammarError> {
    match pattern::translate(text) {
        Err(pattern::PatternError::Invalid(message)) => {
            Err(GrammarError::schema(path, format!("not a regular expression: {message}")))
        }
        Err(pattern::PatternError::Unsupported(_)) | Ok(_) => Ok(()),
    }
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
