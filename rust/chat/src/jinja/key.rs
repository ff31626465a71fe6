//! Values as keys of dictionaries: equal and hashed as Python does it.

use std::hash::{Hash, Hasher};

use indexmap::Equivalent;

use super::compare::equal_keys;
use super::fault::{Outcome, type_fault};
use super::value::Value;

pub(crate) struct Key(Value);

impl Key {
    pub(crate) fn new(value: Value) -> Outcome<Self> {
        check(&value)?;
        Ok(Self(value))
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }
}

fn check(value: &Value) -> Outcome<()> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::Namespace(_) => {
            Err(type_fault(format!("unhashable type: '{}'", value.type_name())))
        }
        Value::Tuple(items) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Str(text) => StrKey(text.as_str()).hash(state),
        Value::Int(number) => number.hash(state),
        Value::Bool(flag) => i128::from(*flag).hash(state),
        Value::Float(number) => match super::number::whole(*number) {
            Some(whole) => whole.hash(state),
            None => number.to_bits().hash(state),
        },
        Value::Tuple(items) => {
            state.write_u8(2);
            for item in items.iter() {
                hash(item, state);
            }
        }
        other => other.type_name().hash(state),
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        equal_keys(&self.0, &other.0)
    }
}

impl Eq for Key {}

/// A string to look up.
pub(crate) struct StrKey<'a>(pub(crate) &'a str);

impl Hash for StrKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(1);
        self.0.hash(state);
    }
}

impl Equivalent<Key> for StrKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        key.0.as_str() == Some(self.0)
    }
}
