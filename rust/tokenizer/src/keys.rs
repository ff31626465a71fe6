//! The metadata of a tokenizer, read strictly.

use tabagent_gguf::{Array, Metadata, Value, ValueType};

use crate::error::{TokenizerError, shown};

/// Reads the keys of a file.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a>(pub(crate) &'a Metadata);

impl<'a> Keys<'a> {
    /// A text; `None` if the key is missing.
    pub(crate) fn text(self, key: &'static str) -> Result<Option<&'a str>, TokenizerError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| mistyped(key, &value, "text"))
    }

    /// A switch; `None` if the key is missing.
    pub(crate) fn flag(self, key: &'static str) -> Result<Option<bool>, TokenizerError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| mistyped(key, &value, "a bool"))
    }

    /// A number of 32 bits; `None` if the key is missing.
    pub(crate) fn number(self, key: &'static str) -> Result<Option<u32>, TokenizerError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::U32(number)) => Ok(Some(number)),
            Some(value) => Err(mistyped(key, &value, "a u32")),
        }
    }

    /// An array whose items have one of `types`; `None` if the key is missing.
    pub(crate) fn array(
        self,
        key: &'static str,
        types: &[ValueType],
        wanted: &str,
    ) -> Result<Option<Array<'a>>, TokenizerError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match value.as_array() {
            Some(array) if types.contains(&array.item_type()) => Ok(Some(array)),
            _ => Err(mistyped(key, &value, wanted)),
        }
    }

    /// An array of texts, each up to its first zero byte, as llama.cpp reads it; `None` if the key is missing.
    pub(crate) fn texts(
        self,
        key: &'static str,
    ) -> Result<Option<(usize, impl Iterator<Item = &'a [u8]> + use<'a>)>, TokenizerError> {
        let Some(array) = self.array(key, &[ValueType::String], "an array of texts")? else {
            return Ok(None);
        };
        let texts = array.strings().into_iter().flatten().map(|text| {
            let bytes = text.as_bytes();
            memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
        });
        Ok(Some((array.len(), texts)))
    }
}

fn mistyped(key: &'static str, value: &Value<'_>, wanted: &str) -> TokenizerError {
    let found = shown(value.to_string().as_bytes());
    TokenizerError::invalid(key, format!("must be {wanted}, but is `{found}` of type {}", value.full_type()))
}
