//! Reads the JSON files of a model's folder; errors about their values name file and key.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::text::{pointer_problem, shown};

use super::error::ConvertError;

/// Largest JSON file that is read, in bytes: vocabularies of 262,144 tokens take about 33 MB.
const MAX_BYTES: u64 = 512 << 20;

/// A JSON object with the file that it came from.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    path: PathBuf,
    map: Map<String, Value>,
}

impl Object {
    /// Reads the object in the file at `path`; `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, ConvertError> {
        let Some(text) = read_text(path)? else { return Ok(None) };
        match parse(text.as_bytes()) {
            Ok(Value::Object(map)) => Ok(Some(Self { path: path.to_owned(), map })),
            Ok(_) => Err(ConvertError::source(path, "it must hold a JSON object")),
            Err(error) => Err(ConvertError::source(path, format!("it is not valid JSON: {error}"))),
        }
    }

    /// An object without entries that stands for the file at `path`.
    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), map: Map::new() }
    }

    /// The file that it came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The entries.
    pub(crate) fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Copies all entries of the object under `key` to the top level; multimodal models keep those of their text part in such an object.
    pub(crate) fn raise(&mut self, key: &str) {
        if let Some(Value::Object(inner)) = self.map.get(key).cloned() {
            self.map.extend(inner);
        }
    }

    /// Sets `key`.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    /// The value of `key`; `None` where it is missing or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The first of `keys` that has a value.
    pub(super) fn first(&self, keys: &[&'static str]) -> Option<(&'static str, &Value)> {
        keys.iter().find_map(|key| Some((*key, self.get(key)?)))
    }

    /// The first of `keys` as a count.
    pub(crate) fn count(&self, keys: &[&'static str]) -> Result<Option<u32>, ConvertError> {
        self.first(keys)
            .map(|(key, value)| {
                as_count(value).ok_or_else(|| self.mistyped(key, value, "a whole number below 2^32"))
            })
            .transpose()
    }

    /// The first of `keys` as a number.
    pub(crate) fn number(&self, keys: &[&'static str]) -> Result<Option<f64>, ConvertError> {
        self.first(keys)
            .map(|(key, value)| value.as_f64().ok_or_else(|| self.mistyped(key, value, "a number")))
            .transpose()
    }

    /// The first of `keys`, which must be there, as a count.
    pub(crate) fn need_count(&self, keys: &[&'static str]) -> Result<u32, ConvertError> {
        self.count(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// The first of `keys`, which must be there, as a number.
    pub(crate) fn need_number(&self, keys: &[&'static str]) -> Result<f64, ConvertError> {
        self.number(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// The value of `key` if it is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The value of `key` if it is true or false.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// The items of the array under `key`; none if there is no such array.
    pub(crate) fn items(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The object under `key` as an [`Object`].
    pub(crate) fn child(&self, key: &str) -> Option<Self> {
        let map = self.get(key)?.as_object()?.clone();
        Some(Self { path: self.path.clone(), map })
    }

    /// The error for a file that has none of `keys`.
    pub(crate) fn missing(&self, keys: &[&str]) -> ConvertError {
        let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        ConvertError::source(&self.path, format!("key {} is missing", names.join(" or ")))
    }

    /// The error for a `value` of `key` that is not `expected`.
    pub(crate) fn mistyped(&self, key: &str, value: &Value, expected: &str) -> ConvertError {
        let mut found: String = value.to_string().chars().take(80).collect();
        if value.to_string().len() > found.len() {
            found.push('…');
        }
        ConvertError::source(&self.path, format!("key `{key}` must be {expected}, but is `{found}`"))
    }
}

/// `value` as a count, if it is a whole number that fits GGUF's `u32`; JSON writers may have made it a float.
pub(super) fn as_count(value: &Value) -> Option<u32> {
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
        Some(number as u64)
    })?;
    u32::try_from(whole).ok()
}

/// The text of the file at `path`; `None` if there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ConvertError> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    if let Some(problem) = pointer_problem(&bytes) {
        return Err(ConvertError::source(path, format!("it {problem}")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| ConvertError::source(path, "it is not text in UTF-8"))
}

/// The bytes of the file at `path`; `None` if there is no such file.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, ConvertError> {
    let failed = |source| ConvertError::Read { path: path.to_owned(), source };
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.len() > MAX_BYTES {
        return Err(ConvertError::source(
            path,
            format!("it has `{}` bytes, more than any known one", metadata.len()),
        ));
    }
    std::fs::read(path).map(Some).map_err(failed)
}

/// Parses JSON `text`. A duplicate key is an error, because readers do not agree on which one counts.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Unique>(text).map(|unique| unique.0)
}

/// A value without duplicate keys.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{}` is there twice", shown(key.as_bytes()))));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_there_twice_are_refused_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":3}}]"#, r#"{"\u0061":1,"a":2}"#] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("key `a` is there twice"), "{error}");
        }
        let text = r#"{"a":[1,-2,2.5,true,null,"x"],"b":{"a":{}}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
