//! Arithmetic, as Python has it; whole numbers up to 128 bits.

use std::rc::Rc;

use super::ast::BinaryOp;
use super::fault::{Fault, FaultKind, Outcome, type_fault, value_fault};
use super::meter::Meter;
use super::repr;
use super::text::{Builder, Text};
use super::value::{Items, Value};

/// The whole number that a float is.
pub(super) fn whole(value: f64) -> Option<i128> {
    (value.fract() == 0.0 && value.abs() < 1e38).then_some(value as i128)
}

fn too_large() -> Fault {
    Fault::new(FaultKind::Limit, "a whole number of the template is too large")
}

fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::FloorDiv => "//",
        BinaryOp::Mod => "%",
        BinaryOp::Pow => "** or pow()",
    }
}

pub(crate) fn binary(meter: &Rc<Meter>, op: BinaryOp, left: &Value, right: &Value) -> Outcome<Value> {
    left.must_exist()?;
    if op == BinaryOp::Mod
        && let Value::Str(text) = left
    {
        return Ok(Value::Str(super::percent::format(meter, text, right)?));
    }
    right.must_exist()?;
    if let (Some(left), Some(right)) = (left.as_index(), right.as_index()) {
        return ints(op, left, right);
    }
    if let (Some(left), Some(right)) = (left.as_float(), right.as_float()) {
        return floats(op, left, right).map(Value::Float);
    }
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(left), Value::Str(right)) => Ok(Value::Str(concat(meter, left, right)?)),
        (BinaryOp::Add, Value::List(left), Value::List(right)) => {
            Value::list(meter, joined(meter, left, right)?)
        }
        (BinaryOp::Add, Value::Tuple(left), Value::Tuple(right)) => {
            Value::tuple(meter, joined(meter, left, right)?)
        }
        (BinaryOp::Mul, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_)), count)
        | (BinaryOp::Mul, count, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_))) => {
            repeat(meter, sequence, count)
        }
        (BinaryOp::Add, Value::Str(_), other) => {
            Err(type_fault(format!("can only concatenate str (not \"{}\") to str", other.type_name())))
        }
        (BinaryOp::Add, Value::List(_), other) => {
            Err(type_fault(format!("can only concatenate list (not \"{}\") to list", other.type_name())))
        }
        (BinaryOp::Add, Value::Tuple(_), other) => {
            Err(type_fault(format!("can only concatenate tuple (not \"{}\") to tuple", other.type_name())))
        }
        _ => Err(type_fault(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            symbol(op),
            left.type_name(),
            right.type_name()
        ))),
    }
}

/// Two strings in one; what is added to markup is escaped.
pub(crate) fn concat(meter: &Rc<Meter>, left: &Text, right: &Text) -> Outcome<Text> {
    let markup = left.is_markup() || right.is_markup();
    let mut out = Builder::new(meter)?;
    for side in [left, right] {
        if markup && !side.is_markup() {
            out.push_mapped(side, repr::escape_html)?;
        } else {
            out.push(side)?;
        }
    }
    out.finish().with_markup(markup)
}

fn joined(meter: &Meter, left: &Items, right: &Items) -> Outcome<Vec<Value>> {
    meter.spend((left.len() + right.len()) as u64)?;
    Ok(left.iter().chain(right.iter()).cloned().collect())
}

fn repeat(meter: &Rc<Meter>, sequence: &Value, count: &Value) -> Outcome<Value> {
    let Some(count) = count.as_index() else {
        return Err(type_fault(format!(
            "can't multiply sequence by non-int of type '{}'",
            count.type_name()
        )));
    };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match sequence {
        Value::Str(text) => {
            let mut out = Builder::new(meter)?;
            if !text.as_str().is_empty() {
                for _ in 0..count {
                    meter.spend(1)?;
                    out.push(text)?;
                }
            }
            Ok(Value::Str(out.finish().with_markup(text.is_markup())?))
        }
        Value::List(items) | Value::Tuple(items) => {
            let length = items.len().saturating_mul(count);
            // The values are charged before they are made.
            let charge = meter.take(length.saturating_mul(size_of::<Value>()))?;
            meter.spend(length as u64)?;
            let values = (0..length).map(|at| items[at % items.len()].clone()).collect();
            drop(charge);
            if matches!(sequence, Value::List(_)) {
                Value::list(meter, values)
            } else {
                Value::tuple(meter, values)
            }
        }
        _ => Err(type_fault("only sequences can be repeated")),
    }
}

/// The quotient as Python rounds it: once, to the nearest float, whatever the sizes of the numbers. The divisor is not 0.
fn quotient(left: i128, right: i128) -> f64 {
    const EXACT: u128 = 1 << f64::MANTISSA_DIGITS;
    let (above, below) = (left.unsigned_abs(), right.unsigned_abs());
    if above <= EXACT && below <= EXACT {
        return left as f64 / right as f64;
    }
    // Bits of the quotient until there are two more than a float holds; what is left over only tells a tie from what is above it.
    let (mut whole, mut rest, mut power) = (above / below, above % below, 0);
    while whole < EXACT << 2 && (whole, rest) != (0, 0) {
        rest <<= 1;
        whole = (whole << 1) | u128::from(rest >= below);
        if rest >= below {
            rest -= below;
        }
        power -= 1;
    }
    let size = (whole | u128::from(rest != 0)) as f64 * f64::from(power).exp2();
    if (left < 0) == (right < 0) { size } else { -size }
}

fn ints(op: BinaryOp, left: i128, right: i128) -> Outcome<Value> {
    let division = |message: &str| if right == 0 { Err(value_fault(message)) } else { Ok(()) };
    let value = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Sub => left.checked_sub(right),
        BinaryOp::Mul => left.checked_mul(right),
        BinaryOp::Div => {
            division("division by zero")?;
            return Ok(Value::Float(quotient(left, right)));
        }
        BinaryOp::FloorDiv => {
            division("integer division or modulo by zero")?;
            left.checked_div_euclid(right).map(|_| floor_div(left, right))
        }
        BinaryOp::Mod => {
            division("integer modulo by zero")?;
            left.checked_rem(right).map(|_| left.wrapping_sub(floor_div(left, right).wrapping_mul(right)))
        }
        BinaryOp::Pow => {
            if right < 0 {
                if left == 0 {
                    return Err(value_fault("0.0 cannot be raised to a negative power"));
                }
                return Ok(Value::Float((left as f64).powf(right as f64)));
            }
            match left {
                0 | 1 => Some(if right == 0 { 1 } else { left }),
                -1 => Some(if right % 2 == 0 { 1 } else { -1 }),
                _ => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
            }
        }
    };
    value.map(Value::Int).ok_or_else(too_large)
}

fn floor_div(left: i128, right: i128) -> i128 {
    let quotient = left / right;
    if left % right != 0 && (left < 0) != (right < 0) { quotient - 1 } else { quotient }
}

fn float_mod(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest == 0.0 {
        return 0.0_f64.copysign(right);
    }
    if (rest < 0.0) == (right < 0.0) { rest } else { rest + right }
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Outcome<f64> {
    let division = |message: &str| if right == 0.0 { Err(value_fault(message)) } else { Ok(()) };
    Ok(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => {
            division("float division by zero")?;
            left / right
        }
        BinaryOp::FloorDiv => {
            division("float floor division by zero")?;
            let rest = float_mod(left, right);
            let quotient = (left - rest) / right;
            if quotient == 0.0 { 0.0_f64.copysign(left / right) } else { quotient.round() }
        }
        BinaryOp::Mod => {
            division("float modulo")?;
            float_mod(left, right)
        }
        BinaryOp::Pow => {
            if left == 0.0 && right < 0.0 {
                return Err(value_fault("0.0 cannot be raised to a negative power"));
            }
            let value = left.powf(right);
            if left < 0.0 && right.fract() != 0.0 {
                return Err(type_fault("a power of the template is a complex number"));
            }
            if value.is_infinite() && left.is_finite() && right.is_finite() {
                return Err(value_fault("(34, 'Numerical result out of range')"));
            }
            value
        }
    })
}

pub(crate) fn negate(value: &Value) -> Outcome<Value> {
    value.must_exist()?;
    match value {
        Value::Float(value) => Ok(Value::Float(-value)),
        other => match other.as_index() {
            Some(value) => value.checked_neg().map(Value::Int).ok_or_else(too_large),
            None => Err(type_fault(format!("bad operand type for unary -: '{}'", other.type_name()))),
        },
    }
}

pub(crate) fn plus(value: &Value) -> Outcome<Value> {
    value.must_exist()?;
    match value {
        Value::Float(value) => Ok(Value::Float(*value)),
        other => match other.as_index() {
            Some(value) => Ok(Value::Int(value)),
            None => Err(type_fault(format!("bad operand type for unary +: '{}'", other.type_name()))),
        },
    }
}

/// Python's `int(text, base)`.
pub(crate) fn parse_int(text: &str, base: u32) -> Outcome<Option<i128>> {
    let trimmed = text.trim_matches(super::letters::is_space);
    let (negative, digits) = match trimmed.strip_prefix(['-', '+']) {
        Some(rest) => (trimmed.starts_with('-'), rest),
        None => (false, trimmed),
    };
    let lower = digits.to_lowercase();
    let mut base = base;
    let mut digits = lower.as_str();
    for (prefix, of) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if (base == of || base == 0)
            && let Some(rest) = digits.strip_prefix(prefix)
        {
            digits = rest.strip_prefix('_').unwrap_or(rest);
            base = of;
        }
    }
    if base == 0 {
        base = 10;
        if digits.starts_with('0') && digits.chars().any(|char| char != '0' && char != '_') {
            return Ok(None);
        }
    }
    let bad = digits.is_empty()
        || digits.starts_with('_')
        || digits.ends_with('_')
        || digits.contains("__")
        || !(2..=36).contains(&base);
    if bad {
        return Ok(None);
    }
    let mut value: i128 = 0;
    for char in digits.chars().filter(|char| *char != '_') {
        let Some(digit) = char.to_digit(base) else { return Ok(None) };
        value = value
            .checked_mul(i128::from(base))
            .and_then(|value| value.checked_add(i128::from(digit)))
            .ok_or_else(too_large)?;
    }
    Ok(Some(if negative { -value } else { value }))
}

/// Python's `float(text)`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let trimmed = text.trim_matches(super::letters::is_space);
    let plain = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let word = plain.to_ascii_lowercase();
    if !matches!(word.as_str(), "inf" | "infinity" | "nan")
        && !plain.starts_with(|char: char| char.is_ascii_digit() || char == '.')
    {
        return None;
    }
    if plain.starts_with('_')
        || plain.ends_with('_')
        || plain.contains("__")
        || plain.contains("_.")
        || plain.contains("._")
    {
        return None;
    }
    trimmed.replace('_', "").parse().ok()
}

/// The whole part of a float, as Python's `int(float)`.
pub(crate) fn truncate(value: f64) -> Outcome<i128> {
    if value.is_nan() {
        return Err(value_fault("cannot convert float NaN to integer"));
    }
    if value.is_infinite() {
        return Err(value_fault("cannot convert float infinity to integer"));
    }
    if value.abs() >= 1.7e38 {
        return Err(too_large());
    }
    Ok(value as i128)
}
