//! `SentencePiece`'s Unigram vocabularies, from `tokenizer.json` (`_xlmroberta_set_vocab` in `conversion/bert.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, as_count};
use crate::owned::{OwnedArray, OwnedValue};
use crate::writer::GgufWriter;

use super::added_tokens;
use super::base::MAX_TOKENS;
use super::vocabulary::{Token, TokenType, Vocabulary};

/// Score of ids that have no token.
const UNUSED_SCORE: f32 = -10_000.0;

/// The vocabulary of a `tokenizer.json`.
pub(super) fn vocabulary(tokenizer: &Object, config: &Object) -> Result<Vocabulary, ConvertError> {
    let model = tokenizer.get("model");
    let list = model.and_then(|model| model.get("vocab")).and_then(Value::as_array);
    let list = list.ok_or_else(|| tokenizer.missing(&["model.vocab"]))?;
    let added = added_tokens::of_tokenizer(tokenizer)?;
    let needed = added.keys().next_back().map_or(0, |last| *last as usize + 1).max(list.len());
    let len = config.count(&["vocab_size"])?.map_or(needed, |len| len as usize).max(needed);
    if len == 0 || len > MAX_TOKENS {
        let problem = format!("it has {len} tokens, which no vocabulary has");
        return Err(ConvertError::source(tokenizer.path(), problem));
    }
    let mut tokens = Vocabulary::padding(len, UNUSED_SCORE);
    for (token, entry) in tokens.iter_mut().zip(list) {
        let read = || Some((entry.get(0)?.as_str()?, entry.get(1)?.as_f64()?));
        let Some((text, score)) = read() else {
            return Err(tokenizer.mistyped("model.vocab", entry, "a list of texts and scores"));
        };
        *token = Token { text: text.as_bytes().to_vec(), score: score as f32, kind: TokenType::Normal };
    }
    for (id, new) in added {
        if let Some(token) = tokens.get_mut(id as usize) {
            let kind = if new.is_special { TokenType::Control } else { TokenType::UserDefined };
            let score = if token.kind == TokenType::Unused { 0.0 } else { token.score };
            *token = Token { text: new.text.into_bytes(), score, kind };
        }
    }
    if let Some(token) = unknown(tokenizer).and_then(|id| tokens.get_mut(id as usize)) {
        token.kind = TokenType::Unknown;
    }
    Ok(Vocabulary { model: "t5", pre: "default".to_owned(), tokens, has_scores: true, merges: Vec::new() })
}

/// Adds what a `tokenizer.json` says of the way in which text is normalized.
pub(super) fn add(mut writer: GgufWriter, tokenizer: &Object) -> Result<GgufWriter, ConvertError> {
    let mut steps = Vec::new();
    for key in ["normalizer", "pre_tokenizer"] {
        collect(tokenizer.get(key), &mut steps);
    }
    let kind = |step: &Value| step.get("type").and_then(Value::as_str).map(str::to_owned);
    if let Some(step) = steps.iter().find(|step| kind(step).as_deref() == Some("Precompiled")) {
        let text = step.get("precompiled_charsmap").and_then(Value::as_str).unwrap_or_default();
        let map = STANDARD.decode(text).map_err(|error| {
            let problem = format!("key `precompiled_charsmap` is no base64: {error}");
            ConvertError::source(tokenizer.path(), problem)
        })?;
        if !map.is_empty() {
            let map = OwnedValue::Array(OwnedArray::U8(map));
            writer = writer.set("tokenizer.ggml.precompiled_charsmap", map);
        }
    }
    // White space beside white space goes either way.
    let merges_spaces = steps.iter().any(|step| match kind(step).as_deref() {
        Some("WhitespaceSplit") => true,
        Some("Replace") => {
            step.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str()) == Some(" {2,}")
        }
        _ => false,
    });
    writer = writer.set("tokenizer.ggml.remove_extra_whitespaces", merges_spaces);
    if let Some(id) = unknown(tokenizer) {
        writer = writer.set("tokenizer.ggml.unknown_token_id", id);
    }
    Ok(writer)
}

fn unknown(tokenizer: &Object) -> Option<u32> {
    as_count(tokenizer.get("model")?.get("unk_id")?)
}

fn collect<'a>(step: Option<&'a Value>, steps: &mut Vec<&'a Value>) {
    let Some(step) = step else { return };
    let inner = ["normalizers", "pretokenizers"].iter().find_map(|key| step.get(key)?.as_array());
    match inner {
        Some(inner) => inner.iter().for_each(|step| collect(Some(step), steps)),
        None => steps.push(step),
    }
}
