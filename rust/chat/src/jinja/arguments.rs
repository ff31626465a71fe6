//! The arguments of a call, evaluated.

use super::fault::{Outcome, type_fault};
use super::repr::quoted;
use super::value::Value;

/// Positional and named arguments.
#[derive(Clone, Default)]
pub(crate) struct Call {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(String, Value)>,
}

/// The arguments of one call, each at the place of its parameter.
pub(crate) struct Bound {
    values: Vec<Option<Value>>,
}

impl Call {
    /// Puts the arguments at the places of `parameters`, of which the first `required` must be given.
    pub(crate) fn bind(self, function: &str, parameters: &[&str], required: usize) -> Outcome<Bound> {
        if self.positional.len() > parameters.len() {
            return Err(type_fault(format!(
                "{function}() takes at most {} arguments ({} given)",
                parameters.len(),
                self.positional.len() + self.named.len()
            )));
        }
        let mut values: Vec<Option<Value>> = self.positional.into_iter().map(Some).collect();
        values.resize_with(parameters.len(), || None);
        for (name, value) in self.named {
            let Some(at) = parameters.iter().position(|parameter| **parameter == name) else {
                return Err(type_fault(format!(
                    "{function}() got an unexpected keyword argument {}",
                    quoted(&name)
                )));
            };
            if values[at].replace(value).is_some() {
                return Err(type_fault(format!(
                    "{function}() got multiple values for argument {}",
                    quoted(&name)
                )));
            }
        }
        if let Some(at) = values.iter().take(required).position(Option::is_none) {
            return Err(type_fault(format!(
                "{function}() missing required argument: {}",
                quoted(parameters[at])
            )));
        }
        Ok(Bound { values })
    }
}

impl Bound {
    pub(crate) fn take(&mut self, at: usize) -> Option<Value> {
        self.values[at].take()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Value> {
        self.values[at].as_ref()
    }

    pub(crate) fn flag(&self, at: usize) -> bool {
        self.values[at].as_ref().is_some_and(Value::truth)
    }

    pub(crate) fn index(&self, at: usize, default: i128) -> Outcome<i128> {
        self.values[at].as_ref().map_or(Ok(default), Value::must_index)
    }
}
