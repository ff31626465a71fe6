//! What a schema says itself: types, listed values, numbers and strings.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::check::count;
use super::decimal::Decimal;
use super::format::{Format, is_annotation, lookup};
use super::meaning::{Here, Meaning, Meant};
use super::number::{Numbers, Range};
use super::parts::Key;
use super::pattern::PatternError;
use super::step::Step;
use super::text::Text;
use super::values::{Array, Class, Object, Prop, Slot, Values};

/// The longest length that is enforced; a text of a generation does not come near.
const MAX_LENGTH: u64 = 1_000_000;

/// The set of one scalar.
pub(super) fn scalar(value: &Value) -> Values {
    let mut values = Values::none();
    match value {
        Value::Null => values.null = true,
        Value::Bool(true) => values.yes = true,
        Value::Bool(false) => values.no = true,
        Value::Number(number) => values.numbers = Numbers::only([(Decimal::of(number), number.to_string())]),
        Value::String(text) => values.strings = Text::only([text.clone()]),
        Value::Array(_) | Value::Object(_) => {}
    }
    values
}

/// Whether a schema with these `type`s takes values of `name`.
fn takes(map: &Map<String, Value>, name: &str) -> bool {
    match map.get("type") {
        None => true,
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().any(|only| only == name),
        Some(_) => false,
    }
}

impl<'a> Meaning<'a> {
    /// The values that fit what the schema says without other schemas of the same value.
    pub(super) fn own(&mut self, here: Here<'a>) -> Meant<Values> {
        let mut values = self.listed(here);
        self.numbers(&mut values, here);
        self.strings(&mut values, here);
        if !values.arrays.is_empty() {
            values = self.arrays(values, here);
        }
        if !values.objects.is_empty() {
            values = self.objects(values, here)?;
        }
        values.described_by(here);
        Ok(values)
    }

    /// `type`, `enum` and `const`.
    fn listed(&mut self, here: Here<'a>) -> Values {
        let map = here.map;
        let types = types(map);
        let mut listed: Vec<&'a Value> = match map.get("enum").and_then(Value::as_array) {
            Some(values) => values.iter().collect(),
            None => map.get("const").into_iter().collect(),
        };
        if let (Some(only), true) = (map.get("const"), map.contains_key("enum")) {
            listed.retain(|value| equal(value, only));
        }
        if !map.contains_key("enum") && !map.contains_key("const") {
            return types;
        }
        let mut values = Values::none();
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for value in listed {
            match value {
                Value::Number(number) => {
                    if number.is_f64() && self.has_long_numbers {
                        let keyword = if map.contains_key("const") { "const" } else { "enum" };
                        let message = "numbers of more than 17 digits are read as 64-bit floats";
                        self.limit(here.place, keyword, message);
                    }
                    numbers.push((Decimal::of(number), number.to_string()));
                }
                Value::String(text) => texts.push(text.clone()),
                Value::Array(_) | Value::Object(_) => {
                    let constant = self.constant(value);
                    values.arrays.extend(constant.arrays.into_iter().filter(|_| !types.arrays.is_empty()));
                    values.objects.extend(constant.objects.into_iter().filter(|_| !types.objects.is_empty()));
                }
                scalar_value => values = values.or(&scalar(scalar_value)),
            }
        }
        values.null &= types.null;
        values.yes &= types.yes;
        values.no &= types.no;
        values.numbers = Numbers::only(numbers).and(&types.numbers);
        values.strings = Text::only(texts).and(&types.strings);
        values
    }

    /// The set of one list or object, its properties in the order in which they stand.
    pub(super) fn constant(&mut self, value: &'a Value) -> Values {
        let mut values = Values::none();
        match value {
            Value::Array(items) => {
                let prefix: Vec<Slot> =
                    items.iter().map(|item| Slot::of(self.parts.constant(item), false)).collect();
                let n = prefix.len() as u64;
                let rest = Slot::of(Key::never(), false);
                values.arrays.push(Rc::new(Array { prefix, rest, min: n, max: Some(n), ..Array::default() }));
            }
            Value::Object(map) => {
                let prop = |(name, value): (&'a String, &'a Value)| Prop {
                    name: name.as_str().into(),
                    slot: Slot::of(self.parts.constant(value), false),
                    required: true,
                };
                let props = map.iter().map(prop).collect();
                let closed = Class { names: Text::All, slot: Slot::of(Key::never(), false) };
                values.objects.push(Rc::new(Object::new(props, vec![closed])));
            }
            other => values = scalar(other),
        }
        values
    }

    /// Bounds and multiples.
    fn numbers(&mut self, values: &mut Values, here: Here<'a>) {
        let map = here.map;
        if values.numbers.is_none() {
            return;
        }
        let number = |key: &str| {
            map.get(key).and_then(|value| match value {
                Value::Number(number) => Some(Decimal::of(number)),
                _ => None,
            })
        };
        let is_strict = |key: &str| map.get(key) == Some(&Value::Bool(true));
        let mut ranges = Vec::new();
        for (inclusive, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            let bound = if inclusive == "minimum" { Range::above } else { Range::below };
            ranges.extend(number(inclusive).map(|at| bound(at, is_strict(exclusive))));
            ranges.extend(number(exclusive).map(|at| bound(at, true)));
            for key in [inclusive, exclusive] {
                if self.has_long_numbers && map.get(key).is_some_and(Value::is_f64) {
                    self.limit(here.place, key, "numbers of more than 17 digits are read as 64-bit floats");
                    values.numbers_exact = false;
                }
            }
        }
        if let Some(step) = number("multipleOf") {
            if let Some(step) = Step::new(&step) {
                ranges.push(Range::multiples(step, true));
            } else {
                self.limit(here.place, "multipleOf", "not enforced: the step is beyond the engine");
                values.numbers_exact = false;
            }
        }
        if map.get("format").and_then(Value::as_str) == Some("int32")
            && map.contains_key("type")
            && takes(map, "integer")
            && !takes(map, "number")
        {
            ranges.push(Range::above(Decimal::from_i32(i32::MIN), false));
            ranges.push(Range::below(Decimal::from_i32(i32::MAX), false));
        }
        for range in ranges {
            values.numbers = values.numbers.and(&Numbers::range(range));
        }
    }

    /// Lengths, patterns and formats.
    fn strings(&mut self, values: &mut Values, here: Here<'a>) {
        let map = here.map;
        if values.strings == Text::Never {
            return;
        }
        let mut length = Text::All;
        for key in ["minLength", "maxLength"] {
            let Some(n) = map.get(key).and_then(|value| count(value, "").ok()) else { continue };
            if n > MAX_LENGTH {
                self.limit(here.place, key, format!("lengths beyond {MAX_LENGTH} are not counted"));
                values.strings_exact = false;
                continue;
            }
            let n = n as u32;
            length = length.and(&if key == "minLength" {
                Text::length(n, None)
            } else {
                Text::length(0, Some(n))
            });
        }
        let mut parts = Vec::new();
        if let Some(text) = map.get("pattern").and_then(Value::as_str) {
            let (pattern, exact) = self.pattern(text, "pattern", here);
            values.strings_exact &= exact;
            parts.push((["pattern", "pattern"], pattern));
        }
        if let Some(name) = map.get("format").and_then(Value::as_str) {
            match lookup(name) {
                Format::Text(text) => parts.push((["format", "format"], text)),
                Format::Unknown if is_annotation(name) || name == "int32" => {}
                Format::Unknown => {
                    self.limit(here.place, "format", format!("the format `{name}` is not enforced"));
                    values.strings_exact = false;
                }
            }
        }
        // Lengths come last, since a pattern says more than they do where not both can be counted.
        parts.push((["minLength", "maxLength"], length));
        for (keywords, part) in parts {
            let both = values.strings.and(&part);
            // Every format has strings, which it would take long to find out.
            let is_empty = if values.strings == Text::All && keywords[0] == "format" {
                Some(false)
            } else {
                both.is_empty()
            };
            match is_empty {
                Some(true) => values.strings = Text::Never,
                Some(false) => values.strings = both,
                None => {
                    for keyword in keywords.into_iter().filter(|keyword| map.contains_key(*keyword)) {
                        self.limit(
                            here.place,
                            keyword,
                            "not enforced: with the rest it is beyond the engine",
                        );
                    }
                    values.strings_exact = false;
                }
            }
        }
    }

    /// The strings in which `text` finds something, and whether those are exactly these.
    pub(super) fn pattern(&mut self, text: &str, keyword: &str, here: Here<'a>) -> (Text, bool) {
        match Text::pattern(text) {
            Ok((pattern, None)) => (pattern, true),
            Ok((pattern, Some(what))) => {
                self.limit(here.place, keyword, format!("`{text}` is enforced but for {what} in it"));
                (pattern, false)
            }
            Err(PatternError::Unsupported(what)) => {
                self.limit(here.place, keyword, format!("`{text}` is not enforced: {what}"));
                (Text::All, false)
            }
            // The check before has refused it.
            Err(PatternError::Invalid(_)) => (Text::All, false),
        }
    }
}

/// The values of the types of a schema.
fn types(map: &Map<String, Value>) -> Values {
    let mut values = Values::all();
    values.null = takes(map, "null");
    values.yes = takes(map, "boolean");
    values.no = values.yes;
    values.numbers = match (takes(map, "number"), takes(map, "integer")) {
        (true, _) => Numbers::all(),
        (false, true) => Numbers::range(Range::integers(true)),
        (false, false) => Numbers::none(),
    };
    if !takes(map, "string") {
        values.strings = Text::Never;
    }
    if !takes(map, "array") {
        values.arrays.clear();
    }
    if !takes(map, "object") {
        values.objects.clear();
    }
    values
}

/// Whether two values are the same to a schema: numbers by value.
fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => Decimal::of(one) == Decimal::of(two),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, one)| two.get(name).is_some_and(|two| equal(one, two)))
        }
        (one, two) => one == two,
    }
}
