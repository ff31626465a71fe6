//! Python's `text % values`.

use std::rc::Rc;

use super::fault::{Outcome, type_fault, value_fault};
use super::format_number;
use super::meter::Meter;
use super::number;
use super::repr;
use super::text::{Builder, Text};
use super::value::Value;

/// One `%…` of a format.
#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

struct Values<'v> {
    all: &'v [Value],
    at: usize,
}

impl Values<'_> {
    fn next(&mut self) -> Outcome<&Value> {
        self.at += 1;
        self.all.get(self.at - 1).ok_or_else(|| type_fault("not enough arguments for format string"))
    }
}

/// Formats `text` with a value, a tuple of values or a dictionary.
pub(crate) fn format(meter: &Rc<Meter>, text: &Text, values: &Value) -> Outcome<Text> {
    let source = text.as_str();
    let single = [values.clone()];
    let mut list = Values { all: if let Value::Tuple(items) = values { items } else { &single }, at: 0 };
    let mut out = Builder::new(meter)?;
    let mut at = 0;
    while let Some(percent) = source[at..].find('%') {
        out.push_slice(text, at..at + percent)?;
        at += percent + 1;
        meter.spend(1)?;
        at = directive(&mut out, text, at, values, &mut list)?;
    }
    out.push_slice(text, at..source.len())?;
    let unused = match values {
        Value::Tuple(_) => list.at < list.all.len(),
        Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_) => false,
        _ => list.at == 0,
    };
    if unused {
        return Err(type_fault("not all arguments converted during string formatting"));
    }
    out.finish().with_markup(text.is_markup())
}

/// The flags that stand first in a directive.
fn flags(source: &str, at: &mut usize) -> Directive {
    let mut found = Directive::default();
    for flag in source[*at..].chars() {
        match flag {
            '-' => found.left = true,
            '+' => found.plus = true,
            ' ' => found.space = true,
            '0' => found.zero = true,
            '#' => found.alternate = true,
            _ => break,
        }
        *at += 1;
    }
    found
}

/// Writes the directive that begins after a percent sign; gives where it ends.
fn directive(
    out: &mut Builder,
    text: &Text,
    begin: usize,
    values: &Value,
    list: &mut Values<'_>,
) -> Outcome<usize> {
    let source = text.as_str();
    let incomplete = || value_fault("incomplete format");
    let mut at = begin;
    let peek = |at: usize| source[at..].chars().next();
    let mut named = None;
    if peek(at) == Some('(') {
        let mut depth = 0;
        let close = source[at..].char_indices().find(|(_, char)| {
            depth += i32::from(*char == '(') - i32::from(*char == ')');
            depth == 0
        });
        let Some((length, _)) = close else { return Err(value_fault("incomplete format key")) };
        let Value::Dict(dict) = values else { return Err(type_fault("format requires a mapping")) };
        let key = &source[at + 1..at + length];
        named = Some(dict.get(key).cloned().ok_or_else(|| value_fault(repr::quoted(key)))?);
        at += length + 1;
    }
    let mut found = flags(source, &mut at);
    let number = |at: &mut usize, list: &mut Values<'_>| -> Outcome<Option<i128>> {
        if peek(*at) == Some('*') {
            *at += 1;
            return list.next()?.as_index().map(Some).ok_or_else(|| type_fault("* wants int"));
        }
        let length = source[*at..].bytes().take_while(u8::is_ascii_digit).count();
        let digits = &source[*at..*at + length];
        *at += length;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| value_fault("width too big"))
    };
    if let Some(width) = number(&mut at, list)? {
        found.left |= width < 0;
        found.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    }
    if peek(at) == Some('.') {
        at += 1;
        let precision = number(&mut at, list)?.unwrap_or(0).max(0);
        found.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
    }
    while matches!(peek(at), Some('h' | 'l' | 'L')) {
        at += 1;
    }
    let kind = peek(at).ok_or_else(incomplete)?;
    let end = at + kind.len_utf8();
    if kind == '%' {
        out.push_str("%", false)?;
        return Ok(end);
    }
    let value = match named {
        Some(value) => value,
        None => list.next()?.clone(),
    };
    if !write_value(out, text, &found, kind, &value)? {
        let place = source[..at].chars().count();
        let code = u32::from(kind);
        return Err(value_fault(format!(
            "unsupported format character '{kind}' ({code:#x}) at index {place}"
        )));
    }
    Ok(end)
}

/// Writes one value; false for a letter that is no conversion.
fn write_value(
    out: &mut Builder,
    text: &Text,
    found: &Directive,
    kind: char,
    value: &Value,
) -> Outcome<bool> {
    let meter = Rc::clone(text.meter());
    match kind {
        's' | 'r' | 'a' => {
            let mut made = Builder::new(&meter)?;
            let write = if kind == 's' { repr::write_str } else { repr::write_repr };
            write(&mut made, value)?;
            let made = made.finish();
            let kept = found.precision.map_or(made.as_str().len(), |precision| made.byte_of(precision));
            let made = made.slice(0..kept)?;
            pad(out, &meter, found, made.chars(), |out| {
                if text.is_markup() && !matches!(value, Value::Str(value) if value.is_markup()) {
                    out.push_mapped(&made, repr::escape_html)
                } else {
                    out.push(&made)
                }
            })?;
        }
        'c' => {
            let char = match value {
                Value::Str(text) if text.chars() == 1 => text.as_str().to_string(),
                other => match other.as_index() {
                    Some(code) => u32::try_from(code)
                        .ok()
                        .and_then(char::from_u32)
                        .map(String::from)
                        .ok_or_else(|| value_fault("%c arg not in range(0x110000)"))?,
                    None => return Err(type_fault("%c requires int or char")),
                },
            };
            pad(out, &meter, found, 1, |out| out.push_str(&char, false))?;
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => whole(out, &meter, found, kind, value)?,
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            value.must_exist()?;
            let Some(value) = value.as_float() else {
                return Err(type_fault(format!("must be real number, not {}", value.type_name())));
            };
            let precision = precision(&meter, found.precision.unwrap_or(6))?;
            let made = format_number::float(value, kind, precision, found.alternate);
            let (sign, digits) = match made.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => ("", made.as_str()),
            };
            signed(out, &meter, found, sign, digits, value.is_finite())?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Refuses a precision that no number needs.
pub(crate) fn precision(meter: &Meter, precision: usize) -> Outcome<usize> {
    meter.spend(precision as u64)?;
    if precision > 60_000 {
        return Err(value_fault("precision too big"));
    }
    Ok(precision)
}

fn whole(out: &mut Builder, meter: &Rc<Meter>, found: &Directive, kind: char, value: &Value) -> Outcome<()> {
    value.must_exist()?;
    let number = match value {
        Value::Float(value) if matches!(kind, 'd' | 'i' | 'u') => number::truncate(*value)?,
        other => other.as_index().ok_or_else(|| {
            let wanted = if matches!(kind, 'd' | 'i' | 'u') {
                "a real number is required"
            } else {
                "an integer is required"
            };
            type_fault(format!("%{kind} format: {wanted}, not {}", other.type_name()))
        })?,
    };
    let mut digits = format_number::digits(number.unsigned_abs(), kind);
    if let Some(wanted) = found.precision {
        let wanted = precision(meter, wanted)?;
        digits = format!("{}{digits}", "0".repeat(wanted.saturating_sub(digits.len())));
    }
    let prefix = match kind {
        'x' if found.alternate => "0x",
        'X' if found.alternate => "0X",
        'o' if found.alternate => "0o",
        _ => "",
    };
    let sign = if number < 0 { format!("-{prefix}") } else { prefix.to_string() };
    signed(out, meter, found, &sign, &digits, true)
}

fn signed(
    out: &mut Builder,
    meter: &Rc<Meter>,
    found: &Directive,
    sign: &str,
    digits: &str,
    finite: bool,
) -> Outcome<()> {
    let positive = if found.plus {
        "+"
    } else if found.space {
        " "
    } else {
        ""
    };
    let sign = if sign.starts_with('-') { sign.to_string() } else { format!("{positive}{sign}") };
    let length = sign.len() + digits.len();
    if found.zero && !found.left && finite && found.width > length {
        let zeros = found.width - length;
        meter.spend(zeros as u64)?;
        out.push_str(&sign, false)?;
        for _ in 0..zeros {
            out.push_str("0", false)?;
        }
        return out.push_str(digits, false);
    }
    pad(out, meter, found, length, |out| {
        out.push_str(&sign, false)?;
        out.push_str(digits, false)
    })
}

fn pad(
    out: &mut Builder,
    meter: &Meter,
    found: &Directive,
    length: usize,
    write: impl FnOnce(&mut Builder) -> Outcome<()>,
) -> Outcome<()> {
    let lacking = found.width.saturating_sub(length);
    meter.spend(lacking as u64)?;
    let spaces = |out: &mut Builder, count: usize| (0..count).try_for_each(|_| out.push_str(" ", false));
    if !found.left {
        spaces(out, lacking)?;
    }
    write(out)?;
    if found.left { spaces(out, lacking) } else { Ok(()) }
}
