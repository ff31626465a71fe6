//! Hyperparameters as a file's metadata have them: typed, in range, or an error that names the key.

use std::ops::RangeInclusive;

use tabagent_gguf::{Metadata, Value};

use crate::error::LoadError;

/// The most layers of a model (`LLAMA_MAX_LAYERS` in `src/llama-hparams.h` of llama.cpp).
const MAX_LAYERS: usize = 512;

/// The metadata of a model, read by the names that follow the architecture's: `block_count` is `llama.block_count`.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of `architecture`, which the metadata name.
    pub(crate) fn new(metadata: &'a Metadata, architecture: &'a str) -> Self {
        Self { metadata, architecture }
    }

    /// A whole number in `range`; an error if it is missing.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<usize>) -> Result<usize, LoadError> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            Some(value) => whole(&key, &value, &range),
            None => Err(problem(key, format!("is missing, but must be {}", words(&range)))),
        }
    }

    /// A whole number in `range`, or `default` if there is none.
    pub(crate) fn number_or(
        &self,
        name: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, LoadError> {
        let key = self.key(name);
        self.metadata.get(&key).map_or(Ok(default), |value| whole(&key, &value, &range))
    }

    /// How many layers there are.
    pub(crate) fn n_layers(&self) -> Result<usize, LoadError> {
        self.number("block_count", 1..=MAX_LAYERS)
    }

    /// A whole number in `range` for each layer: an array, or one number for all of them. `None` if there is neither.
    pub(crate) fn each_layer(
        &self,
        name: &str,
        n_layers: usize,
        range: RangeInclusive<usize>,
    ) -> Result<Option<Vec<usize>>, LoadError> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        let Some(array) = value.as_array() else {
            return Ok(Some(vec![whole(&key, &value, &range)?; n_layers]));
        };
        if array.len() < n_layers {
            let text = format!("has `{}` items, but there are `{n_layers}` layers", array.len());
            return Err(problem(key, text));
        }
        array.iter().take(n_layers).map(|item| whole(&key, &item, &range)).collect::<Result<_, _>>().map(Some)
    }

    /// A bool for each layer, from an array of bools or numbers; `None` if there is no array.
    pub(crate) fn flags(&self, name: &str, n_layers: usize) -> Result<Option<Vec<bool>>, LoadError> {
        let key = self.key(name);
        let Some(array) = self.metadata.get(&key).and_then(|value| value.as_array()) else { return Ok(None) };
        let flag = |item: Value<'_>| item.as_bool().or_else(|| item.as_u64().map(|n| n != 0));
        let flags: Option<Vec<bool>> = array.iter().take(n_layers).map(flag).collect();
        match flags {
            Some(flags) if flags.len() == n_layers => Ok(Some(flags)),
            _ => Err(problem(key, format!("must have a bool for each of the `{n_layers}` layers"))),
        }
    }

    /// A finite number above 0; an error if it is missing.
    pub(crate) fn positive(&self, name: &str) -> Result<f32, LoadError> {
        match self.positive_if_any(name)? {
            Some(value) => Ok(value),
            None => Err(problem(self.key(name), "is missing, but must be a number above `0`".to_owned())),
        }
    }

    /// A finite number above 0; `None` if it is missing or 0, as llama.cpp takes a 0 for "not set".
    pub(crate) fn positive_if_any(&self, name: &str) -> Result<Option<f32>, LoadError> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        match value.as_f64().map(|number| number as f32) {
            Some(0.0) => Ok(None),
            Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
            _ => Err(problem(key, format!("is `{}`, but must be a finite number above `0`", shown(&value)))),
        }
    }

    /// A bool, or `default` if it is missing.
    pub(crate) fn bool_or(&self, name: &str, default: bool) -> Result<bool, LoadError> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| problem(key, format!("is `{}`, but must be a bool", shown(&value))))
    }

    /// One of some words, or the first of them if it is missing.
    pub(crate) fn word<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<T, LoadError> {
        let key = self.key(name);
        let names = || known.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let found = match self.metadata.get(&key) {
            Some(value) => {
                let text = value.as_str();
                let entry = known.iter().find(|(word, _)| Some(*word) == text);
                entry.ok_or_else(|| {
                    problem(key, format!("is `{}`, but must be one of {}", shown(&value), names()))
                })?
            }
            None => known.first().ok_or_else(|| problem(key, "is missing".to_owned()))?,
        };
        Ok(found.1)
    }

    /// Whether there is such a key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.get(&self.key(name)).is_some()
    }

    /// An error about a key's value.
    pub(crate) fn error(&self, name: &str, text: String) -> LoadError {
        problem(self.key(name), text)
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }
}

fn whole(key: &str, value: &Value<'_>, range: &RangeInclusive<usize>) -> Result<usize, LoadError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    match number {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(problem(key.to_owned(), format!("is `{}`, but must be {}", shown(value), words(range)))),
    }
}

fn words(range: &RangeInclusive<usize>) -> String {
    format!("a whole number from `{}` to `{}`", range.start(), range.end())
}

fn problem(key: String, problem: String) -> LoadError {
    LoadError::Key { key, problem }
}

/// A value in an error: short, whatever it is.
fn shown(value: &Value<'_>) -> String {
    if let Some(number) = value.as_u64() {
        return number.to_string();
    }
    if let Some(number) = value.as_f64() {
        return number.to_string();
    }
    match value {
        Value::Bool(bool) => bool.to_string(),
        Value::String(text) => text.to_string_lossy().chars().take(40).collect(),
        Value::Array(array) => format!("an array of {} items", array.len()),
        other => other.value_type().to_string(),
    }
}
