//! What comes into a render: JSON values and their origin.

use crate::interrupt::Interrupt;
use std::rc::Rc;

use serde_json::Value as Json;

use super::ast::Ast;
use super::fault::{Fault, FaultKind, Outcome};
use super::interpreter::{Interpreter, Limits, Rendered};
use super::meter::{Meter, VALUE_DEPTH};
use super::moment::Moment;
use super::text::Text;
use super::value::{Dict, Value};

/// One variable of a template.
pub(crate) struct Input<'v> {
    pub(crate) name: &'v str,
    pub(crate) value: &'v Json,
    pub(crate) origin: Origin,
}

/// Whose the text of a variable is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The template's: it may be part of special tokens.
    Template,
    /// The conversation's.
    User,
    /// The conversation's, apart from the names of well-known roles: templates write markers such as `<|user|>` around them.
    Messages,
    /// The application's: single words are the template's, anything else is the conversation's.
    Setting,
}

/// Roles that templates know. A marker cannot be forged with them.
const ROLES: [&str; 12] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "model",
    "ipython",
    "observation",
    "context",
    "environment",
    "assistant_tool_call",
];

impl Origin {
    /// Whether `text` is not the template's.
    fn is_user(self, text: &str) -> bool {
        match self {
            Self::Template => false,
            Self::User | Self::Messages => true,
            Self::Setting => {
                !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
            }
        }
    }
}

/// Bytes that a value holds, roughly.
fn size(value: &Json, depth: u32) -> Outcome<usize> {
    if depth > VALUE_DEPTH {
        let message = format!("what the template is given nests deeper than {VALUE_DEPTH} levels");
        return Err(Fault::new(FaultKind::Limit, message));
    }
    Ok(match value {
        Json::String(text) => text.len() + 160,
        Json::Array(items) => {
            items.iter().try_fold(160, |sum, item| Ok::<_, Fault>(sum + size(item, depth + 1)?))?
        }
        Json::Object(entries) => entries.iter().try_fold(256, |sum, (key, value)| {
            Ok::<_, Fault>(sum + key.len() + 320 + size(value, depth + 1)?)
        })?,
        _ => 64,
    })
}

fn value_of(meter: &Rc<Meter>, json: &Json, origin: Origin) -> Outcome<Value> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value.into()),
            (None, Some(value)) => Value::Int(value.into()),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(Text::new(meter, text, origin.is_user(text))?),
        Json::Array(items) => {
            let values = items.iter().map(|item| value_of(meter, item, origin)).collect::<Outcome<_>>()?;
            Value::list(meter, values)?
        }
        Json::Object(entries) => {
            let mut dict = Dict::new(meter)?;
            for (key, value) in entries {
                let is_role = origin == Origin::Messages && key == "role";
                let known = is_role && value.as_str().is_some_and(|role| ROLES.contains(&role));
                let value = value_of(meter, value, if known { Origin::Template } else { origin })?;
                dict.insert_str(key, origin != Origin::Template, value)?;
            }
            Value::Dict(Rc::new(dict))
        }
    })
}

impl Ast {
    /// Renders the template.
    pub(crate) fn render(
        &self,
        inputs: &[Input<'_>],
        limits: Limits,
        interrupt: Option<Interrupt>,
        now: Moment,
    ) -> Outcome<Rendered> {
        let interpreter = Interpreter::new(self, limits, interrupt, now);
        let meter = Rc::clone(&interpreter.meter);
        let mut variables = Vec::with_capacity(inputs.len());
        for input in inputs {
            // What the template never names it cannot read.
            if self.symbol(input.name).is_none() {
                continue;
            }
            let bytes = size(input.value, 1)?;
            meter.allow(bytes);
            variables.push((input.name.to_string(), value_of(&meter, input.value, input.origin)?));
        }
        interpreter.run(variables)
    }
}
