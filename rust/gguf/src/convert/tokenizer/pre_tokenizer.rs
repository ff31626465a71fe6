//! llama.cpp's name of the pre-tokenizer, which splits text before byte-pair encoding.
//!
//! The pinned converter hashes the ids of a test text, and so recognizes only the vocabularies in its list. The definition in `tokenizer.json` tells
//! the same without running the tokenizer, and also for vocabularies that were extended.

use serde_json::Value;

use crate::convert::error::ConvertError;

use super::files::TokenizerFiles;

/// Patterns of a `Split` before `ByteLevel`, with the names whose patterns in `src/llama-vocab.cpp` (`llm_tokenizer_bpe`) are the same.
const PATTERNS: [(&str, &str); 5] = [
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen35",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "tekken",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "gpt-4o",
    ),
];

/// The name for the tokenizer of `files`.
pub(super) fn name(files: &TokenizerFiles) -> Result<&'static str, ConvertError> {
    let path = files.folder.join("tokenizer.json");
    let Some(tokenizer) = &files.tokenizer else {
        // The classes of slow tokenizers have their patterns built in.
        return match files.config.text("tokenizer_class") {
            Some("Qwen2Tokenizer" | "Qwen2TokenizerFast") => Ok("qwen2"),
            Some("GPT2Tokenizer" | "GPT2TokenizerFast") => Ok("gpt-2"),
            _ => Err(ConvertError::source(&path, "it is not there, and nothing else says how text is split")),
        };
    };
    let definition = tokenizer.get("pre_tokenizer").ok_or_else(|| tokenizer.missing(&["pre_tokenizer"]))?;
    let steps: Vec<&Value> = match definition.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![definition],
    };
    known(&steps, files).ok_or_else(|| {
        let shown: String = definition.to_string().chars().take(400).collect();
        let problem = format!(
            "llama.cpp has no name for key `pre_tokenizer`, `{shown}`; name one that splits alike with `pre_tokenizer`"
        );
        ConvertError::source(&path, problem)
    })
}

fn known(steps: &[&Value], files: &TokenizerFiles) -> Option<&'static str> {
    let kind = |step: &Value| step.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag =
        |step: &Value, key: &str, default: bool| step.get(key).and_then(Value::as_bool).unwrap_or(default);
    let (bytes, before) = steps.split_last()?;
    if kind(bytes) != "ByteLevel" || flag(bytes, "add_prefix_space", true) {
        return None;
    }
    match (before, flag(bytes, "use_regex", true)) {
        ([], true) => Some("gpt-2"),
        // StarCoder has this definition, too; llama.cpp splits both alike.
        ([digits], true) if kind(digits) == "Digits" && flag(digits, "individual_digits", false) => {
            Some("smollm")
        }
        ([split], false) if kind(split) == "Split" => {
            let is_isolated = split.get("behavior").and_then(Value::as_str) == Some("Isolated");
            let pattern = split.get("pattern")?.get("Regex")?.as_str()?;
            let (_, name) = PATTERNS.iter().find(|(known, _)| *known == pattern)?;
            (is_isolated && !flag(split, "invert", false)).then(|| refined(name, files))
        }
        _ => None,
    }
}

/// Tells apart names with the same pattern.
fn refined(name: &'static str, files: &TokenizerFiles) -> &'static str {
    let model = files.tokenizer.as_ref().and_then(|tokenizer| tokenizer.get("model"));
    let ignores_merges =
        model.and_then(|model| model.get("ignore_merges")).and_then(Value::as_bool).unwrap_or(false);
    let has_added = |text: &str| {
        files.tokenizer.as_ref().is_some_and(|tokenizer| {
            tokenizer
                .items("added_tokens")
                .iter()
                .any(|token| token.get("content").and_then(Value::as_str) == Some(text))
        })
    };
    match name {
        // llama.cpp takes whole words from the vocabulary without merging them only under the name `llama-bpe`.
        "llama-bpe" if !ignores_merges => "dbrx",
        "qwen2" if has_added("<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>") => "deepseek-r1-qwen",
        other => other,
    }
}
