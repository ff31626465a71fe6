//! GBNF: the cases of llama.cpp's own grammar tests, its example grammars, and the ways in which lexemes could go wrong.
//!
//! `data/gbnf.json` restates `tests/test-grammar-integration.cpp` and `tests/test-grammar-parser.cpp` of the pinned tree: grammars with
//! texts that match and texts that do not, grammars that load, and grammars that are refused. A character from U+E000 stands
//! for the token with that number.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::needless_pass_by_value, reason = "tests")]

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::Value;
use tabagent_sampling::constraint::{
    GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

/// Special tokens 0 to 31, the 256 bytes from 32 on, ordinary tokens up to 1,999, and the end.
fn compiler() -> &'static GrammarCompiler {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let special = (0..32).map(|n| (format!("<|{n}|>").into_bytes(), true));
        let bytes = (0..=255u8).map(|byte| (vec![byte], false));
        let words = (288..2000).map(|n| (format!("w{n}").into_bytes(), false));
        let table =
            TokenTable::new(special.chain(bytes).chain(words).chain([(b"</s>".to_vec(), true)]), &[2000])
                .unwrap();
        GrammarCompiler::new(table)
    })
}

fn compile(grammar: &str) -> Result<Arc<tabagent_sampling::constraint::Grammar>, GrammarError> {
    compiler().compile(&GrammarSource::Gbnf(grammar.to_owned()), &GrammarOptions::default())
}

fn matches(grammar: &str, text: &str) -> bool {
    let mut constraint =
        compile(grammar).unwrap_or_else(|error| panic!("{error}: {grammar}")).start().unwrap();
    let mut buffer = [0; 4];
    for c in text.chars() {
        let special = u32::from(c).checked_sub(0xE000).filter(|&n| n < 32).map(|n| n as i32);
        let tokens: Vec<i32> = match special {
            Some(id) => vec![id],
            None => c.encode_utf8(&mut buffer).bytes().map(|byte| i32::from(byte) + 32).collect(),
        };
        for token in tokens {
            let allowed = constraint
                .mask()
                .unwrap()
                .is_none_or(|words| words[token as usize / 32] >> (token % 32) & 1 == 1);
            let accepted = constraint.accept(token).is_ok();
            assert_eq!(allowed, accepted, "mask and accept disagree about {c:?} of {text:?}: {grammar}");
            if !accepted {
                return false;
            }
        }
    }
    constraint.can_end()
}

fn data() -> Value {
    serde_json::from_str(include_str!("data/gbnf.json")).unwrap()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap())
}

#[test]
fn texts_match_as_in_llama_cpp() {
    let data = data();
    let mut wrong = Vec::new();
    let mut n = 0;
    for case in data["cases"].as_array().unwrap() {
        for (key, expected) in [("matches", true), ("differs", false)] {
            for text in strings(&case[key]) {
                n += 1;
                if matches(case["grammar"].as_str().unwrap(), text) != expected {
                    wrong.push(format!("{}: {text:?} should be {key}", case["name"]));
                }
            }
        }
    }
    assert!(wrong.is_empty() && n > 100, "{}", wrong.join("\n"));
}

#[test]
fn grammars_load_and_are_refused_as_in_llama_cpp() {
    let data = data();
    for grammar in strings(&data["loads"]) {
        compile(grammar).unwrap_or_else(|error| panic!("{error}: {grammar}"));
    }
    for grammar in strings(&data["refused"]) {
        let error = compile(grammar).expect_err(grammar);
        assert!(
            matches!(error, GrammarError::Syntax { .. } | GrammarError::TooLarge { .. }),
            "{error}: {grammar}"
        );
    }
}

/// Texts for the example grammars of the pinned tree.
const EXAMPLES: [(&str, &[&str], &[&str]); 8] = [
    ("arithmetic", &["a=1\n", "x1+(2*3) = y\n", "a=b\n\nc=d\n"], &["a=1", "=1\n", "a==b\n", "a=1+2\n"]),
    (
        "c",
        &[
            "",
            "int main(){}",
            "int f(int x){return (  y );}",
            "int m(){x = 1+2*a;//c\n}",
            "int m(){/* a * b */}",
        ],
        &["int", "main(){}", "int m(){x = ;}", "int m(){return x}", "int m(){/* a }"],
    ),
    (
        "chess",
        &["1. e4 e5\n1. Nf3 Nc6\n", "1. O-O O-O-O+\n2. exd8=Q# a1\n"],
        &["1. e4\n", "1. e9 e5\n1. e4 e5\n", "e4 e5"],
    ),
    ("english", &["Hello, world!", "a\tb"], &["", "é", "a  b"]),
    ("japanese", &["こんにちは", "日本 カタカナ"], &["hello", "日本  語"]),
    (
        "json",
        &["{}", r#"{"a": [1, -0.5e+1, "x\n\u00e9", {"b": null}], "c":true}"#, "{\n  \"a\": 1\n}"],
        &["[]", "1", r#"{"a":}"#, r#"{"a":1,}"#, "{'a':1}", r#"{"a":01}"#],
    ),
    ("json_arr", &["[\n]", "[\n 1,\n2]", "[\n{\"a\":[1,[]]}]"], &["[]", "[1]", "{}", "[\n1,2]"]),
    ("list", &["- a\n", "- one\n- two\n"], &["", "a\n", "- \n", "- a"]),
];

#[test]
fn example_grammars_work() {
    let Some(tree) = tabagent_material::tree() else { return };
    let mut wrong = Vec::new();
    for (name, good, bad) in EXAMPLES {
        let grammar = std::fs::read_to_string(tree.join(format!("grammars/{name}.gbnf"))).unwrap();
        for (texts, expected) in [(good, true), (bad, false)] {
            for text in texts {
                if matches(&grammar, text) != expected {
                    wrong.push(format!("{name}: {text:?} should be {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn characters_are_shared_between_neighbours_in_every_way() {
    for (grammar, good, bad) in [
        (r#"root ::= [0-9]+ "5""#, vec!["15", "555"], vec!["5", "51"]),
        (r#"root ::= "a" "bc" | "ab" "d""#, vec!["abc", "abd"], vec!["ab", "abcd"]),
        (
            "root ::= x y\nx ::= \"a\" | \"ab\" | \"(\" x \")\"\ny ::= \"bc\" | \"c\"",
            vec!["abc", "ac", "abbc", "((a))c"],
            vec!["ab", "bc", "(a)"],
        ),
        (
            "root ::= ws item ws\nitem ::= \"[\" ws item* ws \"]\" | [a-z]+ ws\nws ::= [ \\n]*",
            vec!["[ a b\n ]", " x ", "[[][]]"],
            vec!["[", "] "],
        ),
        ("root ::= s\ns ::= \"a\" s \"a\" | \"a\"?", vec!["", "a", "aa", "aaa", "aaaa"], vec!["b", "ab"]),
        ("root ::= (\"if\" | [a-z]+) (\" \" root)?", vec!["if", "iff", "if x if"], vec!["", "if  x"]),
    ] {
        for (texts, expected) in [(good, true), (bad, false)] {
            for text in texts {
                assert_eq!(matches(grammar, text), expected, "{text:?}: {grammar}");
            }
        }
    }
}

#[test]
fn tokens_go_by_id_and_by_text() {
    let grammar = "root ::= <[3]> !<[4]>+ <|4|>";
    assert!(matches(grammar, "\u{E003}ab\u{E005}\u{E004}"));
    assert!(!matches(grammar, "\u{E003}\u{E004}") && !matches(grammar, "ab\u{E004}"));
    for bad in ["root ::= <[99999]>", "root ::= <nosuchtoken>", "root ::= <[3>", "root ::= <", "root ::= !"] {
        assert!(matches!(compile(bad), Err(GrammarError::Syntax { .. })), "{bad}");
    }
}

#[test]
fn errors_say_where() {
    let error = compile("root ::= \"a\" |\n  b\nb ::= [a").unwrap_err();
    assert_eq!(error.to_string(), "invalid syntax in line `3`, column `7`: the class has no closing `]`");
    let error = compile("root ::= \"a\"\nb ::= nope").unwrap_err();
    assert_eq!(error.to_string(), "invalid syntax in line `2`, column `7`: the rule `nope` is not defined");
}

#[test]
fn size_has_limits() {
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(200_000), ")".repeat(200_000));
    let chain: String = (0..20_000).map(|n| format!("r{n} ::= r{}\n", n + 1)).collect();
    let many = format!("root ::= r0\n{chain}r20000 ::= \"a\"");
    let wide =
        format!("root ::= {}", (0..300_000).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(" | "));
    for grammar in [deep, many, wide] {
        let error = compile(&grammar).unwrap_err();
        assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}");
    }
    let chain: String = (0..4_000).map(|n| format!("r{n} ::= r{}\n", n + 1)).collect();
    assert!(matches(&format!("root ::= r0 root?\n{chain}r4000 ::= \"a\""), "aa"));
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(150), ")".repeat(150));
    assert!(matches(&nested, "a"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_does_harm(text in r#"(root|a|b|::=|\n|"x"|"yz"|\[a-c\]|\[\^z\]|\(|\)|\||\*|\+|\?|\{2,3\}|\{0,\}| |<\[3\]>|!|\.|#|\\x41){0,40}"#) {
        if let Ok(grammar) = compile(&format!("root ::= {text}")) {
            let mut constraint = grammar.start().unwrap();
            for _ in 0..4 {
                match constraint.mask() {
                    Ok(Some(words)) => {
                        let Some(token) = (32..2000).find(|token| words[token / 32] >> (token % 32) & 1 == 1) else { break };
                        constraint.accept(token as i32).unwrap();
                    }
                    Ok(None) | Err(GrammarError::Dead) => break,
                    Err(error) => prop_assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}"),
                }
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(text in "\\PC{0,200}") {
        let _ = compile(&text);
    }
}
