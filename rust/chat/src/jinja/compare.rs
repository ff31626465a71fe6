//! Comparisons and membership.

use std::cmp::Ordering;
use std::rc::Rc;

use super::fault::{Outcome, type_fault};
use super::meter::Meter;
use super::value::{Items, Value, ViewKind};

/// Whether two keys are equal: `equal`, for values that have been found hashable.
pub(super) fn equal_keys(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Tuple(left), Value::Tuple(right)) => {
            left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| equal_keys(left, right))
        }
        _ => equal_simple(left, right).unwrap_or(false),
    }
}

/// Equality of values that hold no others; `None` for those that do.
fn equal_simple(left: &Value, right: &Value) -> Option<bool> {
    Some(match (left, right) {
        (Value::Str(left), Value::Str(right)) => left.as_str() == right.as_str(),
        (Value::None, Value::None) | (Value::Undefined(_), Value::Undefined(_)) => true,
        (
            Value::Int(_) | Value::Bool(_) | Value::Float(_),
            Value::Int(_) | Value::Bool(_) | Value::Float(_),
        ) => numbers(left, right) == Some(Ordering::Equal),
        (Value::Namespace(left), Value::Namespace(right)) => Rc::ptr_eq(left, right),
        (Value::Loop(left), Value::Loop(right)) => Rc::ptr_eq(left, right),
        (Value::Macro(left), Value::Macro(right)) => Rc::ptr_eq(left, right),
        (Value::Generator(left), Value::Generator(right)) => Rc::ptr_eq(left, right),
        (Value::Cycler(left), Value::Cycler(right)) => Rc::ptr_eq(left, right),
        (Value::Joiner(left), Value::Joiner(right)) => Rc::ptr_eq(left, right),
        (Value::Function(left), Value::Function(right)) => left == right,
        (Value::Range(left), Value::Range(right)) => {
            let (length, other) = (left.len(), right.len());
            length == other
                && (length == 0 || (left.start == right.start && (length == 1 || left.step == right.step)))
        }
        (Value::List(_), Value::List(_))
        | (Value::Tuple(_), Value::Tuple(_))
        | (Value::Dict(_), Value::Dict(_))
        | (Value::View(..), Value::View(..))
        | (Value::Method(_), Value::Method(_)) => return None,
        _ => false,
    })
}

fn numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (left.as_index(), right.as_index()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => int_with_float(left, right.as_float()?),
        (None, Some(right)) => int_with_float(right, left.as_float()?).map(Ordering::reverse),
        (None, None) => left.as_float()?.partial_cmp(&right.as_float()?),
    }
}

/// Compares exactly, past the whole numbers that a float can hold.
fn int_with_float(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= 1.7e38 {
        return Some(Ordering::Less);
    }
    if float <= -1.7e38 {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    Some(
        int.cmp(&(whole as i128))
            .then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)),
    )
}

fn equal_items(meter: &Meter, left: &[Value], right: &[Value]) -> Outcome<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right) {
        if !equal(meter, left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Python's `==`.
pub(crate) fn equal(meter: &Meter, left: &Value, right: &Value) -> Outcome<bool> {
    meter.spend(1)?;
    if let (Value::Str(left), Value::Str(right)) = (left, right) {
        meter.scan(left.as_str().len().min(right.as_str().len()))?;
    }
    if let Some(equal) = equal_simple(left, right) {
        return Ok(equal);
    }
    match (left, right) {
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            equal_items(meter, left, right)
        }
        (Value::Dict(left), Value::Dict(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, value) in left.iter() {
                match right.find(key)? {
                    Some(other) if equal(meter, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Value::View(ViewKind::Keys, left), Value::View(ViewKind::Keys, right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, _) in left.iter() {
                if right.find(key)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::View(ViewKind::Items, left), Value::View(ViewKind::Items, right)) => {
            equal(meter, &Value::Dict(Rc::clone(left)), &Value::Dict(Rc::clone(right)))
        }
        (Value::Method(left), Value::Method(right)) => {
            Ok(left.1 == right.1 && equal(meter, &left.0, &right.0)?)
        }
        _ => Ok(false),
    }
}

fn order_items(meter: &Meter, left: &Items, right: &Items, op: &str) -> Outcome<Option<Ordering>> {
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(meter, left, right)? {
            return order(meter, left, right, op);
        }
    }
    Ok(Some(left.len().cmp(&right.len())))
}

/// The order of two values, for the operator `op`; nothing for what is not a number.
pub(crate) fn order(meter: &Meter, left: &Value, right: &Value, op: &str) -> Outcome<Option<Ordering>> {
    meter.spend(1)?;
    left.must_exist()?;
    right.must_exist()?;
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => {
            meter.scan(left.as_str().len().min(right.as_str().len()))?;
            Ok(Some(left.as_str().cmp(right.as_str())))
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            order_items(meter, left, right, op)
        }
        (
            Value::Int(_) | Value::Bool(_) | Value::Float(_),
            Value::Int(_) | Value::Bool(_) | Value::Float(_),
        ) => Ok(numbers(left, right)),
        _ => Err(type_fault(format!(
            "'{op}' not supported between instances of '{}' and '{}'",
            left.type_name(),
            right.type_name()
        ))),
    }
}

/// Python's stable sort, with errors from comparisons.
pub(crate) fn sort_by_key<T>(meter: &Meter, values: &mut [(Value, T)], reverse: bool) -> Outcome<()> {
    let mut failed = None;
    values.sort_by(|(left, _), (right, _)| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        let ordered = if reverse { order(meter, right, left, "<") } else { order(meter, left, right, "<") };
        match ordered {
            Ok(order) => order.unwrap_or(Ordering::Equal),
            Err(fault) => {
                failed = Some(fault);
                Ordering::Equal
            }
        }
    });
    failed.map_or(Ok(()), Err)
}
