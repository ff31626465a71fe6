//! Python's `text.format(…)`.

use super::arguments::Call;
use super::fault::{Outcome, type_fault, value_fault};
use super::format_number;
use super::interpreter::Interpreter;
use super::percent::precision;
use super::repr;
use super::text::{Builder, Text};
use super::value::Value;

/// How fields may lie in the formats of other fields.
const NESTED: usize = 2;

/// What stands behind the colon of a field.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: char,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// What fields have been numbered by.
#[derive(Default)]
struct Numbering {
    next: usize,
    manual: bool,
}

impl Interpreter<'_> {
    /// Fills the fields of `text` with the arguments.
    pub(crate) fn formatted(&mut self, text: &Text, call: &Call) -> Outcome<Value> {
        let mut out = Builder::new(&self.meter)?;
        let mut numbering = Numbering::default();
        self.fill(&mut out, text, call, &mut numbering, NESTED)?;
        Ok(Value::Str(out.finish().with_markup(text.is_markup())?))
    }

    fn fill(
        &mut self,
        out: &mut Builder,
        text: &Text,
        call: &Call,
        numbering: &mut Numbering,
        nested: usize,
    ) -> Outcome<()> {
        if nested == 0 {
            return Err(value_fault("Max string recursion exceeded"));
        }
        let source = text.as_str();
        let mut at = 0;
        while let Some(found) = source[at..].find(['{', '}']) {
            let brace = at + found;
            out.push_slice(text, at..brace)?;
            let char = source.as_bytes()[brace];
            if source.as_bytes().get(brace + 1) == Some(&char) {
                out.push_slice(text, brace..brace + 1)?;
                at = brace + 2;
                continue;
            }
            if char == b'}' {
                return Err(value_fault("Single '}' encountered in format string"));
            }
            self.meter.spend(1)?;
            let end = closing(source, brace)?;
            let field = text.slice(brace + 1..end)?;
            self.field(out, text, &field, call, numbering, nested)?;
            at = end + 1;
        }
        out.push_slice(text, at..source.len())
    }

    fn field(
        &mut self,
        out: &mut Builder,
        text: &Text,
        field: &Text,
        call: &Call,
        numbering: &mut Numbering,
        nested: usize,
    ) -> Outcome<()> {
        let source = field.as_str();
        let mut depth = 0;
        let split = source.char_indices().find(|(_, char)| {
            depth += i32::from(*char == '[') - i32::from(*char == ']');
            depth == 0 && matches!(char, '!' | ':')
        });
        let name_end = split.map_or(source.len(), |(at, _)| at);
        let mut rest = &source[name_end..];
        let mut conversion = None;
        if let Some(after) = rest.strip_prefix('!') {
            let mut chars = after.chars();
            conversion = Some(
                chars
                    .next()
                    .ok_or_else(|| value_fault("end of string while looking for conversion specifier"))?,
            );
            rest = chars.as_str();
            if !rest.is_empty() && !rest.starts_with(':') {
                return Err(value_fault("expected ':' after conversion specifier"));
            }
        }
        let spec_text = if rest.is_empty() {
            None
        } else {
            Some(field.slice(source.len() - rest.len() + 1..source.len())?)
        };
        let value = self.field_value(&source[..name_end], call, numbering)?;
        let spec = match spec_text {
            None => String::new(),
            Some(spec) => {
                let mut made = Builder::new(&self.meter)?;
                self.fill(&mut made, &spec, call, numbering, nested - 1)?;
                made.into_parts().0
            }
        };
        let value = match conversion {
            None => value,
            Some('s' | 'r' | 'a') => {
                let mut made = Builder::new(&self.meter)?;
                let write = if conversion == Some('s') { repr::write_str } else { repr::write_repr };
                write(&mut made, &value)?;
                Value::Str(made.finish())
            }
            Some(other) => return Err(value_fault(format!("Unknown conversion specifier {other}"))),
        };
        self.write_formatted(out, &value, &spec, text.is_markup())
    }

    /// The argument that a field names, with its attributes and items.
    fn field_value(&mut self, path: &str, call: &Call, numbering: &mut Numbering) -> Outcome<Value> {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let first = &path[..end];
        let mut value = if first.is_empty() || first.bytes().all(|byte| byte.is_ascii_digit()) {
            let index = if first.is_empty() {
                if numbering.manual {
                    return Err(value_fault(
                        "cannot switch from manual field specification to automatic field numbering",
                    ));
                }
                numbering.next += 1;
                numbering.next - 1
            } else {
                if numbering.next > 0 {
                    return Err(value_fault(
                        "cannot switch from automatic field numbering to manual field specification",
                    ));
                }
                numbering.manual = true;
                first.parse().map_err(|_| value_fault("Too many decimal digits in format string"))?
            };
            let message = || value_fault("Replacement index out of range for positional args tuple");
            call.positional.get(index).cloned().ok_or_else(message)?
        } else {
            let found = call.named.iter().find(|(name, _)| name == first);
            found.map(|(_, value)| value.clone()).ok_or_else(|| value_fault(repr::quoted(first)))?
        };
        let mut rest = &path[end..];
        while !rest.is_empty() {
            self.meter.spend(1)?;
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(value_fault("Empty attribute in format string"));
                }
                value = self.attribute(&value, &after[..end])?;
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = after.find(']').ok_or_else(|| value_fault("Missing ']' in format string"))?;
                let key = match after[..end].parse::<i128>() {
                    Ok(index) if after[..end].bytes().all(|byte| byte.is_ascii_digit()) => Value::Int(index),
                    _ => Value::Str(Text::new(&self.meter, &after[..end], false)?),
                };
                value = self.item(&value, &key)?;
                rest = &after[end + 1..];
            } else {
                return Err(value_fault("Only '.' or '[' may follow ']' in format field specifier"));
            }
        }
        Ok(value)
    }

    fn write_formatted(&mut self, out: &mut Builder, value: &Value, spec: &str, markup: bool) -> Outcome<()> {
        let mut made = Builder::new(&self.meter)?;
        if spec.is_empty() {
            repr::write_str(&mut made, value)?;
        } else {
            self.write_spec(&mut made, value, spec)?;
        }
        let made = made.finish();
        if markup && !matches!(value, Value::Str(value) if value.is_markup()) {
            return out.push_mapped(&made, repr::escape_html);
        }
        out.push(&made)
    }

    fn write_spec(&mut self, out: &mut Builder, value: &Value, spec: &str) -> Outcome<()> {
        let found = parse_spec(spec, value.type_name())?;
        match value {
            Value::Str(text) => {
                if !matches!(found.kind, None | Some('s')) {
                    return Err(unknown_code(&found, value));
                }
                if found.sign != '-' {
                    return Err(value_fault("Sign not allowed in string format specifier"));
                }
                let kept = found.precision.map_or(text.as_str().len(), |precision| text.byte_of(precision));
                let text = text.slice(0..kept)?;
                self.aligned(out, &found, '<', text.chars(), |out| out.push(&text))
            }
            Value::Int(_) | Value::Float(_) => self.write_number(out, value, &found),
            Value::Bool(flag) if found.kind.is_some_and(|kind| kind != 's') => {
                self.write_number(out, &Value::Int(i128::from(*flag)), &found)
            }
            Value::Bool(flag) => {
                let text = if *flag { "1" } else { "0" };
                self.aligned(out, &found, '>', text.len(), |out| out.push_str(text, false))
            }
            other => Err(type_fault(format!(
                "unsupported format string passed to {}.__format__",
                other.type_name()
            ))),
        }
    }

    fn write_number(&mut self, out: &mut Builder, value: &Value, found: &Spec) -> Outcome<()> {
        let (negative, mut digits, prefix) = match (value, found.kind) {
            (Value::Int(number), None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X')) => {
                if found.precision.is_some() {
                    return Err(value_fault("Precision not allowed in integer format specifier"));
                }
                let kind = found.kind.unwrap_or('d');
                let prefix = match kind {
                    'b' if found.alternate => "0b",
                    'o' if found.alternate => "0o",
                    'x' if found.alternate => "0x",
                    'X' if found.alternate => "0X",
                    _ => "",
                };
                (*number < 0, format_number::digits(number.unsigned_abs(), kind), prefix)
            }
            (Value::Int(number), Some('c')) => {
                let char = u32::try_from(*number).ok().and_then(char::from_u32);
                let char = char.ok_or_else(|| value_fault("%c arg not in range(0x110000)"))?;
                (false, char.to_string(), "")
            }
            (_, None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%')) => {
                let number = value.as_float().unwrap_or(f64::NAN);
                let digits = self.float_digits(number, found)?;
                (number.is_sign_negative() && !number.is_nan(), digits, "")
            }
            _ => return Err(unknown_code(found, value)),
        };
        if let Some(separator) = found.grouping {
            let every = if matches!(found.kind, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 };
            digits = grouped(&digits, separator, every);
        }
        let sign = match (negative, found.sign) {
            (true, _) => "-",
            (false, '+') => "+",
            (false, ' ') => " ",
            _ => "",
        };
        let head = format!("{sign}{prefix}");
        let length = head.len() + digits.chars().count();
        if found.align == Some('=') || (found.zero && found.align.is_none()) {
            let lacking = found.width.saturating_sub(length);
            self.meter.spend(lacking as u64)?;
            out.push_str(&head, false)?;
            for _ in 0..lacking {
                out.push_char(found.fill.unwrap_or(if found.zero { '0' } else { ' ' }), false)?;
            }
            return out.push_str(&digits, false);
        }
        self.aligned(out, found, '>', length, |out| {
            out.push_str(&head, false)?;
            out.push_str(&digits, false)
        })
    }

    fn float_digits(&self, number: f64, found: &Spec) -> Outcome<String> {
        let wanted = found.precision.map(|wanted| precision(&self.meter, wanted)).transpose()?;
        let magnitude = number.abs();
        Ok(match found.kind {
            None => match wanted {
                None => repr::float(magnitude),
                // Without a letter, a float keeps a digit after its point.
                Some(wanted) => {
                    let text = format_number::float(magnitude, 'g', wanted, found.alternate);
                    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
                    if plain && text.len() < wanted.max(1) {
                        text + ".0"
                    } else if plain {
                        one_digit_short(magnitude, wanted)
                    } else {
                        text
                    }
                }
            },
            Some('%') => {
                format_number::float(magnitude * 100.0, 'f', wanted.unwrap_or(6), found.alternate) + "%"
            }
            Some('n') => format_number::float(magnitude, 'g', wanted.unwrap_or(6), found.alternate),
            Some(kind) => format_number::float(magnitude, kind, wanted.unwrap_or(6), found.alternate),
        })
    }

    fn aligned(
        &self,
        out: &mut Builder,
        found: &Spec,
        default: char,
        length: usize,
        write: impl FnOnce(&mut Builder) -> Outcome<()>,
    ) -> Outcome<()> {
        let lacking = found.width.saturating_sub(length);
        self.meter.spend(lacking as u64)?;
        let left = match found.align.unwrap_or(default) {
            '<' => 0,
            '^' => lacking / 2,
            _ => lacking,
        };
        let fill = found.fill.unwrap_or(if found.zero { '0' } else { ' ' });
        for _ in 0..left {
            out.push_char(fill, false)?;
        }
        write(out)?;
        for _ in left..lacking {
            out.push_char(fill, false)?;
        }
        Ok(())
    }
}

/// A whole float whose digits fill the precision is written with an exponent.
fn one_digit_short(magnitude: f64, precision: usize) -> String {
    let text = format_number::float(magnitude, 'e', precision.max(1) - 1, false);
    let (digits, power) = text.split_once('e').unwrap_or((&text, "+00"));
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}e{power}")
}

fn unknown_code(found: &Spec, value: &Value) -> super::fault::Fault {
    let kind = found.kind.unwrap_or(' ');
    value_fault(format!("Unknown format code '{kind}' for object of type '{}'", value.type_name()))
}

/// The brace that closes the field at `begin`.
fn closing(source: &str, begin: usize) -> Outcome<usize> {
    let mut depth = 0;
    let mut in_item = false;
    for (at, byte) in source.bytes().enumerate().skip(begin) {
        match byte {
            b'[' if depth == 1 => in_item = true,
            b']' => in_item = false,
            b'{' if !in_item => depth += 1,
            b'}' if !in_item => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => {}
        }
    }
    let message = if begin + 1 == source.len() {
        "Single '{' encountered in format string"
    } else {
        "expected '}' before end of string"
    };
    Err(value_fault(message))
}

fn parse_spec(spec: &str, type_name: &str) -> Outcome<Spec> {
    let mut found = Spec { sign: '-', ..Spec::default() };
    let mut chars = spec.chars().peekable();
    let mut ahead = spec.chars();
    let (first, second) = (ahead.next(), ahead.next());
    let aligns = |char: Option<char>| char.filter(|char| matches!(char, '<' | '>' | '=' | '^'));
    if let Some(align) = aligns(second) {
        found.fill = first;
        found.align = Some(align);
        chars.nth(1);
    } else if let Some(align) = aligns(first) {
        found.align = Some(align);
        chars.next();
    }
    if let Some(sign) = chars.next_if(|char| matches!(char, '+' | '-' | ' ')) {
        found.sign = sign;
    }
    chars.next_if_eq(&'z');
    found.alternate = chars.next_if_eq(&'#').is_some();
    found.zero = chars.next_if_eq(&'0').is_some();
    let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Outcome<Option<usize>> {
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| value_fault("Too many decimal digits in format string"))
    };
    found.width = number(&mut chars)?.unwrap_or(0);
    found.grouping = chars.next_if(|char| matches!(char, ',' | '_'));
    if chars.next_if_eq(&'.').is_some() {
        found.precision =
            Some(number(&mut chars)?.ok_or_else(|| value_fault("Format specifier missing precision"))?);
    }
    found.kind = chars.next();
    if chars.next().is_some() {
        return Err(value_fault(format!(
            "Invalid format specifier '{spec}' for object of type '{type_name}'"
        )));
    }
    Ok(found)
}

fn grouped(digits: &str, separator: char, every: usize) -> String {
    let whole = digits.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (at, digit) in digits[..whole].chars().enumerate() {
        if at > 0 && (whole - at).is_multiple_of(every) {
            out.push(separator);
        }
        out.push(digit);
    }
    out + &digits[whole..]
}
