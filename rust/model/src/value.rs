//! Options as a face has them before they are read: a Python dict, a JSON body.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

/// A value whose type is known only at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Python's `None`, JSON's `null`: the same as an option that was not given.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Any other number; may be infinite or NaN.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// Named values.
    Map(Vec<(String, Value)>),
    /// Something else, by the name of its type.
    Other(String),
}

impl Value {
    /// The name of the value's type, for errors.
    fn kind(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
            Self::Other(kind) => kind,
        }
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(flag),
            Json::Number(number) => {
                number.as_i128().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Its value has another type than it takes.
    #[error("`{name}` must be {wanted}, got `{found}`")]
    WrongType {
        /// The option.
        name: String,
        /// What it takes.
        wanted: &'static str,
        /// The type that was given.
        found: String,
    },
    /// Its value is not one of those that it takes.
    #[error("`{name}` must be {range}, got `{got}`")]
    OutOfRange {
        /// The option.
        name: String,
        /// Which values it takes.
        range: String,
        /// What was given.
        got: String,
    },
    /// There is no such option.
    #[error("unknown option `{name}`; known are {known}")]
    Unknown {
        /// The option.
        name: String,
        /// The known options, separated by commas.
        known: String,
    },
    /// It is needed and was not given.
    #[error("`{name}` is missing")]
    Missing {
        /// The option.
        name: &'static str,
    },
}

impl OptionError {
    pub(crate) fn wrong_type(name: impl Into<String>, wanted: &'static str, value: &Value) -> Self {
        Self::WrongType { name: name.into(), wanted, found: value.kind().to_owned() }
    }

    pub(crate) fn out_of_range(
        name: impl Into<String>,
        range: impl Into<String>,
        got: &impl ToString,
    ) -> Self {
        Self::OutOfRange { name: name.into(), range: range.into(), got: got.to_string() }
    }
}

/// The range of a `u32`, in words.
pub(crate) const COUNT: &str = "an integer between 0 and 4294967295";

/// Named options that are read one by one, each with the type that it must have. An option that is null counts as missing.
pub struct Fields {
    left: BTreeMap<String, Value>,
    read: Vec<&'static str>,
}

impl Fields {
    /// The options in `value`. If it is not a map, the error calls it `what`.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn new(value: Value, what: &'static str) -> Result<Self, OptionError> {
        match value {
            Value::Map(fields) => {
                let left = fields.into_iter().filter(|(_, value)| *value != Value::Null).collect();
                Ok(Self { left, read: Vec::new() })
            }
            other => Err(OptionError::wrong_type(what, "named options", &other)),
        }
    }

    /// An option, taken out.
    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.read.push(name);
        self.left.remove(name)
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'static str, Value) -> Result<T, OptionError>,
    ) -> Result<Option<T>, OptionError> {
        self.take(name).map(|value| read(name, value)).transpose()
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, OptionError> {
        self.read(name, |name, value| match value {
            Value::Bool(flag) => Ok(flag),
            other => Err(OptionError::wrong_type(name, "a bool", &other)),
        })
    }

    /// A number; integers are numbers.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn number(&mut self, name: &'static str) -> Result<Option<f32>, OptionError> {
        self.read(name, |name, value| number(name, &value))
    }

    /// A number of seconds, 0 or more.
    ///
    /// # Errors
    /// [`OptionError::WrongType`], [`OptionError::OutOfRange`].
    pub fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>, OptionError> {
        self.read(name, |name, value| {
            let seconds = match &value {
                Value::Int(integer) => *integer as f64,
                Value::Float(number) => *number,
                other => return Err(OptionError::wrong_type(name, "a number of seconds", other)),
            };
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| OptionError::out_of_range(name, "a number of seconds of at least 0", &seconds))
        })
    }

    /// An integer that `T` holds; `range` says in words which do.
    ///
    /// # Errors
    /// [`OptionError::WrongType`], [`OptionError::OutOfRange`].
    pub fn integer<T: TryFrom<i128>>(
        &mut self,
        name: &'static str,
        range: &'static str,
    ) -> Result<Option<T>, OptionError> {
        self.read(name, |name, value| integer(name, range, &value))
    }

    /// A text.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, OptionError> {
        self.read(name, text)
    }

    /// A sequence.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn list(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, OptionError> {
        self.read(name, list)
    }

    /// A sequence of texts.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, OptionError> {
        self.read(name, |name, value| list(name, value)?.into_iter().map(|item| text(name, item)).collect())
    }

    /// A sequence of token ids.
    ///
    /// # Errors
    /// [`OptionError::WrongType`], [`OptionError::OutOfRange`].
    pub fn tokens(&mut self, name: &'static str) -> Result<Option<Vec<i32>>, OptionError> {
        self.read(name, tokens)
    }

    /// Named values.
    ///
    /// # Errors
    /// [`OptionError::WrongType`].
    pub fn map(&mut self, name: &'static str) -> Result<Option<Vec<(String, Value)>>, OptionError> {
        self.read(name, |name, value| match value {
            Value::Map(fields) => Ok(fields),
            other => Err(OptionError::wrong_type(name, "named values", &other)),
        })
    }

    /// One of the names that `T` reads.
    ///
    /// # Errors
    /// [`OptionError::WrongType`], [`OptionError::OutOfRange`].
    pub fn named<T>(
        &mut self,
        name: &'static str,
        all: &[(&'static str, T)],
    ) -> Result<Option<T>, OptionError>
    where
        T: Copy,
    {
        self.read(name, |name, value| {
            let given = text(name, value)?;
            let found = all.iter().find(|(known, _)| *known == given);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<String> = all.iter().map(|(known, _)| format!("`{known}`")).collect();
                OptionError::out_of_range(name, one_of(&names), &given)
            })
        })
    }

    /// Refuses options that were not read.
    ///
    /// # Errors
    /// [`OptionError::Unknown`].
    pub fn finish(self) -> Result<(), OptionError> {
        let Some(name) = self.left.into_keys().next() else { return Ok(()) };
        let known: Vec<String> = self.read.iter().map(|name| format!("`{name}`")).collect();
        Err(OptionError::Unknown { name, known: known.join(", ") })
    }
}

/// Names as a list in a sentence.
fn one_of(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}

pub(crate) fn number(name: &str, value: &Value) -> Result<f32, OptionError> {
    match value {
        Value::Int(integer) => Ok(*integer as f32),
        Value::Float(number) => Ok(*number as f32),
        other => Err(OptionError::wrong_type(name, "a number", other)),
    }
}

pub(crate) fn integer<T: TryFrom<i128>>(name: &str, range: &str, value: &Value) -> Result<T, OptionError> {
    match value {
        Value::Int(integer) => {
            T::try_from(*integer).map_err(|_| OptionError::out_of_range(name, range, integer))
        }
        other => Err(OptionError::wrong_type(name, "an integer", other)),
    }
}

pub(crate) fn text(name: &str, value: Value) -> Result<String, OptionError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(OptionError::wrong_type(name, "a text", &other)),
    }
}

pub(crate) fn list(name: &str, value: Value) -> Result<Vec<Value>, OptionError> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(OptionError::wrong_type(name, "a sequence", &other)),
    }
}

pub(crate) fn tokens(name: &str, value: Value) -> Result<Vec<i32>, OptionError> {
    match value {
        Value::List(items) => {
            items.iter().map(|item| integer(name, "token ids, which are integers of 32 bits", item)).collect()
        }
        other => Err(OptionError::wrong_type(name, "a sequence of token ids", &other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: Json) -> Fields {
        Fields::new(json.into(), "options").unwrap()
    }

    #[test]
    fn values_are_read_with_their_types() {
        let mut read = fields(json!({
            "flag": true, "number": 2, "half": 0.5, "integer": 7, "time": 1.5, "text": "t", "texts": ["a", "b"], "tokens": [1, 2], "none": null
        }));
        assert_eq!(read.flag("flag"), Ok(Some(true)));
        assert_eq!(read.number("number"), Ok(Some(2.0)));
        assert_eq!(read.number("half"), Ok(Some(0.5)));
        assert_eq!(read.integer::<u8>("integer", "small"), Ok(Some(7)));
        assert_eq!(read.seconds("time"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(read.text("text"), Ok(Some("t".to_owned())));
        assert_eq!(read.texts("texts"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(read.tokens("tokens"), Ok(Some(vec![1, 2])));
        assert_eq!(read.flag("none"), Ok(None));
        assert_eq!(read.flag("absent"), Ok(None));
        read.finish().unwrap();
    }

    #[test]
    fn errors_name_the_option() {
        let mut read = fields(json!({"flag": 1, "number": "x", "integer": 300, "half": 0.5, "mode": "c"}));
        assert_eq!(read.flag("flag").unwrap_err().to_string(), "`flag` must be a bool, got `int`");
        assert_eq!(read.number("number").unwrap_err().to_string(), "`number` must be a number, got `str`");
        let text = read.integer::<u8>("integer", "between 0 and 255").unwrap_err().to_string();
        assert_eq!(text, "`integer` must be between 0 and 255, got `300`");
        assert!(read.integer::<u8>("half", "").unwrap_err().to_string().contains("an integer, got `float`"));
        let text = read.named("mode", &[("a", 1), ("b", 2)]).unwrap_err().to_string();
        assert_eq!(text, "`mode` must be `a` or `b`, got `c`");
        let mut read = fields(json!({"time": -1, "late": "soon"}));
        let text = read.seconds("time").unwrap_err().to_string();
        assert_eq!(text, "`time` must be a number of seconds of at least 0, got `-1`");
        let text = read.seconds("late").unwrap_err().to_string();
        assert_eq!(text, "`late` must be a number of seconds, got `str`");
        let mut read = fields(json!({"a": 1, "typo": 2}));
        assert_eq!(read.integer::<u8>("a", ""), Ok(Some(1)));
        assert_eq!(read.finish().unwrap_err().to_string(), "unknown option `typo`; known are `a`");
    }
}
