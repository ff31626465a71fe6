//! Attributes of values, as the sandbox lets templates see them, and calls.

use std::rc::Rc;

use super::arguments::Call;
use super::fault::{Outcome, type_fault};
use super::interpreter::Interpreter;
use super::repr::quoted;
use super::text::Text;
use super::value::{Missing, Value};
use super::{methods, string_methods};

/// Methods that would change a dictionary or a list.
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_CHANGES: [&str; 8] = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];

const DICT_METHODS: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const SEQUENCE_METHODS: [&str; 2] = ["count", "index"];
const INT_METHODS: [&str; 6] =
    ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "is_integer", "to_bytes"];
const FLOAT_METHODS: [&str; 4] = ["as_integer_ratio", "conjugate", "hex", "is_integer"];

/// What Python objects of every kind have, and the sandbox hides.
const HIDDEN: [&str; 25] = [
    "__class__",
    "__delattr__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__getstate__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__le__",
    "__lt__",
    "__ne__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
    "__len__",
];

fn hidden(owner: &Value, name: &str) -> Value {
    let message =
        format!("access to attribute {} of {} object is unsafe.", quoted(name), quoted(owner.type_name()));
    Value::Undefined(Rc::new(Missing { message, security: true }))
}

/// What jinja2's undefined values have of their own, and keep to themselves.
const UNDEFINED_OWN: [&str; 7] = [
    "_fail_with_undefined_error",
    "_undefined_exception",
    "_undefined_hint",
    "_undefined_message",
    "_undefined_name",
    "_undefined_obj",
    "__slots__",
];

/// `missing | attr(name)`: asking an undefined value for anything is an error, but for Python's own names.
pub(crate) fn of_undefined(owner: &Value, name: &str) -> Outcome<Value> {
    if HIDDEN.contains(&name) || UNDEFINED_OWN.contains(&name) {
        return Ok(hidden(owner, name));
    }
    if !(name.starts_with("__") && name.ends_with("__")) {
        owner.must_exist()?;
    }
    Ok(Value::undefined(format!("'jinja2.runtime.Undefined object' has no attribute {}", quoted(name))))
}

fn one_of(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|known| **known == name).copied()
}

impl Interpreter<'_> {
    /// Jinja's `owner.name`: an attribute, or else an item, or else undefined.
    pub(crate) fn attribute(&mut self, owner: &Value, name: &str) -> Outcome<Value> {
        owner.must_exist()?;
        if let Some(value) = self.own_attribute(owner, name)? {
            return Ok(value);
        }
        if let Value::Dict(dict) = owner
            && let Some(value) = dict.get(name)
        {
            return Ok(value.clone());
        }
        Ok(Value::undefined(format!("{} has no attribute {}", quoted(&owner.owner_name()), quoted(name))))
    }

    /// What Python's `getattr` finds.
    pub(crate) fn own_attribute(&mut self, owner: &Value, name: &str) -> Outcome<Option<Value>> {
        if let Value::Namespace(namespace) = owner {
            if name == "__class__" {
                return Ok(Some(hidden(owner, name)));
            }
            let found = namespace.dict.try_borrow().ok().and_then(|dict| dict.get(name).cloned());
            return Ok(found);
        }
        if HIDDEN.contains(&name) {
            return Ok(Some(hidden(owner, name)));
        }
        let method = |name| Some(Value::Method(Rc::new((owner.clone(), name))));
        Ok(match owner {
            Value::Str(_) => string_methods::name(name).and_then(method),
            Value::Dict(_) => match one_of(&DICT_METHODS, name) {
                Some(name) => method(name),
                None => DICT_CHANGES.contains(&name).then(|| hidden(owner, name)),
            },
            Value::List(_) => match one_of(&LIST_METHODS, name) {
                Some(name) => method(name),
                None => LIST_CHANGES.contains(&name).then(|| hidden(owner, name)),
            },
            Value::Tuple(items) => match name {
                "grouper" if items.group => Some(items[0].clone()),
                "list" if items.group => Some(items[1].clone()),
                _ => one_of(&SEQUENCE_METHODS, name).and_then(method),
            },
            Value::Range(range) => match name {
                "start" => Some(Value::Int(range.start)),
                "stop" => Some(Value::Int(range.stop)),
                "step" => Some(Value::Int(range.step)),
                _ => one_of(&SEQUENCE_METHODS, name).and_then(method),
            },
            Value::Int(_) | Value::Bool(_) => match name {
                "real" | "numerator" => owner.as_index().map(Value::Int),
                "imag" => Some(Value::Int(0)),
                "denominator" => Some(Value::Int(1)),
                _ => one_of(&INT_METHODS, name).and_then(method),
            },
            Value::Float(value) => match name {
                "real" => Some(Value::Float(*value)),
                "imag" => Some(Value::Float(0.0)),
                _ => one_of(&FLOAT_METHODS, name).and_then(method),
            },
            Value::Loop(found) => self.loop_attribute(found, name)?,
            Value::Macro(found) => {
                let decl = &found.decl;
                match name {
                    "name" => Some(match &decl.name {
                        Some(name) => Value::Str(Text::new(&self.meter, name, false)?),
                        None => Value::None,
                    }),
                    "arguments" => {
                        let mut names = Vec::new();
                        for (symbol, _) in &decl.parameters {
                            names.push(Value::Str(Text::new(
                                &self.meter,
                                &self.ast.names[*symbol as usize],
                                false,
                            )?));
                        }
                        Some(Value::tuple(&self.meter, names)?)
                    }
                    "catch_kwargs" => Some(Value::Bool(decl.catches_kwargs)),
                    "catch_varargs" => Some(Value::Bool(decl.catches_args)),
                    "caller" => Some(Value::Bool(decl.uses_caller)),
                    _ => None,
                }
            }
            Value::Cycler(cycler) => match name {
                "current" => Some(cycler.items[cycler.at.get()].clone()),
                _ => one_of(&["next", "reset"], name).and_then(method),
            },
            Value::View(..) => one_of(&["isdisjoint"], name).and_then(method),
            _ => None,
        })
    }

    /// Calls a value.
    pub(crate) fn call(&mut self, function: &Value, call: Call) -> Outcome<Value> {
        function.must_exist()?;
        match function {
            Value::Function(function) => self.call_function(*function, call),
            Value::Macro(found) => self.call_macro(&Rc::clone(found), call),
            Value::Loop(found) => {
                let mut bound = call.bind("loop", &["iterable"], 1)?;
                let iterable = bound.take(0).unwrap_or(Value::None);
                self.recurse(&Rc::clone(found), iterable)
            }
            Value::Joiner(joiner) => {
                if joiner.used.replace(true) {
                    return Ok(joiner.separator.clone());
                }
                Ok(Value::Str(Text::new(&self.meter, "", false)?))
            }
            Value::Method(bound) => {
                let (owner, name) = &**bound;
                self.meter.spend(1)?;
                match owner {
                    Value::Str(text) => self.string_method(text, name, call),
                    Value::Loop(found) if *name == "cycle" => found.cycle(&call),
                    Value::Loop(found) => found.changed(self, call),
                    _ => methods::call(self, owner, name, call),
                }
            }
            other => Err(type_fault(format!("'{}' object is not callable", other.type_name()))),
        }
    }
}
