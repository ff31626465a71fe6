//! The schemas of `tests/schemas`: every one compiles, takes its valid instances, refuses its invalid ones, and says what it does not
//! enforce.
//!
//! A file holds `schema`, `valid` and `invalid`; an invalid instance breaks a rule that is enforced. `limitations.json` has, for each
//! schema with any, the keyword and path of its limitations.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::needless_pass_by_value, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tabagent_sampling::constraint::{
    Grammar, GrammarCompiler, GrammarOptions, GrammarSource, TokenTable, Whitespace,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/schemas")
}

fn corpus() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "json")
                && !path.ends_with("limitations.json")
        })
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&text).unwrap())
        })
        .collect()
}

fn bytes_only() -> Arc<TokenTable> {
    TokenTable::new((0..=255u8).map(|byte| (vec![byte], false)).chain([(b"</s>".to_vec(), true)]), &[256])
        .unwrap()
}

/// Bytes, then pieces as a trained tokenizer has them: words with and without a space before, and bits of JSON.
fn pieces() -> Vec<Vec<u8>> {
    let words = [
        "the", "name", "type", "value", "path", "tool", "text", "true", "false", "null", "option", "code",
        "er", "ing", "0", "00", "12",
    ];
    let json = [
        "{\"", "\":", "\": ", "\": \"", "\",", "\", \"", "\"}", "},", "}}", "[{", "]", "], \"", "  ", "\n  ",
        "\\n", "\\\"",
    ];
    let spaced = words.iter().map(|word| format!(" {word}"));
    let plain = words.iter().chain(&json).map(|&piece| piece.to_owned());
    (0..=255u8).map(|byte| vec![byte]).chain(plain.chain(spaced).map(String::into_bytes)).collect()
}

fn tokenize(pieces: &[Vec<u8>], mut text: &[u8]) -> Vec<i32> {
    let mut ids = Vec::new();
    while !text.is_empty() {
        let (id, piece) = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| text.starts_with(piece))
            .max_by_key(|(_, piece)| piece.len())
            .unwrap();
        ids.push(id as i32);
        text = &text[piece.len()..];
    }
    ids
}

fn takes(grammar: &Arc<Grammar>, tokens: &[i32]) -> Result<(), String> {
    let mut constraint = grammar.start().unwrap();
    for (n, &token) in tokens.iter().enumerate() {
        // A mask for each byte of a long string adds nothing.
        if n < 200 {
            let allowed = match constraint.mask() {
                Ok(words) => words.is_none_or(|words| words[token as usize / 32] >> (token % 32) & 1 == 1),
                Err(error) => return Err(format!("mask before token {n}: {error}")),
            };
            let validated = constraint.clone().accept(token).is_ok();
            assert_eq!(allowed, validated, "mask and accept disagree about token {token} at {n}");
        }
        constraint.accept(token).map_err(|error| format!("token {n}: {error}"))?;
    }
    if constraint.can_end() { Ok(()) } else { Err("the end is not allowed".to_owned()) }
}

fn compile(compiler: &GrammarCompiler, schema: &Value, whitespace: Whitespace) -> Arc<Grammar> {
    let options = GrammarOptions { whitespace, ..GrammarOptions::default() };
    compiler
        .compile(&GrammarSource::JsonSchema(schema.to_string()), &options)
        .unwrap_or_else(|error| panic!("{error}: {schema}"))
}

#[test]
fn there_are_at_least_a_hundred() {
    assert!(corpus().len() >= 100);
}

#[test]
fn instances_are_taken_and_refused_as_they_should() {
    let pieces = pieces();
    let eos = pieces.len() as i32;
    let table = TokenTable::new(
        pieces.iter().map(|piece| (piece.clone(), false)).chain([(b"</s>".to_vec(), true)]),
        &[eos],
    )
    .unwrap();
    let (by_byte, by_piece) = (GrammarCompiler::new(bytes_only()), GrammarCompiler::new(table));
    let mut wrong = Vec::new();
    for (name, entry) in corpus() {
        let grammars = [
            compile(&by_byte, &entry["schema"], Whitespace::Flexible),
            compile(&by_piece, &entry["schema"], Whitespace::Flexible),
        ];
        let compact = compile(&by_byte, &entry["schema"], Whitespace::Compact);
        for (key, expected) in [("valid", true), ("invalid", false)] {
            for instance in entry[key].as_array().unwrap() {
                let plain = instance.to_string();
                let pretty = serde_json::to_string_pretty(instance).unwrap();
                for text in [&plain, &pretty] {
                    let bytes: Vec<i32> = text.bytes().map(i32::from).collect();
                    let results = [
                        takes(&grammars[0], &bytes),
                        takes(&grammars[1], &tokenize(&pieces, text.as_bytes())),
                    ];
                    for result in results {
                        if result.is_ok() != expected {
                            wrong.push(format!("{name}: {key} {text:.100}: {result:?}"));
                        }
                    }
                }
                let bytes: Vec<i32> = plain.bytes().map(i32::from).collect();
                if takes(&compact, &bytes).is_ok() != expected {
                    wrong.push(format!("{name}, compact: {key} {plain:.100}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn limitations_are_reported_with_their_paths() {
    let compiler = GrammarCompiler::new(bytes_only());
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, entry) in corpus() {
        let grammar = compile(&compiler, &entry["schema"], Whitespace::Flexible);
        let lines: Vec<String> = grammar
            .limitations()
            .iter()
            .map(|limitation| format!("{} {}", limitation.keyword, limitation.path))
            .collect();
        if !lines.is_empty() {
            found.insert(name, lines);
        }
    }
    let text = std::fs::read_to_string(directory().join("limitations.json")).unwrap();
    let expected: BTreeMap<String, Vec<String>> =
        serde_json::from_value(serde_json::from_str(&text).unwrap()).unwrap();
    assert!(found == expected, "found:\n{}", serde_json::to_string_pretty(&found).unwrap());
}
