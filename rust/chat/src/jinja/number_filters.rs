//! The filters that make numbers.

use super::arguments::Call;
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::number;
use super::value::Value;

impl Interpreter<'_> {
    /// Applies a filter that makes a number, or text of one.
    pub(crate) fn number_filter(&mut self, name: &str, value: &Value, call: Call) -> Outcome<Value> {
        match name {
            "int" => self.int(value, call),
            "float" => {
                let mut bound = call.bind("do_float", &["default"], 0)?;
                let found = match value {
                    Value::Str(text) => number::parse_float(text.as_str()),
                    other => {
                        other.must_exist()?;
                        other.as_float()
                    }
                };
                Ok(found.map_or_else(|| bound.take(0).unwrap_or(Value::Float(0.0)), Value::Float))
            }
            "abs" => {
                call.bind("abs", &[], 0)?;
                match value {
                    Value::Float(value) => Ok(Value::Float(value.abs())),
                    other => match other.as_index() {
                        Some(value) if value < 0 => number::negate(&Value::Int(value)),
                        Some(value) => Ok(Value::Int(value)),
                        None => {
                            Err(type_fault(format!("bad operand type for abs(): '{}'", other.type_name())))
                        }
                    },
                }
            }
            "round" => Self::round(value, call),
            "filesizeformat" => self.file_size(value, call),
            _ => Err(value_fault(format!("no filter `{name}`"))),
        }
    }

    fn int(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_int", &["default", "base"], 0)?;
        let found = match value {
            Value::Str(text) => {
                self.meter.scan(text.as_str().len())?;
                let base = u32::try_from(bound.index(1, 10)?).unwrap_or(1);
                match number::parse_int(text.as_str(), base)? {
                    Some(value) => Some(value),
                    None => number::parse_float(text.as_str())
                        .filter(|value| value.is_finite())
                        .map(number::truncate)
                        .transpose()?,
                }
            }
            Value::Float(value) if value.is_nan() => None,
            Value::Float(value) => Some(number::truncate(*value)?),
            other => {
                other.must_exist()?;
                other.as_index()
            }
        };
        Ok(found.map_or_else(|| bound.take(0).unwrap_or(Value::Int(0)), Value::Int))
    }

    fn round(value: &Value, call: Call) -> Outcome<Value> {
        let bound = call.bind("do_round", &["precision", "method"], 0)?;
        let digits = bound.index(0, 0)?;
        let method = bound.get(1).and_then(Value::as_str).unwrap_or("common");
        if !matches!(method, "common" | "ceil" | "floor") {
            return Err(value_fault("method must be common, ceil or floor"));
        }
        // Python asks an undefined value for its type alone; the others multiply it first.
        if method != "common" {
            value.must_exist()?;
        }
        let Some(number) = value.as_float() else {
            return Err(type_fault(format!("type {} doesn't define __round__ method", value.type_name())));
        };
        let small = i32::try_from(digits.clamp(-400, 400)).unwrap_or(0);
        if method == "common" {
            if let (Some(whole), true) = (value.as_index(), digits >= 0) {
                return Ok(Value::Int(whole));
            }
            if let Some(whole) = value.as_index() {
                let Some(unit) = u32::try_from(-small).ok().and_then(|power| 10_i128.checked_pow(power))
                else {
                    return Ok(Value::Int(0));
                };
                let (quotient, rest) = (whole.div_euclid(unit), whole.rem_euclid(unit));
                let up = rest * 2 > unit || (rest * 2 == unit && quotient % 2 != 0);
                return Ok(Value::Int((quotient + i128::from(up)) * unit));
            }
            if !number.is_finite() || small > 323 {
                return Ok(Value::Float(number));
            }
            let rounded = if small >= 0 {
                format!("{number:.*}", small as usize).parse().unwrap_or(number)
            } else {
                let unit = 10_f64.powi(-small);
                (number / unit).round_ties_even() * unit
            };
            return Ok(Value::Float(rounded));
        }
        let unit = 10_f64.powi(small);
        let scaled = number * unit;
        let whole = if method == "ceil" { scaled.ceil() } else { scaled.floor() };
        Ok(Value::Float(whole / unit))
    }

    fn file_size(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let binary = call.bind("do_filesizeformat", &["binary"], 0)?.flag(0);
        value.must_exist()?;
        let number = match value {
            Value::Str(text) => number::parse_float(text.as_str()),
            other => other.as_float(),
        };
        let Some(bytes) = number else { return Err(value_fault("could not convert string to float")) };
        let base: f64 = if binary { 1024.0 } else { 1000.0 };
        if value.as_index() == Some(1) || bytes.to_bits() == 1.0_f64.to_bits() {
            return self.made("1 Byte");
        }
        if bytes < base {
            return self.made(&format!("{} Bytes", bytes.trunc()));
        }
        let (mut unit, mut prefix) = (base, 'k');
        for letter in ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'] {
            unit *= base;
            prefix = letter;
            if bytes < unit {
                break;
            }
        }
        let tail = if binary { format!("{}iB", prefix.to_ascii_uppercase()) } else { format!("{prefix}B") };
        self.made(&format!("{:.1} {tail}", base * bytes / unit))
    }
}
