//! The values of a template, which are Python's.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::ast::MacroDecl;
use super::fault::{Fault, FaultKind, Outcome, type_fault};
use super::iterate::{Generator, Loop};
use super::key::{Key, StrKey};
use super::meter::{Charge, Meter, VALUE_DEPTH};
use super::scope::Scope;
use super::text::Text;

/// What an entry of a list, and of a dictionary, costs.
const ITEM_BYTES: usize = size_of::<Value>();
const ENTRY_BYTES: usize = 2 * ITEM_BYTES + 32;

#[derive(Clone)]
pub(crate) enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    View(ViewKind, Rc<Dict>),
    Range(Rc<Range>),
    Generator(Rc<RefCell<Generator>>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    Macro(Rc<Macro>),
    Method(Rc<(Value, &'static str)>),
    Function(Function),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

/// What the template named and is not there.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) message: String,
    pub(crate) security: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewKind {
    Keys,
    Values,
    Items,
}

/// The functions that every template can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

/// The values of a list or tuple.
pub(crate) struct Items {
    values: Vec<Value>,
    depth: u32,
    /// A group of `groupby`, whose two values have names.
    pub(crate) group: bool,
    _charge: Charge,
}

impl Items {
    pub(crate) fn new(meter: &Rc<Meter>, values: Vec<Value>) -> Outcome<Rc<Self>> {
        Self::with_group(meter, values, false)
    }

    pub(crate) fn with_group(meter: &Rc<Meter>, values: Vec<Value>, group: bool) -> Outcome<Rc<Self>> {
        let charge = meter.take(64 + values.len() * ITEM_BYTES)?;
        let depth = deeper(values.iter().map(Value::depth).max().unwrap_or(0))?;
        Ok(Rc::new(Self { values, depth, group, _charge: charge }))
    }
}

impl std::ops::Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.values
    }
}

/// One level more, unless that is too deep.
fn deeper(depth: u32) -> Outcome<u32> {
    if depth >= VALUE_DEPTH {
        return Err(Fault::new(
            FaultKind::Limit,
            format!("the template nests values deeper than {VALUE_DEPTH} levels"),
        ));
    }
    Ok(depth + 1)
}

/// A dictionary; it keeps the order in which its keys came.
pub(crate) struct Dict {
    entries: IndexMap<Key, Value>,
    depth: u32,
    charge: Charge,
}

impl Dict {
    pub(crate) fn new(meter: &Rc<Meter>) -> Outcome<Self> {
        Ok(Self { entries: IndexMap::new(), depth: 1, charge: meter.take(96)? })
    }

    pub(crate) fn insert(&mut self, key: Value, value: Value) -> Outcome<()> {
        self.charge.grow(ENTRY_BYTES)?;
        self.depth = self.depth.max(deeper(key.depth().max(value.depth()))?);
        self.entries.insert(Key::new(key)?, value);
        Ok(())
    }

    pub(crate) fn insert_str(&mut self, key: &str, user: bool, value: Value) -> Outcome<()> {
        let key = Text::new(self.charge.meter(), key, user)?;
        self.insert(Value::Str(key), value)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&StrKey(key))
    }

    /// The value of any key; keys that cannot be hashed are a fault.
    pub(crate) fn find(&self, key: &Value) -> Outcome<Option<&Value>> {
        if let Value::Str(text) = key {
            return Ok(self.get(text.as_str()));
        }
        Ok(self.entries.get(&Key::new(key.clone())?))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Value, &Value)> {
        self.entries.iter().map(|(key, value)| (key.value(), value))
    }

    pub(crate) fn entry(&self, at: usize) -> Option<(&Value, &Value)> {
        self.entries.get_index(at).map(|(key, value)| (key.value(), value))
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        self.charge.meter()
    }

    /// One entry of a view.
    pub(crate) fn view_item(&self, kind: ViewKind, at: usize) -> Outcome<Option<Value>> {
        let Some((key, value)) = self.entry(at) else { return Ok(None) };
        Ok(Some(match kind {
            ViewKind::Keys => key.clone(),
            ViewKind::Values => value.clone(),
            ViewKind::Items => Value::Tuple(Items::new(self.meter(), vec![key.clone(), value.clone()])?),
        }))
    }
}

#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) start: i128,
    pub(crate) stop: i128,
    pub(crate) step: i128,
}

impl Range {
    pub(crate) fn len(&self) -> usize {
        let (start, stop, step) = (self.start, self.stop, self.step);
        let length = if step > 0 && start < stop {
            stop.saturating_sub(start).saturating_sub(1) / step + 1
        } else if step < 0 && start > stop {
            start.saturating_sub(stop).saturating_sub(1) / step.saturating_neg() + 1
        } else {
            0
        };
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, at: usize) -> Option<Value> {
        (at < self.len()).then(|| Value::Int(self.start + self.step * at as i128))
    }
}

/// The mutable object of `namespace(…)`.
pub(crate) struct Namespace {
    pub(crate) dict: RefCell<Dict>,
}

pub(crate) struct Macro {
    pub(crate) decl: Arc<MacroDecl>,
    pub(crate) scope: Rc<Scope>,
}

pub(crate) struct Cycler {
    pub(crate) items: Vec<Value>,
    pub(crate) at: std::cell::Cell<usize>,
}

pub(crate) struct Joiner {
    pub(crate) separator: Value,
    pub(crate) used: std::cell::Cell<bool>,
}

impl Value {
    pub(crate) fn undefined(message: impl Into<String>) -> Self {
        Self::Undefined(Rc::new(Missing { message: message.into(), security: false }))
    }

    pub(crate) fn list(meter: &Rc<Meter>, values: Vec<Self>) -> Outcome<Self> {
        Ok(Self::List(Items::new(meter, values)?))
    }

    pub(crate) fn tuple(meter: &Rc<Meter>, values: Vec<Self>) -> Outcome<Self> {
        Ok(Self::Tuple(Items::new(meter, values)?))
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The name of the value's type in Python.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(text) if text.is_markup() => "Markup",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(items) if items.group => "_GroupTuple",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(ViewKind::Keys, _) => "dict_keys",
            Self::View(ViewKind::Values, _) => "dict_values",
            Self::View(ViewKind::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Generator(_) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Method(_) => "builtin_function_or_method",
            Self::Function(_) => "function",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
        }
    }

    /// How Jinja names the value in messages about what it lacks.
    pub(crate) fn owner_name(&self) -> String {
        match self {
            Self::None => "None".into(),
            Self::Namespace(_) => "jinja2.utils.Namespace object".into(),
            Self::Loop(_) => "jinja2.runtime.LoopContext object".into(),
            Self::Macro(_) => "jinja2.runtime.Macro object".into(),
            Self::Str(text) if text.is_markup() => "markupsafe.Markup object".into(),
            Self::Tuple(items) if items.group => "jinja2.filters._GroupTuple object".into(),
            other => format!("{} object", other.type_name()),
        }
    }

    /// How many containers lie in each other here, at most.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Dict(dict) | Self::View(_, dict) => dict.depth,
            Self::Generator(generator) => {
                generator.try_borrow().map_or(VALUE_DEPTH, |generator| generator.depth)
            }
            Self::Method(bound) => bound.0.depth() + 1,
            Self::Undefined(_)
            | Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Str(_)
            | Self::Range(_) => 0,
            // Their contents are emptied at the end of the render, one object at a time.
            _ => 1,
        }
    }

    /// Whether the value counts as true.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.as_str().is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len() > 0,
            Self::Range(range) => range.len() > 0,
            Self::Loop(_)
            | Self::Generator(_)
            | Self::Namespace(_)
            | Self::Macro(_)
            | Self::Method(_)
            | Self::Function(_)
            | Self::Cycler(_)
            | Self::Joiner(_) => true,
        }
    }

    /// Fails for what is undefined, with the message of what was looked for.
    pub(crate) fn must_exist(&self) -> Outcome<()> {
        match self {
            Self::Undefined(missing) => {
                let kind = if missing.security { FaultKind::Security } else { FaultKind::Undefined };
                Err(Fault::new(kind, missing.message.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The value as a whole number, where Python takes it as one.
    pub(crate) fn as_index(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(crate) fn must_index(&self) -> Outcome<i128> {
        self.must_exist()?;
        self.as_index().ok_or_else(|| {
            type_fault(format!("'{}' object cannot be interpreted as an integer", self.type_name()))
        })
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            other => other.as_index().map(|value| value as f64),
        }
    }

    pub(crate) fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.as_text().map(Text::as_str)
    }

    /// The number of elements, as Python's `len`.
    pub(crate) fn length(&self) -> Outcome<usize> {
        Ok(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => {
                text.meter().scan(text.as_str().len())?;
                text.chars()
            }
            Self::List(items) | Self::Tuple(items) => items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len(),
            Self::Range(range) => range.len(),
            other => return Err(type_fault(format!("object of type '{}' has no len()", other.type_name()))),
        })
    }
}
