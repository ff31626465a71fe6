//! The tests behind `is`.

use super::arguments::Call;
use super::compare::{equal, order};
use super::fault::{Outcome, type_fault};
use super::filters;
use super::interpreter::Interpreter;
use super::iterate::is_iterable;
use super::number;
use super::repr;
use super::text::Builder;
use super::value::Value;

const NAMES: [&str; 39] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

fn same(left: &Value, right: &Value) -> bool {
    use std::rc::Rc;
    match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right && (-5..=256).contains(left),
        (Value::List(left), Value::List(right)) => Rc::ptr_eq(left, right),
        (Value::Tuple(left), Value::Tuple(right)) => {
            Rc::ptr_eq(left, right) || (left.is_empty() && right.is_empty())
        }
        (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right),
        (Value::Namespace(left), Value::Namespace(right)) => Rc::ptr_eq(left, right),
        (Value::Str(left), Value::Str(right)) => std::ptr::eq(left.as_str(), right.as_str()),
        _ => false,
    }
}

impl Interpreter<'_> {
    /// Whether `value is name(…)`.
    pub(crate) fn call_test(&mut self, name: &str, value: &Value, call: Call) -> Outcome<bool> {
        self.meter.spend(1)?;
        if let "divisibleby" | "sameas" | "in" | "==" | "eq" | "equalto" | "!=" | "ne" | ">" | "gt"
        | "greaterthan" = name
        {
            return self.binary_test(name, value, call);
        }
        if let "ge" | ">=" | "<" | "lt" | "lessthan" | "<=" | "le" = name {
            return self.binary_test(name, value, call);
        }
        if !exists(name) {
            let message = format!("No test named {} found.", repr::quoted(name));
            return Err(super::fault::Fault::new(super::fault::FaultKind::Value, message));
        }
        call.bind(name, &[], 0)?;
        let rest = |value: &Value| {
            let rest = number::binary(&self.meter, super::ast::BinaryOp::Mod, value, &Value::Int(2))?;
            Ok::<_, super::fault::Fault>(rest)
        };
        Ok(match name {
            "odd" => equal(&self.meter, &rest(value)?, &Value::Int(1))?,
            "even" => equal(&self.meter, &rest(value)?, &Value::Int(0))?,
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" => value.as_str().is_some_and(filters::exists),
            "test" => value.as_str().is_some_and(exists),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "false" => matches!(value, Value::Bool(false)),
            "true" => matches!(value, Value::Bool(true)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "lower" | "upper" => {
                let mut out = Builder::new(&self.meter)?;
                repr::write_str(&mut out, value)?;
                let text = out.into_parts().0;
                let (large, small) =
                    (text.chars().any(char::is_uppercase), text.chars().any(char::is_lowercase));
                if name == "lower" { small && !large } else { large && !small }
            }
            "string" => matches!(value, Value::Str(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            // What is undefined has a length and, for Jinja, items.
            "sequence" => matches!(
                value,
                Value::Undefined(_)
                    | Value::Str(_)
                    | Value::List(_)
                    | Value::Tuple(_)
                    | Value::Dict(_)
                    | Value::Range(_)
            ),
            "iterable" => is_iterable(value),
            "callable" => matches!(
                value,
                Value::Undefined(_)
                    | Value::Macro(_)
                    | Value::Method(_)
                    | Value::Function(_)
                    | Value::Loop(_)
                    | Value::Joiner(_)
            ),
            _ => matches!(value, Value::Str(text) if text.is_markup()),
        })
    }

    fn binary_test(&mut self, name: &str, value: &Value, call: Call) -> Outcome<bool> {
        let mut bound = call.bind(name, &["other"], 1)?;
        let other = bound.take(0).unwrap_or(Value::None);
        let ordered = |op: &str| order(&self.meter, value, &other, op);
        Ok(match name {
            "divisibleby" => {
                let rest = number::binary(&self.meter, super::ast::BinaryOp::Mod, value, &other)?;
                equal(&self.meter, &rest, &Value::Int(0))?
            }
            "sameas" => same(value, &other),
            "in" => self.contains(&other, value)?,
            "==" | "eq" | "equalto" => equal(&self.meter, value, &other)?,
            "!=" | "ne" => !equal(&self.meter, value, &other)?,
            ">" | "gt" | "greaterthan" => ordered(">")?.is_some_and(std::cmp::Ordering::is_gt),
            ">=" | "ge" => ordered(">=")?.is_some_and(std::cmp::Ordering::is_ge),
            "<" | "lt" | "lessthan" => ordered("<")?.is_some_and(std::cmp::Ordering::is_lt),
            "<=" | "le" => ordered("<=")?.is_some_and(std::cmp::Ordering::is_le),
            _ => return Err(type_fault(format!("no test `{name}`"))),
        })
    }
}
