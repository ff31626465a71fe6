//! Vocabularies that cannot write everything, that have no end, or that write things twice.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tabagent_sampling::constraint::{
    Constraint, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

/// A sequence over `words`, of which the last ends the text if `with_end`.
fn start(words: &[&str], with_end: bool, source: &GrammarSource) -> Constraint {
    let last = words.len() as i32 - 1;
    let ends: &[i32] = if with_end { &[last] } else { &[] };
    let tokens = words.iter().map(|word| (word.as_bytes().to_vec(), false));
    // It keeps no text: the table must find tokens of its own.
    let table = TokenTable::with_tokenizer(tokens, ends, Arc::new(|_: &[u8]| Vec::new())).unwrap();
    GrammarCompiler::new(table).compile(source, &GrammarOptions::default()).unwrap().start().unwrap()
}

fn regex(text: &str) -> GrammarSource {
    GrammarSource::Regex(text.to_owned())
}

fn allowed<'a>(constraint: &mut Constraint, words: &[&'a str]) -> Vec<&'a str> {
    let mask = constraint.mask().unwrap().unwrap().to_vec();
    (0..words.len()).filter(|id| mask[id / 32] >> (id % 32) & 1 == 1).map(|id| words[id]).collect()
}

fn accept(constraint: &mut Constraint, words: &[&str], text: &str) {
    let token = words.iter().position(|word| *word == text).unwrap();
    constraint.accept(token as i32).unwrap();
}

#[test]
fn forced_text_that_only_longer_tokens_write_allows_those() {
    let words = ["-", " a", " b", "a", "b", "</s>"];
    let mut constraint = start(&words, true, &regex("- [ab]+"));
    assert_eq!(allowed(&mut constraint, &words), ["-"]);
    accept(&mut constraint, &words, "-");
    assert!(constraint.forced().is_empty());
    assert_eq!(allowed(&mut constraint, &words), [" a", " b"]);
    accept(&mut constraint, &words, " b");
    assert_eq!(allowed(&mut constraint, &words), ["a", "b", "</s>"]);
    constraint.rollback(1).unwrap();
    assert_eq!(allowed(&mut constraint, &words), [" a", " b"]);
}

#[test]
fn tokens_that_lead_nowhere_in_a_forced_text_are_not_allowed() {
    let words = ["a", "ab", "bcd e", "bcd f", "c", "x", "</s>"];
    let mut constraint = start(&words, true, &regex("abcd [ef]"));
    assert_eq!(allowed(&mut constraint, &words), ["a"]);
    accept(&mut constraint, &words, "a");
    assert_eq!(allowed(&mut constraint, &words), ["bcd e", "bcd f"]);
    accept(&mut constraint, &words, "bcd f");
    assert!(constraint.is_finished());
}

#[test]
fn forced_tokens_spell_the_text_where_the_longest_ones_do_not() {
    let words = ["a", "ab", "bcd", "</s>"];
    let mut constraint = start(&words, true, &regex("abcd"));
    assert_eq!(constraint.forced(), [0, 2]);
    assert_eq!(allowed(&mut constraint, &words), ["a"]);
}

#[test]
fn text_that_cannot_be_written_is_named_and_no_token_of_it_is_allowed() {
    let words = ["{", "\"", "dry", "un", ":", "</s>"];
    let mut constraint = start(&words, true, &regex(r#"(un)?\{"dryRun":.*"#));
    accept(&mut constraint, &words, "{");
    assert!(constraint.forced().is_empty());
    let error = constraint.mask().unwrap_err();
    assert!(matches!(&error, GrammarError::Unwritable { text } if text.contains("dryRun")), "{error}");
    for token in 0..words.len() as i32 {
        let outcome = constraint.clone().accept(token);
        assert!(matches!(outcome, Err(GrammarError::Token { .. })), "{outcome:?}");
    }
}

#[test]
fn grammar_that_begins_with_what_cannot_be_written_is_refused() {
    let tokens = ["{", "\"", "dry", "un", ":", "</s>"].map(|word| (word.as_bytes().to_vec(), false));
    let table =
        TokenTable::with_tokenizer(tokens.into_iter(), &[5], Arc::new(|_: &[u8]| Vec::new())).unwrap();
    let compiled =
        GrammarCompiler::new(table).compile(&regex(r#"\{"dryRun":.*"#), &GrammarOptions::default());
    let error = compiled.unwrap_err();
    assert!(matches!(&error, GrammarError::Unwritable { text } if text.contains("dryRun")), "{error}");
}

#[test]
fn without_an_end_token_the_text_ends_where_nothing_can_follow() {
    let words = ["a", "b", "cd"];
    let mut constraint = start(&words, false, &regex("ab(x|y)?|a(cd)*"));
    accept(&mut constraint, &words, "a");
    assert!(constraint.can_end() && !constraint.is_finished());
    assert_eq!(allowed(&mut constraint, &words), ["b", "cd"]);
    accept(&mut constraint, &words, "b");
    assert!(constraint.can_end() && constraint.is_finished());
    constraint.rollback(1).unwrap();
    assert!(!constraint.is_finished());
    accept(&mut constraint, &words, "cd");
    assert_eq!(allowed(&mut constraint, &words), ["cd"]);
    assert!(start(&words, false, &regex("x?")).is_finished());
}

#[test]
fn tokens_with_the_same_text_are_allowed_alike_and_empty_ones_never() {
    let words = ["a", "", "ab", "a", "ab", "", "</s>"];
    let mut constraint = start(&words, true, &regex("a[ab]*"));
    let mask = constraint.mask().unwrap().unwrap()[0];
    assert_eq!(mask, 0b001_1101);
    constraint.accept(3).unwrap();
    assert_eq!(constraint.mask().unwrap().unwrap()[0], 0b101_1101);
    assert!(constraint.accept(1).is_err());
    constraint.accept(4).unwrap();
}

#[test]
fn tokenizer_writes_what_follows_a_character_that_came_in_pieces() {
    // Two tokens are quotes; the tokenizer knows the second.
    let words: [&[u8]; 6] = [b"\"", b"\xc3", b"\xa9", b"\"", b"a", b"</s>"];
    let tokenizer = Arc::new(|bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok("\"") => vec![3],
        Ok("é\"") => vec![1, 2, 3],
        _ => Vec::new(),
    });
    let tokens = words.map(|word| (word.to_vec(), false));
    let table = TokenTable::with_tokenizer(tokens.into_iter(), &[5], tokenizer).unwrap();
    let compiler = GrammarCompiler::new(table);
    let grammar = compiler.compile(&regex("a?é\""), &GrammarOptions::default()).unwrap();
    let mut constraint = grammar.start().unwrap();
    constraint.accept(1).unwrap();
    assert_eq!(constraint.forced(), [2, 3]);
    constraint.accept(2).unwrap();
    assert_eq!(constraint.forced(), [3]);
}
