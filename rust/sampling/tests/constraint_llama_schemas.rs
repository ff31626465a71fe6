//! JSON schemas of llama.cpp's own tests, with texts that fit and texts that do not.
//!
//! `data/json_schema.json` restates two files of the pinned tree: `integration` has the schemas and texts of
//! `tests/test-grammar-integration.cpp`; `conversion` and `refused` have the schemas of `tests/test-json-schema-to-grammar.cpp`, with texts
//! that the grammars given there take and do not take. Where we differ on purpose, a list below says so with the reason, and nothing may
//! be in it that does not differ.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tabagent_sampling::constraint::{
    Grammar, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

/// A text about which we say otherwise than llama.cpp's tests: the schema's name, the text, why.
type Difference = (&'static str, &'static str, &'static str);

/// Without `type`, keywords for arrays, objects or strings say nothing about other values (JSON Schema, "Validation", 6).
const NO_TYPE: &str = "the schema names no type, so that values of another type fit";
const ANY_LENGTH: &str = "integers have no longest form; there they end at 16 digits";

const DIFFERENCES: &[Difference] = &[
    ("anyOf", r#"{"a":"x"}"#, "the second schema says nothing about `a`, and other properties are allowed"),
    ("exotic formats", r#"["2012-04-23",1]"#, NO_TYPE),
    ("min + maxItems", "1", NO_TYPE),
    ("min 0", "100000000000000000000000000000000", ANY_LENGTH),
    ("min 2", "12345678900000000", ANY_LENGTH),
    ("min+max items", "1", NO_TYPE),
    (
        "object properties",
        r#"{ "number": 1600, "street_name": "Pennsylvania", "street_type":"Avenue", "direction":"NW"}"#,
        "further properties are allowed unless `additionalProperties` forbids them",
    ),
    (
        "string",
        r#""\u00e9""#,
        "a character that can be written as itself is; only control characters are escaped by number",
    ),
    ("tuple1", r#""a""#, NO_TYPE),
    ("tuple2", "{}", NO_TYPE),
];
/// Schemas that we refuse and llama.cpp takes.
const REFUSED_HERE: &[(&str, &str)] = &[
    ("string array", NO_LIST),
    ("nullable string array", NO_LIST),
    ("array with empty items and prefixItems", NO_LIST),
];
const NO_LIST: &str = "`prefixItems` must be a list of schemas, and is one schema here";

fn compile(schema: &Value) -> Result<Arc<Grammar>, GrammarError> {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    let compiler = COMPILER.get_or_init(|| {
        let bytes = (0..=255u8).map(|byte| (vec![byte], false));
        GrammarCompiler::new(TokenTable::new(bytes.chain([(b"</s>".to_vec(), true)]), &[256]).unwrap())
    });
    compiler.compile(&GrammarSource::JsonSchema(schema.to_string()), &GrammarOptions::default())
}

fn fits(grammar: &Arc<Grammar>, text: &str) -> bool {
    let mut constraint = grammar.start().unwrap();
    text.bytes().all(|byte| constraint.accept(i32::from(byte)).is_ok()) && constraint.can_end()
}

fn data() -> Value {
    serde_json::from_str(include_str!("data/json_schema.json")).unwrap()
}

/// What does not go as in llama.cpp: each text as `NAME: TEXT`, each schema as `NAME`.
fn differing(part: &str) -> (Vec<(String, String)>, Vec<String>, usize) {
    let (mut texts, mut schemas, mut n) = (Vec::new(), Vec::new(), 0);
    for case in data()[part].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let Ok(grammar) = compile(&case["schema"]) else {
            schemas.push(name.to_owned());
            continue;
        };
        for (key, expected) in [("accepts", true), ("rejects", false)] {
            for text in case[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()) {
                n += 1;
                if fits(&grammar, text) != expected {
                    texts.push((name.to_owned(), text.to_owned()));
                }
            }
        }
    }
    (texts, schemas, n)
}

#[test]
fn texts_fit_schemas_as_in_llama_cpp_but_for_the_differences_listed() {
    let (mut found, mut refused, mut n) = (Vec::new(), Vec::new(), 0);
    for part in ["integration", "conversion"] {
        let (texts, schemas, n_texts) = differing(part);
        found.extend(texts);
        refused.extend(schemas);
        n += n_texts;
    }
    assert!(n > 650, "only {n} texts were tried");
    let mut listed: Vec<(String, String)> =
        DIFFERENCES.iter().map(|&(name, text, _)| (name.to_owned(), text.to_owned())).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed, "texts that differ, and those that should");
    let refused_here: Vec<&str> = REFUSED_HERE.iter().map(|&(name, _)| name).collect();
    assert_eq!(refused, refused_here, "schemas that are refused, and those that should be");
}

#[test]
fn schemas_are_refused_as_in_llama_cpp() {
    for case in data()["refused"].as_array().unwrap() {
        assert!(compile(&case["schema"]).is_err(), "{case}");
    }
}
