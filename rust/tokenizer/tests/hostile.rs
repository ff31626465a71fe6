//! Texts that make tokenizers slow, and spans.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tabagent_tokenizer::{Tokenizer, TokenizerError};

fn vocabularies() -> Vec<(PathBuf, Tokenizer)> {
    let Some(tree) = tabagent_material::tree() else { return Vec::new() };
    let names = [
        "llama-bpe",
        "gpt-2",
        "deepseek-llm",
        "falcon",
        "qwen35",
        "llama-spm",
        "gemma-4",
        "bert-bge",
        "nomic-bert-moe",
        "phi-3",
    ];
    let paths = names.map(|name| tree.join(format!("models/ggml-vocab-{name}.gguf")));
    paths.into_iter().map(|path| (path.clone(), Tokenizer::from_file(&path).unwrap())).collect()
}

/// What is quadratic takes minutes for so many characters.
#[test]
fn long_runs_of_one_character_take_seconds_at_most() {
    for (path, tokenizer) in vocabularies() {
        for unit in [
            "a", " ", "7", "\n", "!", "é", "日", "\u{301}", "\0", "A", "aA", " a", "'s", "<s>", "\u{e000}",
            "\r\n ",
        ] {
            let text = unit.repeat(300_000 / unit.len());
            let start = Instant::now();
            let tokens = tokenizer.tokenize(&text, true, true).unwrap();
            let taken = start.elapsed();
            assert!(taken < Duration::from_secs(10), "{} {unit:?} {taken:?}", path.display());
            tokenizer.check_tokens(&tokens).unwrap();
        }
    }
}

#[test]
fn a_long_text_is_stopped_soon() {
    for (path, tokenizer) in vocabularies() {
        for unit in ["a", "word ", "\n", "日本"] {
            let text = unit.repeat(8_000_000 / unit.len());
            let start = Instant::now();
            let stop = || start.elapsed() > Duration::from_millis(50);
            let outcome = tokenizer.tokenize_unless(&text, true, true, &stop);
            let is_stopped = matches!(outcome, Err(TokenizerError::Stopped));
            assert!(is_stopped || outcome.is_ok());
            assert!(start.elapsed() < Duration::from_secs(5), "{} {unit:?}", path.display());
        }
    }
}

#[test]
fn spans_cover_a_text_that_nothing_is_dropped_of() {
    let text = "Hello  wörld\n\n 12,345 日本語 <s> e\u{301} don't 😀 ".repeat(20);
    for (path, tokenizer) in vocabularies() {
        let encoding = tokenizer.encode(&text, true, true).unwrap();
        assert_eq!(encoding.tokens, tokenizer.tokenize(&text, true, true).unwrap());
        let mut end = 0;
        let drops =
            ["bert-bge", "nomic-bert-moe", "phi-3"].iter().any(|name| path.to_string_lossy().contains(name));
        for span in &encoding.spans {
            assert!(drops || span.start == end, "{} {span:?}", path.display());
            end = span.end;
        }
        assert!(drops || end == text.len(), "{}", path.display());
    }
}
