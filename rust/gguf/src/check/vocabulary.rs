//! The tokenizer's tables (`llama_vocab::impl::load` in `src/llama-vocab.cpp`).

use crate::array::Array;
use crate::error::GgufError;
use crate::value::ValueType;

use super::charsmap;
use super::rules::Rules;
use super::tokenizer::{Added, CHARSMAP, MERGES, MODEL, PRE, SCORES, TOKEN_TYPES, TOKENS, Tokenizer};
use super::tokens;

/// Checks the vocabulary; returns how many tokens it has, `None` if the model has no vocabulary of a known size.
pub(crate) fn check(rules: &Rules<'_>) -> Result<Option<u64>, GgufError> {
    let model = rules.string(MODEL)?.ok_or_else(|| rules.missing(MODEL))?;
    let pre = rules.string(PRE)?;
    rules.u32("tokenizer.ggml.token_type_count")?;
    if matches!(model, b"no_vocab" | b"none") {
        return Ok(rules.u32(&rules.own("vocab_size"))?.map(u64::from));
    }
    let Some(kind) = Tokenizer::of(model) else {
        let problem = format!("is `{}`, a tokenizer that llama.cpp does not know", crate::text::shown(model));
        return Err(rules.unusable(MODEL, problem));
    };
    let list = rules.array(TOKENS, &[ValueType::String])?.ok_or_else(|| rules.missing(TOKENS))?;
    if list.is_empty() {
        return Err(rules.unusable(TOKENS, "is empty, but a tokenizer needs tokens"));
    }
    if list.len() > i32::MAX as usize {
        return Err(rules.unusable(TOKENS, "has more tokens than 31 bits count"));
    }
    check_length(rules, SCORES, &[ValueType::F32, ValueType::I32], list.len())?;
    let types = check_length(rules, TOKEN_TYPES, &[ValueType::I32], list.len())?;
    if matches!(kind, Tokenizer::Bpe | Tokenizer::GemmaBpe) {
        check_merges(rules)?;
        check_spaces(rules, model, pre)?;
    }
    if kind == Tokenizer::Unigram {
        check_charsmap(rules)?;
    }
    tokens::check(rules, kind, list, types)?;
    check_specials(rules, kind, pre, list.len())?;
    Ok(Some(list.len() as u64))
}

/// Checks that an array that belongs to the tokens has an item for each of them.
fn check_length<'a>(
    rules: &Rules<'a>,
    key: &str,
    kinds: &[ValueType],
    n_tokens: usize,
) -> Result<Option<Array<'a>>, GgufError> {
    let array = rules.array(key, kinds)?;
    if let Some(array) = array.filter(|array| array.len() < n_tokens) {
        let problem = format!("has `{}` items, but the vocabulary has `{n_tokens}` tokens", array.len());
        return Err(rules.unusable(key, problem));
    }
    Ok(array)
}

/// Checks that each merge is two parts with a space between them.
fn check_merges(rules: &Rules<'_>) -> Result<(), GgufError> {
    let merges = rules.array(MERGES, &[ValueType::String])?;
    let Some(merges) = merges.and_then(|array| array.strings()) else {
        // Kimi K2 has none by design.
        let optional = rules.string(PRE)? == Some(b"kimi-k2");
        return if optional { Ok(()) } else { Err(rules.missing(MERGES)) };
    };
    for (number, merge) in merges.enumerate() {
        // The first part may itself start with a space, so llama.cpp looks from the second byte on.
        if !merge.as_bytes().iter().skip(1).any(|&byte| byte == b' ') {
            let shown = crate::text::shown(merge.as_bytes());
            let problem =
                format!("has `{shown}` as item `{number}`, but a merge is two parts with a space between");
            return Err(rules.unusable(MERGES, problem));
        }
    }
    Ok(())
}

/// The pre-tokenizer `whitespace` keeps spaces as they are, and llama.cpp asserts that neither part of a merge contains one
/// (`llama_vocab::find_bpe_rank`): the first text with two spaces would end the process. The tokenizer `whitespace` drops spaces before that.
fn check_spaces(rules: &Rules<'_>, model: &[u8], pre: Option<&[u8]>) -> Result<(), GgufError> {
    if pre != Some(b"whitespace") || model == b"whitespace" {
        return Ok(());
    }
    let problem = format!(
        "is `whitespace`, which llama.cpp can use only where `{MODEL}` is `whitespace`, too, and that is `{}`; convert the model again",
        crate::text::shown(model)
    );
    Err(rules.unusable(PRE, problem))
}

/// Checks that the normalizer's table is safe for every text.
fn check_charsmap(rules: &Rules<'_>) -> Result<(), GgufError> {
    let Some(map) = rules.array(CHARSMAP, &[ValueType::I8, ValueType::U8])? else {
        return Ok(());
    };
    charsmap::check(map.as_bytes()).map_err(|problem| rules.unusable(CHARSMAP, problem))
}

/// Pre-tokenizers for which texts begin with BOS unless the file says otherwise (`add_bos = true` in `llama_vocab::impl::load`).
const ADD_BOS: [&[u8]; 11] = [
    b"llama3",
    b"llama-v3",
    b"llama-bpe",
    b"falcon3",
    b"falcon-h1",
    b"pixtral",
    b"midm-2.0",
    b"lfm2",
    b"jina-v5-nano",
    b"tekken",
    b"chameleon",
];
/// Pre-tokenizers for which they always do.
const ALWAYS_ADD_BOS: [&[u8]; 2] = [b"gemma4", b"granite-embed-multi-311m"];

/// Checks the special tokens. llama.cpp ignores ids outside the vocabulary, but aborts when it must add a token that it does not have
/// (`llama_vocab::impl::tokenize`).
fn check_specials(
    rules: &Rules<'_>,
    kind: Tokenizer,
    pre: Option<&[u8]>,
    n_tokens: usize,
) -> Result<(), GgufError> {
    const OTHER_IDS: &[&str] = &["eot", "eom", "unknown", "padding", "mask", "fim_pre", "fim_suf", "fim_mid"];
    for name in OTHER_IDS {
        rules.u32(&format!("tokenizer.ggml.{name}_token_id"))?;
    }
    let inside = |id: &u32| (*id as usize) < n_tokens;
    for (name, (default, added)) in ["bos", "eos", "seperator"].iter().zip(kind.specials()) {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = rules.u32(&key)?.filter(inside).or(default.filter(inside));
        // llama.cpp ignores the file's `add_sep_token` and looks only at the kind of tokenizer.
        let wanted = match *name {
            "seperator" => None,
            name => rules.bool(&format!("tokenizer.ggml.add_{name}_token"))?,
        };
        let by_pre = |names: &[&[u8]]| {
            kind == Tokenizer::Bpe && *name == "bos" && pre.is_some_and(|pre| names.contains(&pre))
        };
        let added = match added {
            Added::IfAsked if by_pre(&ALWAYS_ADD_BOS) => true,
            Added::IfAsked if by_pre(&ADD_BOS) => wanted.unwrap_or(true),
            Added::Always => true,
            Added::Never => false,
            Added::Unless => wanted.unwrap_or(true),
            Added::IfAsked => wanted.unwrap_or(false),
        };
        if added && id.is_none() {
            let problem = format!(
                "names no token of the `{n_tokens}` in the vocabulary, but the tokenizer adds this token"
            );
            return Err(rules.unusable(&key, problem));
        }
    }
    rules.bool("tokenizer.ggml.add_sep_token")?;
    Ok(())
}
