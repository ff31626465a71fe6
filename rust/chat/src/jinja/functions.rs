//! The functions that every template can call.

use std::cell::Cell;
use std::rc::Rc;

use super::arguments::Call;
use super::fault::{Fault, FaultKind, Outcome, type_fault, value_fault};
use super::interpreter::{Interpreter, check_name};
use super::repr;
use super::text::{Builder, Text};
use super::value::{Cycler, Dict, Function, Joiner, Range, Value};

/// The longest range that the sandbox gives out.
const MOST_OF_RANGE: usize = 100_000;

impl Interpreter<'_> {
    /// Calls a function that every template has.
    pub(crate) fn call_function(&mut self, function: Function, call: Call) -> Outcome<Value> {
        match function {
            Function::Range => Self::range(&call),
            Function::Dict => Ok(Value::Dict(Rc::new(self.dict_of(call)?))),
            Function::Namespace => {
                let dict = self.dict_of(call)?;
                for (key, _) in dict.iter() {
                    if let Some(name) = key.as_str() {
                        check_name(name)?;
                    }
                }
                Ok(self.namespace(dict))
            }
            Function::Cycler => {
                if call.positional.is_empty() {
                    return Err(value_fault("at least one item has to be provided"));
                }
                Ok(Value::Cycler(Rc::new(Cycler { items: call.positional, at: Cell::new(0) })))
            }
            Function::Joiner => {
                let separator = match call.bind("joiner", &["sep"], 0)?.take(0) {
                    Some(separator) => separator,
                    None => Value::Str(Text::new(&self.meter, ", ", false)?),
                };
                Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
            }
            Function::Lipsum => {
                Err(value_fault("`lipsum` writes chance text, which a chat template has no use for"))
            }
            Function::RaiseException => {
                let message = call.bind("raise_exception", &["message"], 1)?.take(0).unwrap_or(Value::None);
                let mut out = Builder::new(&self.meter)?;
                repr::write_str(&mut out, &message)?;
                Err(Fault::new(FaultKind::Raised, out.into_parts().0))
            }
            Function::StrftimeNow => {
                let format = call.bind("strftime_now", &["format"], 1)?.take(0).unwrap_or(Value::None);
                let Some(format) = format.as_str() else {
                    return Err(type_fault(format!(
                        "strftime() argument 1 must be str, not {}",
                        format.type_name()
                    )));
                };
                self.meter.scan(format.len())?;
                let text = self.now.format(format);
                Ok(Value::Str(Text::new(&self.meter, &text, false)?))
            }
        }
    }

    fn range(call: &Call) -> Outcome<Value> {
        if !call.named.is_empty() {
            return Err(type_fault("range() takes no keyword arguments"));
        }
        let numbers = call.positional.iter().map(Value::must_index).collect::<Outcome<Vec<_>>>()?;
        let (start, stop, step) = match numbers.as_slice() {
            [stop] => (0, *stop, 1),
            [start, stop] => (*start, *stop, 1),
            [start, stop, step] => (*start, *stop, *step),
            [] => return Err(type_fault("range expected at least 1 argument, got 0")),
            more => {
                return Err(type_fault(format!("range expected at most 3 arguments, got {}", more.len())));
            }
        };
        if step == 0 {
            return Err(value_fault("range() arg 3 must not be zero"));
        }
        let range = Range { start, stop, step };
        if range.len() > MOST_OF_RANGE {
            let message =
                format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MOST_OF_RANGE}).");
            return Err(value_fault(message));
        }
        Ok(Value::Range(Rc::new(range)))
    }

    /// What `dict(…)` makes of its arguments.
    fn dict_of(&mut self, call: Call) -> Outcome<Dict> {
        let mut made = Dict::new(&self.meter)?;
        if call.positional.len() > 1 {
            return Err(type_fault(format!(
                "dict expected at most 1 argument, got {}",
                call.positional.len()
            )));
        }
        match call.positional.first() {
            None => {}
            Some(Value::Dict(dict)) => {
                for (key, value) in dict.iter() {
                    self.meter.spend(1)?;
                    made.insert(key.clone(), value.clone())?;
                }
            }
            Some(other) => {
                for (at, pair) in self.collect(other)?.iter().enumerate() {
                    let mut pair = self.collect(pair).map_err(|_| {
                        type_fault(format!(
                            "cannot convert dictionary update sequence element #{at} to a sequence"
                        ))
                    })?;
                    if pair.len() != 2 {
                        let length = pair.len();
                        let message = format!(
                            "dictionary update sequence element #{at} has length {length}; 2 is required"
                        );
                        return Err(value_fault(message));
                    }
                    let value = pair.pop().unwrap_or(Value::None);
                    made.insert(pair.pop().unwrap_or(Value::None), value)?;
                }
            }
        }
        for (name, value) in call.named {
            made.insert_str(&name, false, value)?;
        }
        Ok(made)
    }
}
