//! A `tokenizer.json` gives the tokens of the GGUF file that was made of it.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};
use tabagent_gguf::{ConvertError, GgufFile};
use tabagent_tokenizer::{Tokenizer, TokenizerError};

const TEXTS: [&str; 6] = [
    "Hello,  world! It's 12,345.\n\n don't",
    "ÀÉ e\u{301} ﬁne ①② ½",
    "日本語 한국어 Привет مرحبا",
    "  leading and trailing  ",
    "<s> a</s> <mask> <|im_start|>",
    "😀👍🏽 \u{200d}▁▁x",
];

fn tokens(file: &GgufFile) -> Vec<String> {
    let array = file.metadata().get("tokenizer.ggml.tokens").unwrap().as_array().unwrap();
    array.strings().unwrap().map(|text| text.to_str().unwrap().to_owned()).collect()
}

fn compare(path: &Path, json: &Value, config: &Value) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let of_json = Tokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
    let of_gguf = Tokenizer::from_file(path).unwrap();
    assert_eq!(of_json.len(), of_gguf.len());
    for text in TEXTS {
        for parse_special in [true, false] {
            let expected = of_gguf.tokenize(text, false, parse_special).unwrap();
            assert_eq!(of_json.tokenize(text, false, parse_special).unwrap(), expected, "{text:?}");
        }
    }
}

/// Tokens of the file's type `kind`, as `added_tokens`.
fn added(file: &GgufFile, texts: &[String], kinds: &[u64], special: bool) -> Vec<Value> {
    let types = file.metadata().get("tokenizer.ggml.token_type").unwrap().as_array().unwrap();
    let is_one = |(_, kind): &(usize, tabagent_gguf::Value<'_>)| {
        kind.as_u64().is_some_and(|kind| kinds.contains(&kind))
    };
    let ids = types.iter().enumerate().filter(is_one).map(|(id, _)| id);
    ids.map(|id| json!({"id": id, "content": texts[id], "special": special})).collect()
}

#[test]
fn unigram() {
    let Some(tree) = tabagent_material::tree() else { return };
    let path = tree.join("models/ggml-vocab-nomic-bert-moe.gguf");
    let file = GgufFile::open(&path).unwrap();
    let texts = tokens(&file);
    let get = |key: &str| file.metadata().get(&format!("tokenizer.ggml.{key}"));
    let scores = get("scores").unwrap().as_array().unwrap();
    let vocab: Vec<Value> =
        texts.iter().zip(scores.iter()).map(|(text, score)| json!([text, score.as_f64()])).collect();
    let map = base64(get("precompiled_charsmap").unwrap().as_array().unwrap().as_bytes());
    let merges_spaces = get("remove_extra_whitespaces").unwrap().as_bool().unwrap();
    let split = if merges_spaces { json!({"type": "WhitespaceSplit"}) } else { json!({"type": "Other"}) };
    let scheme = if get("add_space_prefix").unwrap().as_bool().unwrap() { "always" } else { "never" };
    let mut all = added(&file, &texts, &[3], true);
    all.extend(added(&file, &texts, &[4], false));
    let tokenizer = json!({
        "model": {"type": "Unigram", "unk_id": get("unknown_token_id").unwrap().as_u64(), "vocab": vocab},
        "added_tokens": all,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": map},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {"type": "Metaspace", "prepend_scheme": scheme}]},
    });
    compare(&path, &tokenizer, &json!({}));
}

#[test]
fn byte_level_bpe() {
    let Some(tree) = tabagent_material::tree() else { return };
    let path = tree.join("models/ggml-vocab-qwen2.gguf");
    let file = GgufFile::open(&path).unwrap();
    let texts = tokens(&file);
    let merges = file.metadata().get("tokenizer.ggml.merges").unwrap().as_array().unwrap();
    let merges: Vec<&str> = merges.strings().unwrap().map(|text| text.to_str().unwrap()).collect();
    let mut all = added(&file, &texts, &[3], true);
    all.extend(added(&file, &texts, &[4], false));
    let special: std::collections::HashSet<u64> =
        all.iter().map(|token| token["id"].as_u64().unwrap()).collect();
    let plain = texts.iter().zip(0_u64..).filter(|(_, id)| !special.contains(id));
    let vocab: serde_json::Map<String, Value> = plain.map(|(text, id)| (text.clone(), json!(id))).collect();
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        "added_tokens": all,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
    });
    compare(&path, &tokenizer, &json!({"eos_token": "<|endoftext|>", "add_bos_token": false}));
}

/// Base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[test]
fn a_file_that_is_missing_or_no_tokenizer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let is_missing = |error: &TokenizerError| matches!(error, TokenizerError::Json(ConvertError::Read { source, .. }) if source.kind() == ErrorKind::NotFound);
    assert!(is_missing(&Tokenizer::from_file(&path).unwrap_err()));
    for (text, words) in [
        ("[", "not valid JSON"),
        ("[]", "JSON object"),
        ("{}", "merges"),
        (r#"{"model": {"type": "WordLevel"}}"#, "WordLevel"),
        (r#"{"model": {"type": "Unigram", "vocab": [["a"]]}}"#, "scores"),
        (r#"{"model": {"type": "Unigram", "vocab": []}}"#, "0 tokens"),
        (r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": ["a b"]}}"#, "pre_tokenizer"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
