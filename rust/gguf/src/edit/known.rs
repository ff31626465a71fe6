//! The types of keys that readers know, whatever the model (`gguf-py/gguf/constants.py` and `gguf_writer.py`).

use crate::owned::OwnedValue;
use crate::value::{Value, ValueType};

/// The type of a value; for an array also the type of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain(ValueType),
    ArrayOf(ValueType),
}

impl Kind {
    /// The type of `value`.
    pub(crate) fn of_owned(value: &OwnedValue) -> Self {
        match value {
            OwnedValue::Array(array) => Self::ArrayOf(array.item_type()),
            other => Self::Plain(other.value_type()),
        }
    }

    /// The type of `value`.
    pub(crate) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Array(array) => Self::ArrayOf(array.item_type()),
            other => Self::Plain(other.value_type()),
        }
    }

    /// As it is written: `u32`, `arr[str]`.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Plain(kind) => kind.name().to_owned(),
            Self::ArrayOf(kind) => format!("arr[{}]", kind.name()),
        }
    }
}

const TEXT: &[Kind] = &[Kind::Plain(ValueType::String)];
const TEXTS: &[Kind] = &[Kind::ArrayOf(ValueType::String)];
const COUNT: &[Kind] = &[Kind::Plain(ValueType::U32)];
const FLAG: &[Kind] = &[Kind::Plain(ValueType::Bool)];
const INTEGER: &[Kind] = &[Kind::Plain(ValueType::I32)];
const NUMBER: &[Kind] = &[Kind::Plain(ValueType::F32)];
const SHORT: &[Kind] = &[Kind::Plain(ValueType::U16)];

/// Keys that describe models, data sets and the file itself, after `general.`, `general.source.` and so on.
const DESCRIPTIONS: [&str; 10] =
    ["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url", "license"];

/// The types that `key` may have; `None` for a key that only some models have.
pub(crate) fn kinds(key: &str) -> Option<&'static [Kind]> {
    if let Some(key) = key.strip_prefix("general.") {
        return general(key);
    }
    if let Some(key) = key.strip_prefix("tokenizer.ggml.") {
        return tokenizer(key);
    }
    match key {
        "split.no" | "split.count" => Some(SHORT),
        "split.tensors.count" => Some(INTEGER),
        "tokenizer.chat_template" | "tokenizer.huggingface.json" | "tokenizer.rwkv.world" => Some(TEXT),
        "tokenizer.chat_templates" => Some(TEXTS),
        _ if key.starts_with("tokenizer.chat_template.") => Some(TEXT),
        _ => None,
    }
}

fn general(key: &str) -> Option<&'static [Kind]> {
    match key {
        "alignment" | "quantization_version" | "file_type" | "base_model.count" | "dataset.count" => {
            return Some(COUNT);
        }
        "tags" | "languages" | "datasets" => return Some(TEXTS),
        "sampling.top_k" | "sampling.penalty_last_n" | "sampling.mirostat" => return Some(INTEGER),
        "sampling.sequence"
        | "architecture"
        | "type"
        | "finetune"
        | "basename"
        | "quantized_by"
        | "size_label"
        | "license.name"
        | "license.link"
        | "source.huggingface.repository" => return Some(TEXT),
        _ if key.starts_with("sampling.") => return Some(NUMBER),
        _ => {}
    }
    let rest = key.strip_prefix("source.").unwrap_or(key);
    let rest =
        ["base_model.", "dataset."].iter().find_map(|start| rest.strip_prefix(start)).map_or(rest, |rest| {
            rest.split_once('.')
                .filter(|(id, _)| id.bytes().all(|b| b.is_ascii_digit()))
                .map_or(rest, |(_, rest)| rest)
        });
    DESCRIPTIONS.contains(&rest).then_some(TEXT)
}

fn tokenizer(key: &str) -> Option<&'static [Kind]> {
    const SCORES: &[Kind] = &[Kind::ArrayOf(ValueType::F32), Kind::ArrayOf(ValueType::I32)];
    const TYPES: &[Kind] = &[Kind::ArrayOf(ValueType::I32)];
    const BYTES: &[Kind] = &[Kind::ArrayOf(ValueType::U8), Kind::ArrayOf(ValueType::I8)];
    match key {
        "model" | "pre" => Some(TEXT),
        "tokens" | "merges" => Some(TEXTS),
        "scores" => Some(SCORES),
        "token_type" => Some(TYPES),
        "precompiled_charsmap" => Some(BYTES),
        "token_type_count" => Some(COUNT),
        "remove_extra_whitespaces" | "normalizer.lowercase" | "normalizer.strip_accents" => Some(FLAG),
        _ if key.ends_with("_token_id") => Some(COUNT),
        _ if key.starts_with("add_") => Some(FLAG),
        _ => None,
    }
}

/// The rule that `value` breaks as the value of `key`, if it breaks one.
pub(crate) fn problem(key: &str, value: &OwnedValue) -> Option<String> {
    let found = Kind::of_owned(value);
    let known = kinds(key)?;
    // An empty array fits any item type.
    let is_empty = matches!(value, OwnedValue::Array(array) if array.is_empty());
    if known.contains(&found) || (is_empty && matches!(known, [Kind::ArrayOf(_), ..])) {
        return None;
    }
    let names: Vec<String> = known.iter().map(|kind| format!("`{}`", kind.name())).collect();
    Some(format!("must have type {}, not `{}`", names.join(" or "), found.name()))
}

#[cfg(test)]
mod tests {
    use crate::owned::OwnedArray;

    use super::*;

    #[test]
    fn types_of_known_keys() {
        for (key, kind) in [
            ("general.name", "str"),
            ("general.source.doi", "str"),
            ("general.base_model.12.repo_url", "str"),
            ("general.dataset.count", "u32"),
            ("general.sampling.temp", "f32"),
            ("general.sampling.top_k", "i32"),
            ("general.tags", "arr[str]"),
            ("tokenizer.chat_template.tool_use", "str"),
            ("tokenizer.ggml.bos_token_id", "u32"),
            ("split.count", "u16"),
        ] {
            assert_eq!(kinds(key).unwrap()[0].name(), kind, "{key}");
        }
        for unknown in ["llama.block_count", "general.mine", "general.base_model.x.mine", "mine", ""] {
            assert_eq!(kinds(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn wrong_types_are_told_and_empty_arrays_are_of_any() {
        let text = problem("general.name", &OwnedValue::U32(1)).unwrap();
        assert_eq!(text, "must have type `str`, not `u32`");
        assert_eq!(problem("general.tags", &OwnedValue::Array(OwnedArray::I32(Vec::new()))), None);
        assert_eq!(problem("mine", &OwnedValue::U32(1)), None);
    }
}
