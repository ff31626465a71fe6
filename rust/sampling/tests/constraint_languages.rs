//! Languages without a text, without an end and with the empty text: found when the grammar is compiled, and named.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use tabagent_sampling::constraint::{
    Grammar, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable, Tokenizer, Trigger,
    TriggerStart,
};

const EOS: i32 = 256;

/// The bytes, the end, two special tokens.
fn compilers() -> [GrammarCompiler; 2] {
    let tokens = || {
        let special = ["</s>", "<|a|>", "<|b|>"].map(|text| (text.as_bytes().to_vec(), true));
        (0..=255u8).map(|byte| (vec![byte], false)).chain(special)
    };
    let tokenizer: Tokenizer = Arc::new(|text: &[u8]| text.iter().map(|&byte| i32::from(byte)).collect());
    let tables = [
        TokenTable::new(tokens(), &[EOS]).unwrap(),
        TokenTable::with_tokenizer(tokens(), &[EOS], tokenizer).unwrap(),
    ];
    tables.map(GrammarCompiler::new)
}

fn gbnf(text: &str) -> GrammarSource {
    GrammarSource::Gbnf(text.to_owned())
}

fn lark(text: &str) -> GrammarSource {
    GrammarSource::Lark(text.to_owned())
}

fn regex(text: &str) -> GrammarSource {
    GrammarSource::Regex(text.to_owned())
}

fn schema(text: &str) -> GrammarSource {
    GrammarSource::JsonSchema(text.to_owned())
}

fn refusal(compiler: &GrammarCompiler, source: &GrammarSource) -> String {
    match compiler.compile(source, &GrammarOptions::default()) {
        Ok(_) => panic!("{source:?} was compiled"),
        Err(error) => error.to_string(),
    }
}

fn endless(line: usize, column: usize, name: &str) -> String {
    format!(
        "invalid syntax in line `{line}`, column `{column}`: the rule `{name}` never ends: each way through it comes back to it; give it a way to end"
    )
}

fn nothing(line: usize, column: usize, name: &str) -> String {
    format!(
        "invalid syntax in line `{line}`, column `{column}`: nothing matches the rule `{name}`; loosen it"
    )
}

#[test]
fn grammars_without_a_finite_text_are_refused_with_the_rule() {
    let cases = [
        (gbnf("root ::= \"a\" root"), endless(1, 1, "root")),
        (gbnf("# it\nroot ::= \"x\" | pair\n pair ::= \"a\" (pair | \"b\" pair)+"), endless(3, 2, "pair")),
        (gbnf("root ::= a\na ::= \"(\" b\nb ::= a \")\""), endless(2, 1, "a")),
        (gbnf("root ::= \"a\" no\nno ::= [^\\x00-\\U0010FFFF]"), nothing(2, 1, "no")),
        (lark("start: \"a\" start"), endless(1, 1, "start")),
        (lark("start: \"x\" | pair\npair: \"a\" pair \"b\"\n"), endless(2, 1, "pair")),
        // The engine knows no names of terminals, and puts rules in place that are used once: the next rule above is named.
        (lark("start: \"a\" NO\nNO: /[a&&b]/"), nothing(1, 1, "start")),
        (lark("start: (\"a\" | other)*\nother: \"b\" NO\nNO: /[ab]/ & /[cd]/"), nothing(1, 1, "start")),
    ];
    for compiler in compilers() {
        for (source, expected) in &cases {
            assert_eq!(&refusal(&compiler, source), expected, "{source:?}");
        }
    }
}

#[test]
fn expressions_and_schemas_without_a_text_are_refused() {
    for compiler in compilers() {
        for text in ["[a&&b]", "a[^\\x00-\\x{10FFFF}]b", "x|y[a&&b]|[a&&b]z"] {
            let compiled = compiler.compile(&regex(text), &GrammarOptions::default());
            assert_eq!(compiled.is_ok(), text.starts_with('x'), "{text}");
            if let Err(error) = compiled {
                assert!(error.to_string().contains("no text matches the expression"), "{error}");
            }
        }
        let error =
            refusal(&compiler, &schema(r##"{"type": "array", "items": {"$ref": "#"}, "minItems": 3}"##));
        assert!(error.starts_with("invalid JSON schema at `/items`: nothing can fit this schema"), "{error}");
    }
}

#[test]
fn texts_too_long_to_take_ahead_are_refused_at_once() {
    let long = "ab".repeat(200_000);
    for compiler in compilers() {
        for source in [
            regex("a{1000000}"),
            regex("[xy](?:a{1000}){1000}"),
            lark("start: /a{1000000}/"),
            lark(&format!("start: \"{long}\"")),
            GrammarSource::Choices(vec!["a".to_owned(), long.clone()]),
        ] {
            let error = compiler.compile(&source, &GrammarOptions::default()).unwrap_err();
            assert!(
                matches!(&error, GrammarError::TooLarge { message } if message.contains("leave no choice")),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_compiled_has_a_first_mask() {
    let sources = [
        regex("a{3000}"),
        regex("(?:a|b){100000}"),
        regex("(ab?){100000}"),
        gbnf("root ::= \"abc\"{600} \"d\"{2000}"),
        schema(r#"{"type": "string", "minLength": 1000000}"#),
        GrammarSource::Choices(vec!["ab".repeat(1_000)]),
    ];
    for compiler in compilers() {
        for source in &sources {
            match compiler.compile(source, &GrammarOptions::default()) {
                Ok(grammar) => assert!(grammar.start().unwrap().mask().is_ok(), "{source:?}"),
                Err(error) => assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn tokens_that_do_not_exist_are_named() {
    let [compiler, _] = compilers();
    for (source, expected) in [
        (lark("start: \"a\" <[999999]>"), "token `999999` is not in the vocabulary"),
        (lark("start: <nosuch>"), "the vocabulary has no special token `<nosuch>`"),
        (gbnf("root ::= <[999999]>"), "token `999999` is not in the vocabulary of `259` tokens"),
        (gbnf("root ::= <nosuch>"), "the vocabulary has no token `<nosuch>`"),
    ] {
        let error = refusal(&compiler, &source);
        assert!(error.contains("invalid syntax in line `1`") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_token_that_ends_the_generation_matches_nothing_inside() {
    for compiler in compilers() {
        for source in
            [gbnf("root ::= \"a\" <[256]>"), gbnf("root ::= \"a\" </s>"), lark("start: \"a\" <[256]>")]
        {
            let error = refusal(&compiler, &source);
            let named = if matches!(source, GrammarSource::Gbnf(_)) { "root" } else { "start" };
            assert_eq!(
                error,
                format!(
                    "invalid syntax in line `1`, column `1`: the rule `{named}` waits for the token `256`, which ends the generation and cannot come \
                     inside of a grammar; leave it out: where the grammar ends, it is allowed"
                )
            );
        }
        let grammar =
            compiler.compile(&gbnf("root ::= \"a\" (</s> | !<|a|> \"b\")"), &GrammarOptions::default());
        let mut constraint = grammar.unwrap().start().unwrap();
        constraint.accept(i32::from(b'a')).unwrap();
        let mask = constraint.mask().unwrap().unwrap().to_vec();
        for token in [EOS, EOS + 1] {
            assert_eq!(mask[token as usize / 32] >> (token % 32) & 1, 0);
            assert!(matches!(constraint.accept(token), Err(GrammarError::Token { .. })));
        }
        constraint.accept(EOS + 2).unwrap();
        let trigger = Trigger {
            starts: vec![TriggerStart::Token(EOS)],
            then: tabagent_sampling::constraint::AfterConstruct::Stop,
            required: true,
        };
        let options = GrammarOptions { trigger: Some(trigger), ..GrammarOptions::default() };
        let error = compiler.compile(&regex("a"), &options).unwrap_err();
        assert_eq!(error.to_string(), "the trigger token `256` ends the generation; nothing comes after it");
    }
}

fn matches(grammar: &Arc<Grammar>, text: &str) -> bool {
    let mut constraint = grammar.start().unwrap();
    text.bytes().all(|byte| constraint.accept(i32::from(byte)).is_ok()) && constraint.can_end()
}

#[test]
fn empty_parts_are_the_empty_text() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (r#"root ::= "a"{0} "b""#, &["b"], &["ab", ""]),
        (r#"root ::= "a"{0,0} "b" "c"{0}"#, &["b"], &["ab", "bc", ""]),
        (r#"root ::= ("a" | "b"){0}"#, &[""], &["a"]),
        (r#"root ::= "a"{0}"#, &[""], &["a"]),
        (r#"root ::= """#, &[""], &["a"]),
        (r#"root ::= "" "" | """#, &[""], &["a"]),
        (r#"root ::= "a" | "#, &["", "a"], &["b"]),
        (r#"root ::= | "a""#, &["", "a"], &["b"]),
        (r#"root ::= ("a" | ) "b" (|)"#, &["ab", "b"], &["a", ""]),
        (r#"root ::= ""* "x" ""+ ""? ""{2,3}"#, &["x"], &["", "xx"]),
        (r#"root ::= ("" | "a")* "b""#, &["b", "aab"], &["a"]),
        (r#"root ::= (("a"?){0,2}){1} "b"{1} "c"{0,1}"#, &["b", "aabc"], &["aaab", ""]),
        (
            r#"root ::= () x{0} "b" x{0,0}
x ::= "y" [0-9]"#,
            &["b"],
            &["y1b", ""],
        ),
        (
            r#"root ::= [] "b" | x*
x ::= "" | "y""#,
            &["b", "", "yy"],
            &["a"],
        ),
    ];
    for compiler in compilers() {
        for (source, fit, differ) in cases {
            let compiled = compiler.compile(&gbnf(source), &GrammarOptions::default());
            let grammar = compiled.unwrap_or_else(|error| panic!("{error}: {source}"));
            for text in *fit {
                assert!(matches(&grammar, text), "{text:?} fits {source}");
            }
            for text in *differ {
                assert!(!matches(&grammar, text), "{text:?} does not fit {source}");
            }
        }
    }
}

#[test]
fn left_recursion_is_named_where_it_is_defined() {
    let [compiler, _] = compilers();
    let error = refusal(&compiler, &gbnf("root ::= \"a\" | list\n\n  list ::= list \",\" \"a\" | \"a\""));
    assert_eq!(
        error,
        "invalid syntax in line `3`, column `3`: the rule `list` begins with itself; write the repetition with `*` or `+`"
    );
}
