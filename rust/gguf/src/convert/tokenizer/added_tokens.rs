//! Tokens that were added to a vocabulary after it was trained.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, as_count};

/// An added token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) text: String,
    pub(super) is_special: bool,
}

/// Added tokens by id.
pub(super) type AddedTokens = BTreeMap<u32, AddedToken>;

/// Those in `added_tokens.json`.
pub(super) fn of_plain_file(folder: &Path) -> Result<AddedTokens, ConvertError> {
    let Some(file) = Object::read(&folder.join("added_tokens.json"))? else { return Ok(AddedTokens::new()) };
    file.map()
        .iter()
        .map(|(text, id)| {
            let id = as_count(id).ok_or_else(|| file.mistyped(text, id, "the id of a token"))?;
            Ok((id, AddedToken { text: text.clone(), is_special: false }))
        })
        .collect()
}

/// Those under `added_tokens_decoder` in `tokenizer_config.json`.
pub(super) fn of_config(config: &Object) -> Result<AddedTokens, ConvertError> {
    let Some(decoder) = config.child("added_tokens_decoder") else { return Ok(AddedTokens::new()) };
    decoder
        .map()
        .iter()
        .map(|(id, entry)| {
            let fail = || {
                config.mistyped("added_tokens_decoder", entry, "an object of ids and tokens with `content`")
            };
            let id = id.parse().map_err(|_| fail())?;
            Ok((id, token(entry).ok_or_else(fail)?))
        })
        .collect()
}

/// Those under `added_tokens` in `tokenizer.json`.
pub(super) fn of_tokenizer(tokenizer: &Object) -> Result<AddedTokens, ConvertError> {
    tokenizer
        .items("added_tokens")
        .iter()
        .map(|entry| {
            let fail =
                || tokenizer.mistyped("added_tokens", entry, "a list of objects with `id` and `content`");
            let id = entry.get("id").and_then(as_count).ok_or_else(fail)?;
            Ok((id, token(entry).ok_or_else(fail)?))
        })
        .collect()
}

fn token(entry: &Value) -> Option<AddedToken> {
    let text = entry.get("content")?.as_str()?.to_owned();
    let is_special = entry.get("special").and_then(Value::as_bool).unwrap_or(false);
    Some(AddedToken { text, is_special })
}
