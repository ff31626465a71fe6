//! The filters that map, select and cut up, one value after another.

use std::collections::HashSet;

use super::arguments::Call;
use super::fault::{Outcome, value_fault};
use super::interpreter::Interpreter;
use super::iterate::{Generator, Stage};
use super::repr::quoted;
use super::value::Value;

impl Interpreter<'_> {
    /// Applies a filter that gives its values one by one.
    pub(crate) fn lazy_filter(&mut self, name: &str, value: Value, call: Call) -> Outcome<Value> {
        match name {
            "items" => {
                call.bind("do_items", &[], 0)?;
                Generator::value(value, Stage::Pairs)
            }
            "map" => self.map(value, call),
            "select" | "reject" | "selectattr" | "rejectattr" => self.select(name, value, call),
            "unique" => {
                let mut bound = call.bind("do_unique", &["case_sensitive", "attribute"], 0)?;
                let path = self.path(bound.take(1))?;
                Generator::value(
                    value,
                    Stage::Unique { path, case_sensitive: bound.flag(0), seen: HashSet::new() },
                )
            }
            "batch" => {
                let mut bound = call.bind("do_batch", &["linecount", "fill_with"], 1)?;
                Generator::value(
                    value,
                    Stage::Batch { size: bound.index(0, 0)?, fill: bound.take(1), done: false },
                )
            }
            "slice" => {
                let mut bound = call.bind("do_slice", &["slices", "fill_with"], 1)?;
                Generator::value(value, Stage::Slices { count: bound.index(0, 0)?, fill: bound.take(1) })
            }
            _ => Err(value_fault(format!("no filter `{name}`"))),
        }
    }

    pub(crate) fn path(&mut self, attribute: Option<Value>) -> Outcome<Vec<Value>> {
        match attribute {
            None | Some(Value::None) => Ok(Vec::new()),
            Some(Value::Str(text)) => {
                let mut parts = Vec::new();
                for part in text.as_str().split('.') {
                    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                    parts.push(match part.parse() {
                        Ok(index) if digits => Value::Int(index),
                        _ => self.made(part)?,
                    });
                }
                Ok(parts)
            }
            Some(other) => Ok(vec![other]),
        }
    }

    pub(crate) fn path_of(
        &mut self,
        value: &Value,
        path: &[Value],
        default: Option<&Value>,
    ) -> Outcome<Value> {
        let mut value = value.clone();
        for part in path {
            value = self.item(&value, part)?;
            if let Some(default) = default
                && value.is_undefined()
            {
                value = default.clone();
            }
        }
        Ok(value)
    }

    fn map(&mut self, value: Value, mut call: Call) -> Outcome<Value> {
        if call.positional.is_empty()
            && let Some(at) = call.named.iter().position(|(name, _)| name == "attribute")
        {
            let attribute = call.named.remove(at).1;
            let default =
                call.named.iter().position(|(name, _)| name == "default").map(|at| call.named.remove(at).1);
            if let Some((name, _)) = call.named.first() {
                return Err(value_fault(format!("Unexpected keyword argument {}", quoted(name))));
            }
            let path = self.path(Some(attribute))?;
            return Generator::value(
                value,
                Stage::Attribute { path, default: default.filter(|default| !matches!(default, Value::None)) },
            );
        }
        if call.positional.is_empty() {
            return Err(value_fault("map requires a filter argument"));
        }
        let name = self.text_of(&call.positional.remove(0))?;
        Generator::value(value, Stage::Filter { name: name.as_str().to_string(), call })
    }

    fn select(&mut self, name: &str, value: Value, mut call: Call) -> Outcome<Value> {
        let by_attribute = name.ends_with("attr");
        let path = if by_attribute {
            if call.positional.is_empty() {
                return Err(value_fault("Missing parameter for attribute name"));
            }
            let attribute = call.positional.remove(0);
            Some(self.path(Some(attribute))?)
        } else {
            None
        };
        let test = if call.positional.is_empty() {
            None
        } else {
            let name = self.text_of(&call.positional.remove(0))?;
            Some((name.as_str().to_string(), call))
        };
        Generator::value(value, Stage::Select { path, test, keep: name.starts_with("select") })
    }
}
