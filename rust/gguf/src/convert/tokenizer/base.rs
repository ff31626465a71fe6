//! Vocabularies that map tokens to ids: byte-pair encoding and WordPiece.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, as_count, read_text};
use crate::text::shown;

use super::added_tokens::{self, AddedTokens};
use super::files::TokenizerFiles;
use super::pre_tokenizer;
use super::vocabulary::{Token, TokenType, Vocabulary, looks_special};

/// The most tokens that a vocabulary may have; the largest known ones have about 262,000.
pub(super) const MAX_TOKENS: usize = 1 << 24;

/// The vocabulary of a byte-level BPE model, as GPT-2's.
pub(super) fn bpe(
    files: &TokenizerFiles,
    config: &Object,
    pre: Option<&str>,
) -> Result<Vocabulary, ConvertError> {
    let merges = merges(files)?;
    if merges.is_empty() {
        let path = files.folder.join("tokenizer.json");
        return Err(ConvertError::source(&path, "key `model.merges` is missing; put `merges.txt` beside it"));
    }
    let pre = match pre {
        Some(pre) => pre.to_owned(),
        None => pre_tokenizer::name(files)?.to_owned(),
    };
    Ok(Vocabulary { model: "gpt2", pre, tokens: tokens(files, config)?, has_scores: false, merges })
}

/// The vocabulary of a WordPiece model in llama.cpp's form: tokens that start a word are marked, not those that continue one.
pub(super) fn word_piece(
    files: &TokenizerFiles,
    config: &Object,
    pre: Option<&str>,
) -> Result<Vocabulary, ConvertError> {
    if let Some(kind) = files.model_type()
        && kind != "WordPiece"
    {
        let path = files.folder.join("tokenizer.json");
        return Err(ConvertError::source(
            &path,
            format!("key `model.type` must be `WordPiece`, but is `{kind}`"),
        ));
    }
    let mut tokens = tokens(files, config)?;
    for token in tokens.iter_mut().filter(|token| token.kind != TokenType::Control) {
        token.text = match token.text.strip_prefix(b"##") {
            Some(rest) => rest.to_vec(),
            None => ["\u{2581}".as_bytes(), &token.text].concat(),
        };
    }
    // All WordPiece models split text the same way; the name is the one that the pinned converter gives to BERT's vocabularies.
    let pre = pre.unwrap_or("jina-v2-en").to_owned();
    Ok(Vocabulary { model: "bert", pre, tokens, has_scores: false, merges: Vec::new() })
}

/// All tokens by id (`get_vocab_base` in `conversion/base.py`).
fn tokens(files: &TokenizerFiles, config: &Object) -> Result<Vec<Token>, ConvertError> {
    let base = base(files)?;
    let mut added = added_tokens::of_plain_file(&files.folder)?;
    added.extend(added_tokens::of_config(&files.config)?);
    if let Some(tokenizer) = &files.tokenizer {
        added.extend(added_tokens::of_tokenizer(tokenizer)?);
    }
    let last = base.keys().next_back().max(added.keys().next_back()).copied();
    let needed = last.map_or(0, |last| last as usize + 1);
    let len = config.count(&["vocab_size"])?.map_or(needed, |len| len as usize);
    if needed > len || len == 0 {
        let problem = format!(
            "key `vocab_size` is `{len}`, but the tokenizer has ids up to `{}`",
            needed.saturating_sub(1)
        );
        return Err(ConvertError::source(config.path(), problem));
    }
    if len > MAX_TOKENS {
        return Err(ConvertError::source(
            config.path(),
            format!("key `vocab_size` is `{len}`, more than any known one"),
        ));
    }
    let mut tokens = Vocabulary::padding(len, 0.0);
    for (id, text) in base {
        if let Some(token) = tokens.get_mut(id as usize) {
            *token = Token { text: text.into_bytes(), score: 0.0, kind: TokenType::Normal };
        }
    }
    place_added(&mut tokens, &added);
    Ok(tokens)
}

/// Puts added tokens at their ids.
fn place_added(tokens: &mut [Token], added: &AddedTokens) {
    for (id, new) in added {
        if let Some(token) = tokens.get_mut(*id as usize) {
            let is_control = new.is_special || looks_special(&new.text);
            // User-defined tokens are matched with raw text, where a space is a plain space.
            let text = if is_control { new.text.clone() } else { new.text.replace('\u{2581}', " ") };
            let kind = if is_control { TokenType::Control } else { TokenType::UserDefined };
            *token = Token { text: text.into_bytes(), score: 0.0, kind };
        }
    }
}

/// The trained tokens by id, from `tokenizer.json`, `vocab.json` or `vocab.txt`.
pub(super) fn base(files: &TokenizerFiles) -> Result<BTreeMap<u32, String>, ConvertError> {
    if let Some(tokenizer) = &files.tokenizer {
        let vocab = tokenizer.get("model").and_then(|model| model.get("vocab"));
        let vocab = vocab.and_then(Value::as_object).ok_or_else(|| tokenizer.missing(&["model.vocab"]))?;
        return by_id(tokenizer, vocab.iter());
    }
    if let Some(vocab) = Object::read(&files.folder.join("vocab.json"))? {
        return by_id(&vocab, vocab.map().iter());
    }
    if let Some(text) = read_text(&files.folder.join("vocab.txt"))? {
        return Ok((0..).zip(text.lines().map(str::to_owned)).collect());
    }
    let problem =
        "there is no tokenizer: none of `tokenizer.model`, `tokenizer.json`, `vocab.json` and `vocab.txt`";
    Err(ConvertError::source(&files.folder, problem))
}

fn by_id<'a>(
    file: &Object,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<BTreeMap<u32, String>, ConvertError> {
    let mut tokens = BTreeMap::new();
    for (text, id) in entries {
        let id = as_count(id).ok_or_else(|| file.mistyped(text, id, "the id of a token"))?;
        if let Some(other) = tokens.insert(id, text.clone()) {
            let (text, other) = (shown(text.as_bytes()), shown(other.as_bytes()));
            return Err(ConvertError::source(
                file.path(),
                format!("tokens `{text}` and `{other}` have the same id `{id}`"),
            ));
        }
    }
    Ok(tokens)
}

/// The merges in GGUF's form: two tokens with a space between them; spaces inside tokens as byte-level BPE writes them.
pub(super) fn merges(files: &TokenizerFiles) -> Result<Vec<String>, ConvertError> {
    if let Some(tokenizer) = &files.tokenizer {
        let merges = tokenizer.get("model").and_then(|model| model.get("merges")).and_then(Value::as_array);
        let merges: Vec<String> = merges
            .into_iter()
            .flatten()
            .map(|merge| {
                merge_text(merge).ok_or_else(|| tokenizer.mistyped("model.merges", merge, "a list of pairs"))
            })
            .collect::<Result<_, _>>()?;
        if !merges.is_empty() {
            return Ok(merges);
        }
    }
    let Some(text) = read_text(&files.folder.join("merges.txt"))? else { return Ok(Vec::new()) };
    let lines = text.lines().enumerate().filter(|(number, line)| *number > 0 || !line.starts_with('#'));
    Ok(lines
        .filter_map(|(_, line)| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            (parts.len() == 2).then(|| parts.join(" "))
        })
        .collect())
}

fn merge_text(merge: &Value) -> Option<String> {
    match merge {
        Value::String(pair) => Some(pair.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => {
                let part = |value: &Value| Some(value.as_str()?.replace(' ', "\u{120}"));
                Some(format!("{} {}", part(left)?, part(right)?))
            }
            _ => None,
        },
        _ => None,
    }
}
