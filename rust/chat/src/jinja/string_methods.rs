//! Methods of strings.

use std::ops::Range;

use super::arguments::Call;
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::letters;
use super::text::{Builder, Text};
use super::text_work::{
    Ends, capitalize, casefolded, is_both, is_title, lines, replace, split, strip, swapped, title,
};
use super::value::Value;

/// The methods, sorted.
const NAMES: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
];

/// The method of this name.
pub(crate) fn name(name: &str) -> Option<&'static str> {
    if let Ok(at) = NAMES.binary_search(&name) {
        return Some(NAMES[at]);
    }
    ["maketrans", "translate", "zfill"].into_iter().find(|known| *known == name)
}

fn text_argument<'v>(value: Option<&'v Value>, what: &str) -> Outcome<&'v Text> {
    match value {
        Some(Value::Str(text)) => Ok(text),
        Some(other) => {
            other.must_exist()?;
            Err(type_fault(format!("{what} must be str, not {}", other.type_name())))
        }
        None => Err(type_fault(format!("{what} is missing"))),
    }
}

impl Interpreter<'_> {
    fn mapped(&mut self, text: &Text, map: impl FnMut(&str) -> String) -> Outcome<Value> {
        let mut out = Builder::new(&self.meter)?;
        out.push_mapped(text, map)?;
        Ok(Value::Str(out.finish().with_markup(text.is_markup())?))
    }

    /// The value in small letters, if it is a string.
    pub(crate) fn ignore_case(&mut self, value: Value) -> Outcome<Value> {
        match &value {
            Value::Str(text) => self.mapped(text, str::to_lowercase),
            _ => Ok(value),
        }
    }

    /// The bytes of `text` that `start` and `end` of a search leave.
    fn window(text: &Text, start: Option<&Value>, end: Option<&Value>) -> Outcome<Option<Range<usize>>> {
        let length = text.chars() as i128;
        let place = |value: Option<&Value>, default: i128| -> Outcome<i128> {
            match value {
                None | Some(Value::None) => Ok(default),
                Some(value) => {
                    let at = value.must_index()?;
                    Ok(if at < 0 { (at + length).max(0) } else { at })
                }
            }
        };
        let (start, end) = (place(start, 0)?, place(end, length)?.min(length));
        if start > end {
            return Ok(None);
        }
        Ok(Some(text.byte_of(start as usize)..text.byte_of(end as usize)))
    }

    fn affixed(text: &Text, name: &'static str, call: Call) -> Outcome<Value> {
        let bound = call.bind(name, &["prefix", "start", "end"], 1)?;
        let Some(window) = Self::window(text, bound.get(1), bound.get(2))? else {
            return Ok(Value::Bool(false));
        };
        let source = &text.as_str()[window];
        let has = |affix: &str| {
            if name == "startswith" { source.starts_with(affix) } else { source.ends_with(affix) }
        };
        match bound.get(0) {
            Some(Value::Str(affix)) => Ok(Value::Bool(has(affix.as_str()))),
            Some(Value::Tuple(affixes)) => {
                for affix in affixes.iter() {
                    let Value::Str(affix) = affix else {
                        return Err(type_fault(format!(
                            "tuple for {name} must only contain str, not {}",
                            affix.type_name()
                        )));
                    };
                    if has(affix.as_str()) {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Some(other) => {
                let found = other.type_name();
                Err(type_fault(format!("{name} first arg must be str or a tuple of str, not {found}")))
            }
            None => Err(type_fault(format!("{name} needs an argument"))),
        }
    }

    fn found(&mut self, text: &Text, name: &'static str, call: Call) -> Outcome<Value> {
        let bound = call.bind(name, &["sub", "start", "end"], 1)?;
        let part = text_argument(bound.get(0), "argument 1")?;
        self.meter.scan(text.as_str().len())?;
        let window = Self::window(text, bound.get(1), bound.get(2))?;
        if name == "count" {
            let Some(window) = window else { return Ok(Value::Int(0)) };
            let source = &text.as_str()[window];
            let count = if part.as_str().is_empty() {
                source.chars().count() + 1
            } else {
                memchr::memmem::find_iter(source.as_bytes(), part.as_str().as_bytes()).count()
            };
            return Ok(Value::Int(count as i128));
        }
        let from_right = name.starts_with('r');
        let at = window.and_then(|window| {
            let source = &text.as_str().as_bytes()[window.clone()];
            let part = part.as_str().as_bytes();
            let at = if from_right {
                memchr::memmem::rfind(source, part)
            } else {
                memchr::memmem::find(source, part)
            };
            at.map(|at| at + window.start)
        });
        match at {
            Some(at) => Ok(Value::Int(text.char_of(at) as i128)),
            None if name.ends_with("index") => Err(value_fault("substring not found")),
            None => Ok(Value::Int(-1)),
        }
    }

    /// Fills a text up to a width, on the sides that `name` says.
    fn filled(&mut self, text: &Text, name: &'static str, call: Call) -> Outcome<Value> {
        let bound = call.bind(name, &["width", "fillchar"], 1)?;
        let width = usize::try_from(bound.index(0, 0)?.max(0)).unwrap_or(usize::MAX);
        let fill = match bound.get(1) {
            None => None,
            given => {
                let fill = text_argument(given, "the fill character")?;
                if fill.chars() != 1 {
                    return Err(type_fault("The fill character must be exactly one character long"));
                }
                Some(fill.clone())
            }
        };
        Ok(Value::Str(self.padded(text, width, fill.as_ref(), name)?))
    }

    pub(crate) fn padded(
        &mut self,
        text: &Text,
        width: usize,
        fill: Option<&Text>,
        name: &str,
    ) -> Outcome<Text> {
        let length = text.chars();
        let lacking = width.saturating_sub(length);
        if lacking == 0 {
            return Ok(text.clone());
        }
        let left = match name {
            "ljust" => 0,
            "rjust" => lacking,
            _ => lacking / 2 + (lacking & width & 1),
        };
        let mut out = Builder::new(&self.meter)?;
        let pad = |out: &mut Builder, count: usize| -> Outcome<()> {
            for _ in 0..count {
                match fill {
                    Some(fill) => out.push(fill)?,
                    None => out.push_str(" ", false)?,
                }
            }
            Ok(())
        };
        self.meter.spend(lacking as u64)?;
        pad(&mut out, left)?;
        out.push(text)?;
        pad(&mut out, lacking - left)?;
        out.finish().with_markup(text.is_markup())
    }

    fn partitioned(&mut self, text: &Text, name: &'static str, call: Call) -> Outcome<Value> {
        let bound = call.bind(name, &["sep"], 1)?;
        let separator = text_argument(bound.get(0), "argument")?;
        if separator.as_str().is_empty() {
            return Err(value_fault("empty separator"));
        }
        let (source, part) = (text.as_str(), separator.as_str());
        let at = if name == "partition" { source.find(part) } else { source.rfind(part) };
        let end = source.len();
        let parts = match at {
            Some(at) => [0..at, at..at + part.len(), at + part.len()..end],
            None if name == "partition" => [0..end, end..end, end..end],
            None => [0..0, 0..0, 0..end],
        };
        let parts =
            parts.into_iter().map(|part| text.slice(part).map(Value::Str)).collect::<Outcome<Vec<_>>>()?;
        Value::tuple(&self.meter, parts)
    }

    fn joined(&mut self, text: &Text, call: Call) -> Outcome<Value> {
        let mut bound = call.bind("join", &["iterable"], 1)?;
        let values = self.collect(&bound.take(0).unwrap_or(Value::None))?;
        let mut out = Builder::new(&self.meter)?;
        for (at, value) in values.iter().enumerate() {
            let Value::Str(part) = value else {
                let found = value.type_name();
                return Err(type_fault(format!("sequence item {at}: expected str instance, {found} found")));
            };
            if at > 0 {
                out.push(text)?;
            }
            if text.is_markup() && !part.is_markup() {
                out.push_mapped(part, super::repr::escape_html)?;
            } else {
                out.push(part)?;
            }
        }
        Ok(Value::Str(out.finish().with_markup(text.is_markup())?))
    }

    fn expanded(&mut self, text: &Text, call: Call) -> Outcome<Value> {
        let size =
            usize::try_from(call.bind("expandtabs", &["tabsize"], 0)?.index(0, 8)?.max(0)).unwrap_or(0);
        let mut out = Builder::new(&self.meter)?;
        let mut column = 0;
        for (range, user) in text.runs(0..text.as_str().len()) {
            for char in text.as_str()[range].chars() {
                match char {
                    '\t' => {
                        let spaces = if size == 0 { 0 } else { size - column % size };
                        self.meter.spend(spaces as u64)?;
                        for _ in 0..spaces {
                            out.push_str(" ", user)?;
                        }
                        column += spaces;
                    }
                    '\n' | '\r' => {
                        column = 0;
                        out.push_char(char, user)?;
                    }
                    char => {
                        column += 1;
                        out.push_char(char, user)?;
                    }
                }
            }
        }
        Ok(Value::Str(out.finish()))
    }

    fn zero_filled(&mut self, text: &Text, call: Call) -> Outcome<Value> {
        let width =
            usize::try_from(call.bind("zfill", &["width"], 1)?.index(0, 0)?.max(0)).unwrap_or(usize::MAX);
        let lacking = width.saturating_sub(text.chars());
        let sign = usize::from(text.as_str().starts_with(['+', '-']));
        let mut out = Builder::new(&self.meter)?;
        out.push_slice(text, 0..sign)?;
        self.meter.spend(lacking as u64)?;
        for _ in 0..lacking {
            out.push_str("0", false)?;
        }
        out.push_slice(text, sign..text.as_str().len())?;
        Ok(Value::Str(out.finish()))
    }

    /// Calls a method of a string.
    pub(crate) fn string_method(&mut self, text: &Text, name: &'static str, call: Call) -> Outcome<Value> {
        let source = text.as_str();
        self.meter.scan(source.len())?;
        match name {
            "strip" | "lstrip" | "rstrip" => {
                let bound = call.bind(name, &["chars"], 0)?;
                let chars = match bound.get(0) {
                    None | Some(Value::None) => None,
                    Some(Value::Str(chars)) => Some(chars.as_str()),
                    Some(other) => {
                        return Err(type_fault(format!(
                            "{name} arg must be None or str, not {}",
                            other.type_name()
                        )));
                    }
                };
                let ends = match name {
                    "strip" => Ends::Both,
                    "lstrip" => Ends::Left,
                    _ => Ends::Right,
                };
                return Ok(Value::Str(strip(text, chars, ends)?));
            }
            "split" | "rsplit" => {
                let bound = call.bind(name, &["sep", "maxsplit"], 0)?;
                let separator = match bound.get(0) {
                    None | Some(Value::None) => None,
                    given => Some(text_argument(given, "separator")?),
                };
                let parts = split(text, separator, bound.index(1, -1)?, name == "rsplit")?;
                return Value::list(&self.meter, parts);
            }
            "splitlines" => {
                let keep = call.bind(name, &["keepends"], 0)?.flag(0);
                let parts = lines(source, keep).into_iter().map(|line| text.slice(line).map(Value::Str));
                return Value::list(&self.meter, parts.collect::<Outcome<Vec<_>>>()?);
            }
            "startswith" | "endswith" => return Self::affixed(text, name, call),
            "find" | "rfind" | "index" | "rindex" | "count" => return self.found(text, name, call),
            "center" | "ljust" | "rjust" => return self.filled(text, name, call),
            "partition" | "rpartition" => return self.partitioned(text, name, call),
            "join" => return self.joined(text, call),
            "expandtabs" => return self.expanded(text, call),
            "zfill" => return self.zero_filled(text, call),
            "format" => return self.formatted(text, &call),
            "format_map" => {
                let bound = call.bind(name, &["mapping"], 1)?;
                let Some(Value::Dict(dict)) = bound.get(0) else {
                    return Err(type_fault("format_map() takes a mapping"));
                };
                let named = dict
                    .iter()
                    .filter_map(|(key, value)| Some((key.as_str()?.to_string(), value.clone())))
                    .collect();
                return self.formatted(text, &Call { positional: Vec::new(), named });
            }
            "replace" => {
                let bound = call.bind(name, &["old", "new", "count"], 2)?;
                let old = text_argument(bound.get(0), "replace() argument 1")?;
                let new = text_argument(bound.get(1), "replace() argument 2")?;
                let count = usize::try_from(bound.index(2, -1)?).unwrap_or(usize::MAX);
                return Ok(Value::Str(replace(text, old, new, count)?));
            }
            "removeprefix" | "removesuffix" => {
                let bound = call.bind(name, &["affix"], 1)?;
                let affix = text_argument(bound.get(0), "argument")?.as_str();
                let kept = if name == "removeprefix" {
                    source.strip_prefix(affix).map(|rest| source.len() - rest.len()..source.len())
                } else {
                    source.strip_suffix(affix).map(|rest| 0..rest.len())
                };
                return Ok(Value::Str(kept.map_or_else(|| Ok(text.clone()), |kept| text.slice(kept))?));
            }
            "encode" | "maketrans" | "translate" => {
                return Err(type_fault(format!("the method `{name}` of strings is not there for templates")));
            }
            _ => {}
        }
        call.bind(name, &[], 0)?;
        self.plain_method(text, name)
    }

    /// Calls a method that takes no arguments.
    fn plain_method(&mut self, text: &Text, name: &'static str) -> Outcome<Value> {
        let source = text.as_str();
        let all = |holds: fn(char) -> bool| Ok(Value::Bool(!source.is_empty() && source.chars().all(holds)));
        match name {
            "upper" => self.mapped(text, str::to_uppercase),
            "lower" => self.mapped(text, str::to_lowercase),
            "casefold" => self.mapped(text, casefolded),
            "capitalize" => Ok(Value::Str(capitalize(text)?)),
            "title" => self.mapped(text, title),
            "swapcase" => self.mapped(text, swapped),
            "isalpha" => all(letters::is_alpha),
            "isalnum" => all(letters::is_alnum),
            "isdecimal" => all(letters::is_decimal),
            "isdigit" => all(letters::is_digit),
            "isnumeric" => all(letters::is_numeric),
            "isspace" => all(letters::is_space),
            "isprintable" => Ok(Value::Bool(source.chars().all(letters::is_printable))),
            "isascii" => Ok(Value::Bool(source.is_ascii())),
            "isidentifier" => {
                let good = source.chars().all(|char| char == '_' || char.is_alphanumeric());
                Ok(Value::Bool(good && source.starts_with(|char: char| char == '_' || char.is_alphabetic())))
            }
            "islower" => Ok(Value::Bool(
                source.chars().any(char::is_lowercase)
                    && !source.chars().any(|char| char.is_uppercase() || is_both(char)),
            )),
            "isupper" => Ok(Value::Bool(
                source.chars().any(char::is_uppercase)
                    && !source.chars().any(|char| char.is_lowercase() || is_both(char)),
            )),
            "istitle" => Ok(Value::Bool(is_title(source))),
            _ => Err(type_fault(format!("the method `{name}` of strings is not there for templates"))),
        }
    }
}
