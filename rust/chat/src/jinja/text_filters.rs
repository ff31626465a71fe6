//! The filters that make texts.

use std::fmt::Write as _;
use std::rc::Rc;

use super::arguments::{Bound, Call};
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::iterate::iter_of;
use super::repr::{self, Json};
use super::string_methods;
use super::text::{Builder, Text};
use super::text_work::{self, Ends};
use super::value::Value;

impl Interpreter<'_> {
    /// Applies a filter that makes a text.
    pub(crate) fn text_filter(&mut self, name: &str, value: &Value, call: Call) -> Outcome<Value> {
        match name {
            "string" => {
                call.bind("soft_str", &[], 0)?;
                Ok(Value::Str(self.text_of(value)?))
            }
            "trim" => {
                let bound = call.bind("do_trim", &["chars"], 0)?;
                let text = self.text_of(value)?;
                let chars = match bound.get(0) {
                    None | Some(Value::None) => None,
                    Some(Value::Str(chars)) => Some(chars.as_str()),
                    Some(other) => {
                        return Err(type_fault(format!(
                            "strip arg must be None or str, not {}",
                            other.type_name()
                        )));
                    }
                };
                Ok(Value::Str(text_work::strip(&text, chars, Ends::Both)?))
            }
            "upper" | "lower" => self.with_text(value, name, call),
            "capitalize" => {
                call.bind("do_capitalize", &[], 0)?;
                let text = self.text_of(value)?;
                Ok(Value::Str(text_work::capitalize(&text)?))
            }
            "title" => self.title(value, call),
            "replace" => self.replace(value, call),
            "join" => self.join(value, call),
            "indent" => self.indent(value, call),
            "center" => {
                let bound = call.bind("do_center", &["width"], 0)?;
                let width = usize::try_from(bound.index(0, 80)?.max(0)).unwrap_or(usize::MAX);
                let text = self.text_of(value)?;
                Ok(Value::Str(self.padded(&text, width, None, "center")?))
            }
            "truncate" => self.truncate(value, call),
            "wordcount" => {
                call.bind("do_wordcount", &[], 0)?;
                let text = self.text_of(value)?;
                let words =
                    text.as_str().split(|char: char| !(super::letters::is_alnum(char) || char == '_'));
                Ok(Value::Int(words.filter(|word| !word.is_empty()).count() as i128))
            }
            "urlencode" => self.url_encode(value, call),
            "format" => {
                let text = self.text_of(value)?;
                if !call.named.is_empty() && !call.positional.is_empty() {
                    return Err(value_fault(
                        "can't handle positional and keyword arguments at the same time",
                    ));
                }
                let values = if call.named.is_empty() {
                    Value::tuple(&self.meter, call.positional)?
                } else {
                    let mut dict = super::value::Dict::new(&self.meter)?;
                    for (name, value) in call.named {
                        dict.insert_str(&name, false, value)?;
                    }
                    Value::Dict(Rc::new(dict))
                };
                Ok(Value::Str(super::percent::format(&self.meter, &text, &values)?))
            }
            "tojson" => self.written_json(value, call),
            _ => Err(value_fault(format!("no filter `{name}`"))),
        }
    }

    fn with_text(&mut self, value: &Value, name: &str, call: Call) -> Outcome<Value> {
        call.bind(name, &[], 0)?;
        let text = self.text_of(value)?;
        let method = string_methods::name(name).ok_or_else(|| value_fault(format!("no filter `{name}`")))?;
        self.string_method(&text, method, Call::default())
    }

    fn title(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        call.bind("do_title", &[], 0)?;
        let text = self.text_of(value)?;
        let mut out = Builder::new(&self.meter)?;
        let mut starts = true;
        out.push_mapped(&text, |part| {
            let breaks =
                |char: char| matches!(char, '-' | '(' | '{' | '[' | '<') || super::letters::is_space(char);
            let mut made = String::with_capacity(part.len());
            for word in part.split_inclusive(breaks) {
                let mut rest = word;
                if let Some(first) = word.chars().next().filter(|first| starts && !breaks(*first)) {
                    made.extend(first.to_uppercase());
                    rest = &word[first.len_utf8()..];
                }
                made.push_str(&rest.to_lowercase());
                starts = word.ends_with(breaks);
            }
            made
        })?;
        Ok(Value::Str(out.finish()))
    }

    fn replace(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_replace", &["old", "new", "count"], 2)?;
        let count = match bound.get(2) {
            None | Some(Value::None) => -1,
            Some(count) => count.must_index()?,
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let text = self.text_of(value)?.with_markup(false)?;
        let old = self.text_of(&bound.take(0).unwrap_or(Value::None))?;
        let new = self.text_of(&bound.take(1).unwrap_or(Value::None))?;
        Ok(Value::Str(text_work::replace(&text, &old, &new, count)?))
    }

    fn join(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_join", &["d", "attribute"], 0)?;
        let separator = match bound.take(0) {
            Some(separator) => self.text_of(&separator)?,
            None => Text::new(&self.meter, "", false)?,
        };
        let path = match bound.take(1) {
            None | Some(Value::None) => None,
            given => Some(self.path(given)?),
        };
        let mut iter = iter_of(value)?;
        let mut out = Builder::new(&self.meter)?;
        let mut first = true;
        while let Some(item) = self.advance(&mut iter)? {
            if !std::mem::take(&mut first) {
                out.push(&separator)?;
            }
            match &path {
                Some(path) => repr::write_str(&mut out, &self.path_of(&item, path, None)?)?,
                None => repr::write_str(&mut out, &item)?,
            }
        }
        Ok(Value::Str(out.finish()))
    }

    fn indent(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_indent", &["width", "first", "blank"], 0)?;
        let indention = match bound.take(0) {
            None => " ".repeat(4),
            Some(Value::Str(text)) => text.as_str().to_string(),
            Some(width) => {
                let width = usize::try_from(width.must_index()?.max(0)).unwrap_or(usize::MAX);
                drop(self.meter.take(width)?);
                " ".repeat(width)
            }
        };
        let Value::Str(text) = value else {
            value.must_exist()?;
            return Err(type_fault(format!(
                "unsupported operand type(s) for +=: '{}' and 'str'",
                value.type_name()
            )));
        };
        let (first, blank) = (bound.flag(1), bound.flag(2));
        let mut with_end = Builder::new(&self.meter)?;
        with_end.push(text)?;
        with_end.push_str("\n", false)?;
        let text = with_end.finish();
        let mut out = Builder::new(&self.meter)?;
        for (at, line) in text_work::lines(text.as_str(), false).into_iter().enumerate() {
            if at > 0 {
                out.push_str("\n", false)?;
            }
            if (at == 0 && first) || (at > 0 && (blank || !line.is_empty())) {
                out.push_str(&indention, false)?;
            }
            out.push_slice(&text, line)?;
        }
        Ok(Value::Str(out.finish()))
    }

    fn truncate(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("do_truncate", &["length", "killwords", "end", "leeway"], 0)?;
        let length = bound.index(0, 255)?;
        let leeway = bound.index(3, 5)?;
        let end = match bound.take(2) {
            Some(end) => self.text_of(&end)?,
            None => Text::new(&self.meter, "...", false)?,
        };
        if length < end.chars() as i128 {
            return Err(value_fault(format!("expected length >= {}, got {length}", end.chars())));
        }
        if leeway < 0 {
            return Err(value_fault(format!("expected leeway >= 0, got {leeway}")));
        }
        if value.length()? as i128 <= length + leeway {
            return Ok(value.clone());
        }
        let Value::Str(text) = value else {
            return Err(type_fault(format!("a value of type '{}' cannot be truncated", value.type_name())));
        };
        let mut kept = text.byte_of(length as usize - end.chars());
        if !bound.flag(1) {
            kept = text.as_str()[..kept].rfind(' ').unwrap_or(kept);
        }
        let mut out = Builder::new(&self.meter)?;
        out.push_slice(text, 0..kept)?;
        out.push(&end)?;
        Ok(Value::Str(out.finish()))
    }

    fn url_encode(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        call.bind("do_urlencode", &[], 0)?;
        let encode = |text: &str, for_query: bool| {
            let mut out = String::with_capacity(text.len());
            for byte in text.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                        out.push(byte as char);
                    }
                    b'/' if !for_query => out.push('/'),
                    b' ' if for_query => out.push('+'),
                    byte => {
                        let _ = write!(out, "%{byte:02X}");
                    }
                }
            }
            out
        };
        let pairs = match value {
            Value::Dict(dict) => dict.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            Value::Str(_) => Vec::new(),
            other if super::iterate::is_iterable(other) => {
                let mut pairs = Vec::new();
                for pair in self.collect(other)? {
                    let [key, value]: [Value; 2] = self
                        .collect(&pair)?
                        .try_into()
                        .map_err(|_| value_fault("not enough values to unpack (expected 2)"))?;
                    pairs.push((key, value));
                }
                pairs
            }
            _ => Vec::new(),
        };
        let mut out = Builder::new(&self.meter)?;
        if matches!(value, Value::Str(_)) || !super::iterate::is_iterable(value) {
            out.push_mapped(&self.text_of(value)?, |part| encode(part, false))?;
        }
        for (at, (key, value)) in pairs.iter().enumerate() {
            if at > 0 {
                out.push_str("&", false)?;
            }
            out.push_mapped(&self.text_of(key)?, |part| encode(part, true))?;
            out.push_str("=", false)?;
            out.push_mapped(&self.text_of(value)?, |part| encode(part, true))?;
        }
        Ok(Value::Str(out.finish()))
    }

    fn written_json(&mut self, value: &Value, call: Call) -> Outcome<Value> {
        let mut bound: Bound =
            call.bind("tojson", &["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
        let indent = match bound.take(1) {
            None | Some(Value::None) => None,
            Some(Value::Str(text)) => Some(text.as_str().to_string()),
            Some(width) => {
                let width = usize::try_from(width.must_index()?.max(0)).unwrap_or(usize::MAX);
                drop(self.meter.take(width)?);
                Some(" ".repeat(width))
            }
        };
        let (item_separator, key_separator) = match bound.take(2) {
            None | Some(Value::None) => {
                (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string())
            }
            Some(separators) => {
                let pair = self.collect(&separators)?;
                let [Value::Str(item), Value::Str(key)] = pair.as_slice() else {
                    return Err(type_fault("the separators of JSON are two strings"));
                };
                (item.as_str().to_string(), key.as_str().to_string())
            }
        };
        let json =
            Json { ascii: bound.flag(0), indent, item_separator, key_separator, sort_keys: bound.flag(3) };
        let mut out = Builder::new(&self.meter)?;
        json.write(&mut out, value, 0)?;
        Ok(Value::Str(out.finish()))
    }
}
