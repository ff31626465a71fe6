//! Values as text: Python's `str` and `repr`, and JSON.

use std::fmt::Write as _;

use super::compare::sort_by_key;
use super::fault::{Outcome, type_fault, value_fault};
use super::letters::is_printable;
use super::text::{Builder, Text};
use super::value::{Function, Value, ViewKind};

/// A string in quotes, as Python writes it.
pub(crate) fn quoted(text: &str) -> String {
    let quote = quote_for(text);
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for char in text.chars() {
        push_escaped(&mut out, char, quote);
    }
    out.push(quote);
    out
}

fn quote_for(text: &str) -> char {
    if text.contains('\'') && !text.contains('"') { '"' } else { '\'' }
}

fn push_escaped(out: &mut String, char: char, quote: char) {
    match char {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        char if char == quote => {
            out.push('\\');
            out.push(char);
        }
        char if is_printable(char) => out.push(char),
        char => {
            let code = u32::from(char);
            let _ = match code {
                0..=0xff => write!(out, "\\x{code:02x}"),
                0x100..=0xffff => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
        }
    }
}

/// A float as Python writes it.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = shortest(value);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let (minus, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut digits = digits.replace('.', "");
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{minus}0.{zeros}{digits}");
    };
    if whole == 0 {
        return format!("{minus}0.{digits}");
    }
    while digits.len() <= whole {
        digits.push('0');
    }
    format!("{minus}{}.{}", &digits[..whole], &digits[whole..])
}

/// The number with the fewest digits that is read back as this one, in scientific notation. Of two that are equally near, it is the even one.
fn shortest(value: f64) -> String {
    let short = format!("{value:e}");
    let n_digits = short.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    let even = format!("{value:.*e}", n_digits.saturating_sub(1));
    if even.parse() == Ok(value) { even } else { short }
}

pub(crate) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            char => out.push(char),
        }
    }
    out
}

/// Writes `str(value)`.
pub(crate) fn write_str(out: &mut Builder, value: &Value) -> Outcome<()> {
    match value {
        Value::Str(text) => out.push(text),
        Value::Undefined(_) => Ok(()),
        other => write_repr(out, other),
    }
}

fn write_text_repr(out: &mut Builder, text: &Text) -> Outcome<()> {
    let quote = quote_for(text.as_str());
    if text.is_markup() {
        out.push_str("Markup(", false)?;
    }
    out.push_char(quote, false)?;
    out.push_mapped(text, |part| {
        let mut escaped = String::with_capacity(part.len());
        for char in part.chars() {
            push_escaped(&mut escaped, char, quote);
        }
        escaped
    })?;
    out.push_char(quote, false)?;
    if text.is_markup() { out.push_str(")", false) } else { Ok(()) }
}

fn write_items(out: &mut Builder, begin: &str, values: &[Value], end: &str) -> Outcome<()> {
    out.push_str(begin, false)?;
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push_str(", ", false)?;
        }
        write_repr(out, value)?;
    }
    out.push_str(end, false)
}

fn holds_namespace(value: &Value) -> bool {
    match value {
        Value::Namespace(_) => true,
        Value::List(items) | Value::Tuple(items) => items.iter().any(holds_namespace),
        Value::Dict(dict) | Value::View(_, dict) => dict.iter().any(|(_, value)| holds_namespace(value)),
        _ => false,
    }
}

/// Writes `repr(value)`.
pub(crate) fn write_repr(out: &mut Builder, value: &Value) -> Outcome<()> {
    match value {
        Value::Undefined(_) => out.push_str("Undefined", false),
        Value::None => out.push_str("None", false),
        Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }, false),
        Value::Int(value) => out.push_str(&value.to_string(), false),
        Value::Float(value) => out.push_str(&float(*value), false),
        Value::Str(text) => write_text_repr(out, text),
        Value::List(items) => write_items(out, "[", items, "]"),
        Value::Tuple(items) => write_items(out, "(", items, if items.len() == 1 { ",)" } else { ")" }),
        Value::Dict(dict) => {
            out.push_str("{", false)?;
            for (at, (key, value)) in dict.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ", false)?;
                }
                write_repr(out, key)?;
                out.push_str(": ", false)?;
                write_repr(out, value)?;
            }
            out.push_str("}", false)
        }
        Value::View(kind, dict) => {
            let mut values = Vec::new();
            let mut at = 0;
            while let Some(value) = dict.view_item(*kind, at)? {
                values.push(value);
                at += 1;
            }
            let name = match kind {
                ViewKind::Keys => "dict_keys([",
                ViewKind::Values => "dict_values([",
                ViewKind::Items => "dict_items([",
            };
            write_items(out, name, &values, "])")
        }
        Value::Range(range) => {
            let text = if range.step == 1 {
                format!("range({}, {})", range.start, range.stop)
            } else {
                format!("range({}, {}, {})", range.start, range.stop, range.step)
            };
            out.push_str(&text, false)
        }
        Value::Namespace(namespace) => {
            let Ok(dict) = namespace.dict.try_borrow() else { return out.push_str("<Namespace ...>", false) };
            if dict.iter().any(|(_, value)| holds_namespace(value)) {
                // A namespace can hold itself; Python would not come to an end either.
                return Err(value_fault("a namespace that holds a namespace cannot be written out"));
            }
            out.push_str("<Namespace {", false)?;
            for (at, (key, value)) in dict.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ", false)?;
                }
                write_repr(out, key)?;
                out.push_str(": ", false)?;
                write_repr(out, value)?;
            }
            out.push_str("}>", false)
        }
        Value::Macro(found) => {
            let name = found.decl.name.as_deref().map_or("anonymous".into(), quoted);
            out.push_str(&format!("<Macro {name}>"), false)
        }
        Value::Loop(found) => {
            let length = found.known_length().map(|length| format!("/{length}")).unwrap_or_default();
            out.push_str(&format!("<LoopContext {}{length}>", found.index()), false)
        }
        Value::Method(bound) => {
            out.push_str(&format!("<built-in method {} of {} object>", bound.1, bound.0.type_name()), false)
        }
        Value::Function(function) => out.push_str(&format!("<function {}>", function.name()), false),
        Value::Generator(_) | Value::Cycler(_) | Value::Joiner(_) => {
            out.push_str(&format!("<{} object>", value.type_name()), false)
        }
    }
}

impl Function {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Range => "safe_range",
            Self::Dict => "dict",
            Self::Namespace => "namespace",
            Self::Cycler => "cycler",
            Self::Joiner => "joiner",
            Self::Lipsum => "generate_lorem_ipsum",
            Self::RaiseException => "raise_exception",
            Self::StrftimeNow => "strftime_now",
        }
    }
}

/// How JSON is written: Python's `json.dumps`.
pub(crate) struct Json {
    pub(crate) ascii: bool,
    pub(crate) indent: Option<String>,
    pub(crate) item_separator: String,
    pub(crate) key_separator: String,
    pub(crate) sort_keys: bool,
}

impl Json {
    pub(crate) fn write(&self, out: &mut Builder, value: &Value, level: usize) -> Outcome<()> {
        match value {
            Value::None => out.push_str("null", false),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }, false),
            Value::Int(value) => out.push_str(&value.to_string(), false),
            Value::Float(value) => out.push_str(&json_float(*value), false),
            Value::Str(text) => self.string(out, text),
            Value::List(items) | Value::Tuple(items) => {
                if items.is_empty() {
                    return out.push_str("[]", false);
                }
                out.push_str("[", false)?;
                for (at, item) in items.iter().enumerate() {
                    self.between(out, at, level + 1)?;
                    self.write(out, item, level + 1)?;
                }
                self.line(out, level)?;
                out.push_str("]", false)
            }
            Value::Dict(dict) => {
                if dict.len() == 0 {
                    return out.push_str("{}", false);
                }
                let mut entries: Vec<(Value, Value)> =
                    dict.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                if self.sort_keys {
                    sort_by_key(dict.meter(), &mut entries, false)?;
                }
                out.push_str("{", false)?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.between(out, at, level + 1)?;
                    self.key(out, key)?;
                    out.push_str(&self.key_separator, false)?;
                    self.write(out, value, level + 1)?;
                }
                self.line(out, level)?;
                out.push_str("}", false)
            }
            other => {
                Err(type_fault(format!("Object of type {} is not JSON serializable", other.type_name())))
            }
        }
    }

    fn key(&self, out: &mut Builder, key: &Value) -> Outcome<()> {
        let text = match key {
            Value::Str(text) => return self.string(out, text),
            Value::None => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => json_float(*value),
            other => {
                return Err(type_fault(format!(
                    "keys must be str, int, float, bool or None, not {}",
                    other.type_name()
                )));
            }
        };
        out.push_str(&format!("\"{text}\""), false)
    }

    fn between(&self, out: &mut Builder, at: usize, level: usize) -> Outcome<()> {
        if at > 0 {
            out.push_str(&self.item_separator, false)?;
        }
        self.line(out, level)
    }

    fn line(&self, out: &mut Builder, level: usize) -> Outcome<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.push_str("\n", false)?;
        for _ in 0..level {
            out.push_str(indent, false)?;
        }
        Ok(())
    }

    fn string(&self, out: &mut Builder, text: &Text) -> Outcome<()> {
        out.push_str("\"", false)?;
        out.push_mapped(text, |part| json_escaped(part, self.ascii))?;
        out.push_str("\"", false)
    }
}

fn json_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    float(value)
}

fn json_escaped(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            char if char < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char if ascii && !(' '..='~').contains(&char) => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            char => out.push(char),
        }
    }
    out
}
