//! Methods of dictionaries, sequences and numbers.

use std::rc::Rc;

use super::arguments::Call;
use super::compare::equal;
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::repr;
use super::text::Builder;
use super::value::{Cycler, Dict, Value, ViewKind};

pub(crate) fn call(
    interpreter: &mut Interpreter<'_>,
    owner: &Value,
    name: &'static str,
    call: Call,
) -> Outcome<Value> {
    match owner {
        Value::Dict(dict) => dict_method(interpreter, dict, name, call),
        Value::List(_) | Value::Tuple(_) | Value::Range(_) => sequence_method(interpreter, owner, name, call),
        Value::Cycler(cycler) => cycler_method(cycler, name, call),
        Value::View(..) => {
            let mut bound = call.bind(name, &["other"], 1)?;
            let other = interpreter.collect(&bound.take(0).unwrap_or(Value::None))?;
            for value in &other {
                if interpreter.contains(owner, value)? {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        }
        Value::Float(value) => float_method(interpreter, *value, name, call),
        _ => int_method(interpreter, owner, name, call),
    }
}

fn dict_method(
    interpreter: &mut Interpreter<'_>,
    dict: &Rc<Dict>,
    name: &'static str,
    call: Call,
) -> Outcome<Value> {
    match name {
        "get" => {
            let mut bound = call.bind(name, &["key", "default"], 1)?;
            let key = bound.take(0).unwrap_or(Value::None);
            Ok(dict.find(&key)?.cloned().unwrap_or_else(|| bound.take(1).unwrap_or(Value::None)))
        }
        "fromkeys" => {
            let mut bound = call.bind(name, &["iterable", "value"], 1)?;
            let keys = interpreter.collect(&bound.take(0).unwrap_or(Value::None))?;
            let value = bound.take(1).unwrap_or(Value::None);
            let mut made = Dict::new(&interpreter.meter)?;
            for key in keys {
                made.insert(key, value.clone())?;
            }
            Ok(Value::Dict(Rc::new(made)))
        }
        _ => {
            call.bind(name, &[], 0)?;
            Ok(match name {
                "items" => Value::View(ViewKind::Items, Rc::clone(dict)),
                "keys" => Value::View(ViewKind::Keys, Rc::clone(dict)),
                "values" => Value::View(ViewKind::Values, Rc::clone(dict)),
                // Dictionaries cannot be changed, so a copy is the dictionary itself.
                _ => Value::Dict(Rc::clone(dict)),
            })
        }
    }
}

fn sequence_method(
    interpreter: &mut Interpreter<'_>,
    owner: &Value,
    name: &'static str,
    call: Call,
) -> Outcome<Value> {
    if name == "copy" {
        call.bind(name, &[], 0)?;
        return Ok(owner.clone());
    }
    let mut bound = call.bind(name, &["value", "start", "stop"], 1)?;
    let wanted = bound.take(0).unwrap_or(Value::None);
    let values = interpreter.collect(owner)?;
    let length = values.len() as i128;
    let place = |value: i128| (if value < 0 { value + length } else { value }).clamp(0, length) as usize;
    let (start, stop) = (place(bound.index(1, 0)?), place(bound.index(2, length)?));
    let mut count = 0;
    for (at, value) in values.iter().enumerate() {
        if equal(&interpreter.meter, value, &wanted)? {
            if name == "index" && (start..stop).contains(&at) {
                return Ok(Value::Int(at as i128));
            }
            count += 1;
        }
    }
    if name == "index" {
        let mut out = Builder::new(&interpreter.meter)?;
        repr::write_repr(&mut out, &wanted)?;
        return Err(value_fault(format!("{} is not in {}", out.into_parts().0, owner.type_name())));
    }
    Ok(Value::Int(count))
}

fn cycler_method(cycler: &Rc<Cycler>, name: &'static str, call: Call) -> Outcome<Value> {
    call.bind(name, &[], 0)?;
    if name == "reset" {
        cycler.at.set(0);
        return Ok(Value::None);
    }
    let at = cycler.at.get();
    cycler.at.set((at + 1) % cycler.items.len());
    Ok(cycler.items[at].clone())
}

fn float_method(
    interpreter: &mut Interpreter<'_>,
    value: f64,
    name: &'static str,
    call: Call,
) -> Outcome<Value> {
    call.bind(name, &[], 0)?;
    match name {
        "is_integer" => Ok(Value::Bool(value.is_finite() && value.fract() == 0.0)),
        "conjugate" => Ok(Value::Float(value)),
        _ => Err(type_fault(format!(
            "the method `{name}` of floats is not there for templates ({} values)",
            interpreter.line
        ))),
    }
}

fn int_method(
    interpreter: &mut Interpreter<'_>,
    owner: &Value,
    name: &'static str,
    call: Call,
) -> Outcome<Value> {
    let value = owner.must_index()?;
    call.bind(name, &[], 0)?;
    let magnitude = value.unsigned_abs();
    match name {
        "bit_length" => Ok(Value::Int(i128::from(128 - magnitude.leading_zeros()))),
        "bit_count" => Ok(Value::Int(i128::from(magnitude.count_ones()))),
        "conjugate" => Ok(Value::Int(value)),
        "is_integer" => Ok(Value::Bool(true)),
        "as_integer_ratio" => Value::tuple(&interpreter.meter, vec![Value::Int(value), Value::Int(1)]),
        _ => Err(type_fault(format!("the method `{name}` of whole numbers is not there for templates"))),
    }
}
