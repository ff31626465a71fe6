//! Constraints over a vocabulary of single bytes: what comes in, what stays out, and what happens around the construct.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::needless_pass_by_value, reason = "tests")]

use std::sync::Arc;

use tabagent_sampling::constraint::{
    AfterConstruct, Constraint, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
    Trigger, TriggerStart, Whitespace,
};

const EOS: i32 = 256;
const THINK_END: i32 = 257;

/// The 256 bytes, `</s>` and the special token `</think>`, then a few longer tokens.
fn table() -> Arc<TokenTable> {
    let bytes = (0..=255u8).map(|byte| (vec![byte], false));
    let special = [(b"</s>".to_vec(), true), (b"</think>".to_vec(), true)];
    let words =
        ["{\"", "\":", "name", "<tool", ">{", ">x", "true"].map(|word| (word.as_bytes().to_vec(), false));
    TokenTable::new(bytes.chain(special).chain(words), &[EOS]).unwrap()
}

fn compile(source: &GrammarSource, options: &GrammarOptions) -> Result<Constraint, GrammarError> {
    GrammarCompiler::new(table()).compile(source, options)?.start()
}

fn allows(constraint: &mut Constraint, token: i32) -> bool {
    constraint.mask().unwrap().is_none_or(|words| words[token as usize / 32] >> (token % 32) & 1 == 1)
}

/// Feeds bytes; whether all were accepted, each also by the mask.
fn feed(constraint: &mut Constraint, text: &str) -> bool {
    text.bytes().all(|byte| {
        let allowed = allows(constraint, i32::from(byte));
        let accepted = constraint.accept(i32::from(byte)).is_ok();
        assert_eq!(allowed, accepted, "mask and accept disagree about byte {byte} in {text:?}");
        accepted
    })
}

fn matches(source: &GrammarSource, text: &str) -> bool {
    let mut constraint = compile(source, &GrammarOptions::default()).unwrap();
    (constraint.is_finished() && text.is_empty()) || (feed(&mut constraint, text) && constraint.can_end())
}

#[test]
fn regex_matches_the_whole_text() {
    let regex = GrammarSource::Regex(r"[a-c]{2,3}\d+/x".to_owned());
    assert!(matches(&regex, "ab1/x"));
    assert!(matches(&regex, "abc123/x"));
    for text in ["a1/x", "ab/x", "ab1/xx", "zab1/x", "ab1"] {
        assert!(!matches(&regex, text), "{text}");
    }
}

#[test]
fn choices_may_begin_with_each_other() {
    let choices =
        GrammarSource::Choices(["a", "ab", "say \"hi\"\n", "ünïcode", "/x\\"].map(str::to_owned).to_vec());
    for text in ["a", "ab", "say \"hi\"\n", "ünïcode", "/x\\"] {
        assert!(matches(&choices, text), "{text}");
    }
    for text in ["", "b", "abc", "say", "say 'hi'"] {
        assert!(!matches(&choices, text), "{text}");
    }
}

#[test]
fn json_object_takes_any_object_and_nothing_else() {
    for text in ["{}", r#"{"a": [1, -2.5e3, null, {"b": "\u001f\n"}]}"#, "{\n}"] {
        assert!(matches(&GrammarSource::JsonObject, text), "{text}");
    }
    for text in ["[]", "1", "{\"a\"}", "{'a': 1}", "{} {}"] {
        assert!(!matches(&GrammarSource::JsonObject, text), "{text}");
    }
}

#[test]
fn compact_json_has_no_white_space() {
    let options = GrammarOptions { whitespace: Whitespace::Compact, ..GrammarOptions::default() };
    let mut constraint = compile(&GrammarSource::JsonObject, &options).unwrap();
    assert!(feed(&mut constraint, r#"{"a":"#));
    assert!(!allows(&mut constraint, i32::from(b' ')));
    assert!(feed(&mut constraint, "1}") && constraint.is_finished());
}

#[test]
fn white_space_is_bounded() {
    let mut constraint = compile(&GrammarSource::JsonObject, &GrammarOptions::default()).unwrap();
    assert!(feed(&mut constraint, "{"));
    let spaces = (0..1000).take_while(|_| constraint.accept(i32::from(b' ')).is_ok()).count();
    assert_eq!(spaces, 64);
}

#[test]
fn end_is_allowed_exactly_where_the_text_may_end() {
    let mut constraint =
        compile(&GrammarSource::Regex("ab?".to_owned()), &GrammarOptions::default()).unwrap();
    assert!(!constraint.can_end() && !allows(&mut constraint, EOS));
    assert!(matches!(constraint.accept(EOS), Err(GrammarError::Token { token: EOS, .. })));
    assert!(feed(&mut constraint, "a"));
    assert!(constraint.can_end() && !constraint.is_finished() && allows(&mut constraint, EOS));
    assert!(feed(&mut constraint, "b"));
    assert!(constraint.is_finished() && allows(&mut constraint, EOS));
    assert!(!allows(&mut constraint, i32::from(b'a')));
    constraint.accept(EOS).unwrap();
    assert!(constraint.is_finished());
}

#[test]
fn a_token_outside_is_an_error_and_changes_nothing() {
    let mut constraint =
        compile(&GrammarSource::Regex("abc".to_owned()), &GrammarOptions::default()).unwrap();
    assert!(feed(&mut constraint, "a"));
    let error = constraint.accept(i32::from(b'x')).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token `120` (`x`) is outside the grammar here; take a token that the mask allows"
    );
    for token in [-1, 10_000, i32::MAX, THINK_END] {
        assert!(matches!(constraint.accept(token), Err(GrammarError::Token { .. })), "{token}");
    }
    assert!(feed(&mut constraint, "bc") && constraint.is_finished());
}

#[test]
fn rollback_returns_to_where_it_was() {
    let mut constraint =
        compile(&GrammarSource::Regex("(abc|abd)e*".to_owned()), &GrammarOptions::default()).unwrap();
    assert!(feed(&mut constraint, "abc"));
    constraint.accept(EOS).unwrap();
    constraint.rollback(2).unwrap();
    assert!(!constraint.can_end());
    assert!(feed(&mut constraint, "dee") && constraint.can_end());
    constraint.rollback(5).unwrap();
    assert!(feed(&mut constraint, "abc") && constraint.can_end());
    assert!(matches!(constraint.rollback(4), Err(GrammarError::Argument { .. })));
}

#[test]
fn clones_go_their_own_ways() {
    let mut one = compile(&GrammarSource::Regex("a(b|c)".to_owned()), &GrammarOptions::default()).unwrap();
    assert!(feed(&mut one, "a"));
    let mut two = one.clone();
    assert!(feed(&mut one, "b") && feed(&mut two, "c"));
    assert!(one.is_finished() && two.is_finished());
}

fn lazy(then: AfterConstruct, required: bool, starts: Vec<TriggerStart>) -> Constraint {
    let options =
        GrammarOptions { trigger: Some(Trigger { starts, then, required }), ..GrammarOptions::default() };
    compile(&GrammarSource::JsonObject, &options).unwrap()
}

#[test]
fn free_text_goes_until_the_trigger_text() {
    let mut constraint = lazy(AfterConstruct::Stop, false, vec![TriggerStart::Text("<tool>".to_owned())]);
    assert!(constraint.mask().unwrap().is_none() && constraint.can_end() && !constraint.is_active());
    assert!(feed(&mut constraint, "well, <tool <<tool>"));
    assert!(constraint.is_active() && !constraint.can_end());
    assert!(!allows(&mut constraint, i32::from(b'x')));
    assert!(feed(&mut constraint, "{}") && constraint.is_finished());
    assert!(!allows(&mut constraint, i32::from(b'x')) && allows(&mut constraint, EOS));
}

#[test]
fn a_token_over_the_end_of_the_trigger_must_fit_the_construct() {
    let mut constraint = lazy(AfterConstruct::Stop, false, vec![TriggerStart::Text("<tool>".to_owned())]);
    let (tool, brace, wrong) = (258 + 3, 258 + 4, 258 + 5);
    constraint.accept(tool).unwrap();
    assert!(allows(&mut constraint, brace) && allows(&mut constraint, i32::from(b'y')));
    assert!(!allows(&mut constraint, wrong));
    assert!(matches!(constraint.accept(wrong), Err(GrammarError::Token { .. })));
    constraint.accept(brace).unwrap();
    assert!(constraint.is_active() && feed(&mut constraint, "}") && constraint.is_finished());
    constraint.rollback(2).unwrap();
    assert!(!constraint.is_active());
    assert!(feed(&mut constraint, ">{}") && constraint.is_finished());
}

#[test]
fn a_special_token_starts_by_its_id_or_its_text() {
    for start in [TriggerStart::Token(THINK_END), TriggerStart::Text("</think>".to_owned())] {
        let mut constraint = lazy(AfterConstruct::Stop, true, vec![start]);
        assert!(!allows(&mut constraint, EOS), "the construct is required");
        assert!(constraint.accept(EOS).is_err());
        assert!(feed(&mut constraint, "hm {"));
        constraint.accept(THINK_END).unwrap();
        assert!(!allows(&mut constraint, i32::from(b'x')));
        assert!(feed(&mut constraint, "{\"a\": 1}") && constraint.is_finished());
    }
}

#[test]
fn free_text_returns_after_the_construct() {
    let mut constraint = lazy(AfterConstruct::FreeText, true, vec![TriggerStart::Text("@".to_owned())]);
    assert!(feed(&mut constraint, "a@{}"));
    assert!(!constraint.is_active() && constraint.can_end() && !constraint.is_finished());
    assert!(feed(&mut constraint, " and @{\"x\":2}"));
    assert!(!constraint.is_active());
    constraint.rollback(1).unwrap();
    assert!(constraint.is_active() && !constraint.can_end());
    assert!(feed(&mut constraint, "3}"));
    constraint.accept(EOS).unwrap();
    assert!(constraint.is_finished());
}

#[test]
fn forced_tokens_are_the_only_ones() {
    let tokens: Vec<(Vec<u8>, bool)> = (0..=255u8)
        .map(|byte| (vec![byte], false))
        .chain([(b"</s>".to_vec(), true)])
        .chain(["{\"", "name", "\":", " \""].map(|word| (word.as_bytes().to_vec(), false)))
        .collect();
    let words: Vec<Vec<u8>> = tokens.iter().map(|(bytes, _)| bytes.clone()).collect();
    let tokenizer = Arc::new(move |bytes: &[u8]| {
        let mut rest = bytes;
        let mut ids = Vec::new();
        while !rest.is_empty() {
            let (id, word) = words
                .iter()
                .enumerate()
                .filter(|(id, word)| *id != 256 && rest.starts_with(word))
                .max_by_key(|(_, word)| word.len())
                .unwrap();
            ids.push(id as i32);
            rest = &rest[word.len()..];
        }
        ids
    });
    let table = TokenTable::with_tokenizer(tokens.into_iter(), &[EOS], tokenizer).unwrap();
    let schema = r#"{"type": "object", "properties": {"name": {"enum": ["x", "y"]}}, "required": ["name"], "additionalProperties": false}"#;
    let options = GrammarOptions { whitespace: Whitespace::Compact, ..GrammarOptions::default() };
    let grammar =
        GrammarCompiler::new(table).compile(&GrammarSource::JsonSchema(schema.to_owned()), &options).unwrap();
    let mut constraint = grammar.start().unwrap();
    let forced = constraint.forced();
    assert_eq!(forced[..3], [257, 258, 259], "{forced:?}");
    for token in forced {
        assert!(allows(&mut constraint, token));
        constraint.accept(token).unwrap();
    }
    assert!(constraint.forced().is_empty() || !constraint.can_end());
}

#[test]
fn compiled_grammars_are_kept() {
    let compiler = GrammarCompiler::new(table());
    let source = GrammarSource::Regex("a+".to_owned());
    let first = compiler.compile(&source, &GrammarOptions::default()).unwrap();
    let second = compiler.compile(&source, &GrammarOptions::default()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    for n in 0..200 {
        compiler.compile(&GrammarSource::Regex(format!("a{n}")), &GrammarOptions::default()).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &compiler.compile(&source, &GrammarOptions::default()).unwrap()));
}

#[test]
fn sequences_run_in_other_threads() {
    let compiler = GrammarCompiler::new(table());
    let grammar = compiler.compile(&GrammarSource::JsonObject, &GrammarOptions::default()).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let mut constraint = grammar.start().unwrap();
            std::thread::spawn(move || {
                feed(&mut constraint, &format!("{{\"k{n}\": [{n}, {n}]}}")) && constraint.is_finished()
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn vocabularies_and_triggers_that_cannot_be_are_refused() {
    assert!(matches!(TokenTable::new(std::iter::empty(), &[]), Err(GrammarError::Argument { .. })));
    assert!(matches!(
        TokenTable::new([(b"a".to_vec(), false)].into_iter(), &[1]),
        Err(GrammarError::Argument { .. })
    ));
    for starts in [
        vec![],
        vec![TriggerStart::Text(String::new())],
        vec![TriggerStart::Token(999)],
        vec![TriggerStart::Token(-1)],
    ] {
        let trigger = Trigger { starts, then: AfterConstruct::Stop, required: false };
        let options = GrammarOptions { trigger: Some(trigger), ..GrammarOptions::default() };
        assert!(matches!(compile(&GrammarSource::JsonObject, &options), Err(GrammarError::Argument { .. })));
    }
}
