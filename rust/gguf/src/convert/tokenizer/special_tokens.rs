//! Which tokens are special, which of them are added to every text, and how text is normalized (`SpecialVocab` in
//! `gguf-py/gguf/vocab.py`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, as_count};
use crate::writer::GgufWriter;

use super::files::TokenizerFiles;

/// Roles of tokens, with the keys of their ids; `cls` has none, but stands in for `bos`.
const ROLES: [(&str, &str); 8] = [
    ("bos", "tokenizer.ggml.bos_token_id"),
    ("eos", "tokenizer.ggml.eos_token_id"),
    ("unk", "tokenizer.ggml.unknown_token_id"),
    ("sep", "tokenizer.ggml.seperator_token_id"),
    ("pad", "tokenizer.ggml.padding_token_id"),
    ("mask", "tokenizer.ggml.mask_token_id"),
    ("eot", "tokenizer.ggml.eot_token_id"),
    ("eom", "tokenizer.ggml.eom_token_id"),
];

/// Roles that can be added to every text.
const ADDED_ROLES: [&str; 3] = ["bos", "eos", "sep"];

/// What a folder says about special tokens.
#[derive(Default)]
pub(super) struct SpecialTokens {
    /// Texts by role.
    texts: BTreeMap<&'static str, String>,
    /// Whether a role's token is added.
    added: BTreeMap<&'static str, bool>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
}

impl SpecialTokens {
    pub(super) fn read(files: &TokenizerFiles) -> Self {
        let mut found = Self::default();
        let roles = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];
        for role in roles {
            if let Some(text) = token_text(files.config.get(&format!("{role}_token"))) {
                found.texts.insert(role, text);
            }
        }
        if let Some(tokenizer) = &files.tokenizer {
            tokenizer.get("normalizer").into_iter().for_each(|normalizer| found.read_normalizer(normalizer));
            found.stand_in("bos", "cls");
            found.stand_in("eos", "sep");
            if let Some(processor) = tokenizer.get("post_processor") {
                let inner = processor.get("processors").and_then(Value::as_array);
                for processor in inner.map_or(std::slice::from_ref(processor), Vec::as_slice) {
                    found.read_processor(processor);
                }
            }
        }
        for role in ADDED_ROLES {
            if let Some(flag) = files.config.flag(&format!("add_{role}_token")) {
                // The processor takes precedence over the configuration.
                found.added.entry(role).or_insert(flag);
            }
        }
        found
    }

    fn stand_in(&mut self, role: &'static str, other: &'static str) {
        if let (None, Some(text)) = (self.texts.get(role), self.texts.get(other).cloned()) {
            self.texts.insert(role, text);
        }
    }

    fn read_normalizer(&mut self, normalizer: &Value) {
        let flag = |key: &str| normalizer.get(key).and_then(Value::as_bool);
        match normalizer.get("type").and_then(Value::as_str) {
            Some("Lowercase") => self.lowercase = Some(true),
            Some("StripAccents") => self.strip_accents = Some(true),
            Some("BertNormalizer") => {
                self.lowercase = flag("lowercase").or(self.lowercase);
                self.strip_accents = flag("strip_accents").or(self.strip_accents);
            }
            Some("Sequence") => {
                let steps = normalizer.get("normalizers").and_then(Value::as_array);
                steps.into_iter().flatten().for_each(|step| self.read_normalizer(step));
            }
            _ => {}
        }
    }

    fn read_processor(&mut self, processor: &Value) {
        match processor.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => {
                self.added.entry("bos").or_insert(false);
                self.added.entry("eos").or_insert(false);
            }
            Some("RobertaProcessing") => {
                self.added.extend([("bos", true), ("eos", true), ("sep", true)]);
            }
            Some("TemplateProcessing") => self.read_template(processor),
            _ => {}
        }
    }

    /// Reads templates that put tokens at the start or the end of a text, and others between two texts.
    fn read_template(&mut self, processor: &Value) {
        let steps = |key: &str| processor.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let special = |step: &Value| Some(step.get("SpecialToken")?.get("id")?.as_str()?.to_owned());
        let single = steps("single");
        let (mut first, mut last) = (None, None);
        if let [start, .., end] = single {
            (first, last) = (special(start), special(end));
        }
        if let Some(first) = &first {
            if self.texts.get("bos") != Some(first) && self.texts.get("cls") != Some(first) {
                self.texts.entry("bos").or_insert_with(|| first.clone());
                self.texts.entry("cls").or_insert_with(|| first.clone());
            }
            let is_known = [self.texts.get("bos"), self.texts.get("cls")].contains(&Some(first));
            self.added.insert("bos", is_known);
        }
        if let Some(last) = &last {
            if let Some(eos) = self.texts.get("eos").filter(|eos| *eos != last).cloned() {
                // Then the token that the configuration calls the end only ends a turn.
                let role = if self.texts.contains_key("eot") { "eom" } else { "eot" };
                self.texts.entry(role).or_insert(eos);
            }
            self.texts.insert("eos", last.clone());
            self.added.insert("eos", true);
        }
        let mut pair = steps("pair");
        if let (Some(first), [start, rest @ ..]) = (&first, pair)
            && special(start).as_ref() == Some(first)
        {
            pair = rest;
        }
        if let (Some(last), [rest @ .., end]) = (&last, pair)
            && special(end).as_ref() == Some(last)
        {
            pair = rest;
        }
        let sequence = |step: &Value| Some(step.get("Sequence")?.get("id")?.as_str()?.to_owned());
        if let [start, between @ .., end] = pair
            && sequence(start).as_deref() == Some("A")
            && sequence(end).as_deref() == Some("B")
            && let [separator, others @ ..] = between
        {
            let ends = |text: &String| [self.texts.get("sep"), self.texts.get("eos")].contains(&Some(text));
            let is_separator = special(separator).is_some_and(|text| last.is_none() && ends(&text))
                || matches!(others, [second] if special(second).is_some_and(|text| ends(&text)));
            self.added.insert("sep", is_separator);
            if let (true, None, Some(eos)) =
                (is_separator, self.texts.get("sep"), self.texts.get("eos").cloned())
            {
                self.texts.insert("sep", eos);
            }
        }
    }

    /// Adds the keys to `writer`; ids come from the added tokens, then from `config.json`. Ids from `n_vocab` on are left out.
    pub(super) fn add(
        &self,
        mut writer: GgufWriter,
        files: &TokenizerFiles,
        config: &Object,
        n_vocab: usize,
    ) -> Result<GgufWriter, ConvertError> {
        for (role, key) in ROLES {
            let id = match self.texts.get(role).and_then(|text| added_id(files, text)) {
                Some(id) => Some(id),
                None if matches!(role, "eot" | "eom") => None,
                None => config_id(config, role)?,
            };
            if let Some(id) = id.filter(|id| (*id as usize) < n_vocab) {
                writer = writer.set(key, id);
            }
        }
        for (role, flag) in &self.added {
            writer = writer.set(&format!("tokenizer.ggml.add_{role}_token"), *flag);
        }
        for (key, flag) in [("lowercase", self.lowercase), ("strip_accents", self.strip_accents)] {
            if let Some(flag) = flag {
                writer = writer.set(&format!("tokenizer.ggml.normalizer.{key}"), flag);
            }
        }
        Ok(writer)
    }
}

/// The text of a special token, which is given as text or as an object.
fn token_text(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// The id of the added token `text`. Without a `tokenizer.json` the entries of `tokenizer_config.json` count.
fn added_id(files: &TokenizerFiles, text: &str) -> Option<u32> {
    if let Some(tokenizer) = &files.tokenizer {
        let tokens = tokenizer.items("added_tokens");
        let token = tokens.iter().find(|token| token.get("content").and_then(Value::as_str) == Some(text))?;
        return as_count(token.get("id")?);
    }
    let decoder = files.config.get("added_tokens_decoder")?.as_object()?;
    let entry =
        decoder.iter().find(|(_, token)| token.get("content").and_then(Value::as_str) == Some(text))?;
    entry.0.parse().ok()
}

/// The id of `role` in `config.json`. Some models list several end tokens; then none of them counts as the end token.
fn config_id(config: &Object, role: &str) -> Result<Option<u32>, ConvertError> {
    let key = format!("{role}_token_id");
    match config.get(&key) {
        Some(value @ Value::Number(_)) => match as_count(value) {
            Some(id) => Ok(Some(id)),
            None => Err(config.mistyped(&key, value, "the id of a token")),
        },
        _ => Ok(None),
    }
}
