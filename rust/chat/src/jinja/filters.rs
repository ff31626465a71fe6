//! The filters behind `|`.

use super::arguments::Call;
use super::attributes;
use super::fault::{Fault, FaultKind, Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::iterate::{Generator, Stage, iter_of};
use super::repr::{self, quoted};
use super::text::{Builder, Text};
use super::value::Value;

/// The filters that exist.
const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

impl Interpreter<'_> {
    /// Applies the filter of this name.
    pub(crate) fn call_filter(&mut self, name: &str, value: Value, call: Call) -> Outcome<Value> {
        self.meter.spend(1)?;
        match name {
            "items" | "map" | "select" | "reject" | "selectattr" | "rejectattr" | "unique" | "batch"
            | "slice" => self.lazy_filter(name, value, call),
            "string" | "trim" | "upper" | "lower" | "capitalize" | "title" | "replace" | "join"
            | "indent" | "center" | "truncate" | "wordcount" | "urlencode" | "format" | "tojson" => {
                self.text_filter(name, &value, call)
            }
            "int" | "float" | "abs" | "round" | "filesizeformat" => self.number_filter(name, &value, call),
            "default" | "d" => {
                let mut bound = call.bind("do_default", &["default_value", "boolean"], 0)?;
                if value.is_undefined() || (bound.flag(1) && !value.truth()) {
                    return bound.take(0).map_or_else(|| self.made(""), Ok);
                }
                Ok(value)
            }
            "length" | "count" => {
                call.bind("len", &[], 0)?;
                if let Value::Loop(found) = &value {
                    return Ok(self.loop_attribute(found, "length")?.unwrap_or(Value::None));
                }
                Ok(Value::Int(value.length()? as i128))
            }
            "list" => {
                call.bind("do_list", &[], 0)?;
                let values = self.collect(&value)?;
                Value::list(&self.meter, values)
            }
            "first" | "last" => self.end_of(name, &value, call),
            "dictsort" | "sort" | "groupby" | "min" | "max" | "sum" => self.ordered(name, &value, call),
            "reverse" => self.reverse(&value, call),
            "attr" => {
                let bound = call.bind("do_attr", &["name"], 1)?;
                let Some(attribute) = bound.get(0).and_then(Value::as_str) else {
                    return Err(type_fault("attribute name must be string"));
                };
                if value.is_undefined() {
                    return attributes::of_undefined(&value, attribute);
                }
                if let Some(found) = self.own_attribute(&value, attribute)? {
                    return Ok(found);
                }
                let owner = quoted(&value.owner_name());
                Ok(Value::undefined(format!("{owner} has no attribute {}", quoted(attribute))))
            }
            "safe" => {
                call.bind("do_mark_safe", &[], 0)?;
                Ok(Value::Str(self.text_of(&value)?.with_markup(true)?))
            }
            "e" | "escape" | "forceescape" => {
                call.bind("escape", &[], 0)?;
                let text = self.text_of(&value)?;
                if text.is_markup() && name != "forceescape" {
                    return Ok(Value::Str(text));
                }
                let mut out = Builder::new(&self.meter)?;
                out.push_mapped(&text, repr::escape_html)?;
                Ok(Value::Str(out.finish().with_markup(true)?))
            }
            _ if exists(name) => {
                Err(value_fault(format!("the filter `{name}` is not there for chat templates")))
            }
            _ => Err(Fault::new(FaultKind::Value, format!("No filter named {} found.", quoted(name)))),
        }
    }

    pub(crate) fn text_of(&self, value: &Value) -> Outcome<Text> {
        if let Value::Str(text) = value {
            return Ok(text.clone());
        }
        let mut out = Builder::new(&self.meter)?;
        repr::write_str(&mut out, value)?;
        Ok(out.finish())
    }

    /// A text that the template made.
    pub(crate) fn made(&self, text: &str) -> Outcome<Value> {
        Ok(Value::Str(Text::new(&self.meter, text, false)?))
    }

    fn end_of(&mut self, name: &str, value: &Value, call: Call) -> Outcome<Value> {
        call.bind(name, &[], 0)?;
        let found = if name == "first" {
            let mut iter = iter_of(value)?;
            self.advance(&mut iter)?
        } else {
            if matches!(value, Value::Generator(_)) {
                return Err(type_fault("'generator' object is not reversible"));
            }
            if let Value::Str(text) = value {
                let last = text.as_str().chars().next_back().map_or(0, char::len_utf8);
                let length = text.as_str().len();
                if last == 0 { None } else { Some(Value::Str(text.slice(length - last..length)?)) }
            } else {
                self.collect(value)?.pop()
            }
        };
        Ok(found.unwrap_or_else(|| Value::undefined(format!("No {name} item, sequence was empty."))))
    }

    fn reverse(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        call.bind("do_reverse", &[], 0)?;
        if let Value::Str(text) = value {
            let mut out = Builder::new(&self.meter)?;
            let places: Vec<(usize, char)> = text.as_str().char_indices().collect();
            for (at, char) in places.into_iter().rev() {
                out.push_slice(text, at..at + char.len_utf8())?;
            }
            return Ok(Value::Str(out.finish().with_markup(text.is_markup())?));
        }
        let was_generator = matches!(value, Value::Generator(_));
        let mut values = self.collect(value)?;
        values.reverse();
        let list = Value::list(&self.meter, values)?;
        if was_generator { Ok(list) } else { Generator::value(list, Stage::Plain) }
    }
}
