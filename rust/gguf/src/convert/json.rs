//! JSON files of a model's folder, and their values with errors that name file and key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

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
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Some(Self { path: path.to_owned(), map })),
            Ok(_) => Err(ConvertError::source(path, "it must hold a JSON object")),
            Err(error) => Err(ConvertError::source(path, format!("it is not valid JSON: {error}"))),
        }
    }

    /// An object without entries that stands for the file at `path`.
    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), map: Map::new() }
    }

    /// Where it came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The entries.
    pub(super) fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Takes over all entries of the object under `key`, as multimodal models keep those of their text part.
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

    /// The object under `key` as one of its own.
    pub(crate) fn child(&self, key: &str) -> Option<Self> {
        let map = self.get(key)?.as_object()?.clone();
        Some(Self { path: self.path.clone(), map })
    }

    /// The error for `keys` of which none is there.
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

/// A whole number that fits GGUF's `u32`; JSON writers may have made it a float.
pub(super) fn as_count(value: &Value) -> Option<u32> {
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
        Some(number as u64)
    })?;
    u32::try_from(whole).ok()
}

/// The text of the file at `path`; `None` if there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ConvertError> {
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
    std::fs::read_to_string(path).map(Some).map_err(failed)
}
