//! Sources that are wrong, too large or strange: typed errors that say where, and no harm from any text.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::needless_pass_by_value, reason = "tests")]

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::{Value, json};
use tabagent_sampling::constraint::{
    Grammar, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

fn compiler() -> &'static GrammarCompiler {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let words = ["{\"", "\": ", "true", "null", "the", "12", "], ["]
            .map(|word| (word.as_bytes().to_vec(), false));
        let bytes = (0..=255u8).map(|byte| (vec![byte], false));
        GrammarCompiler::new(
            TokenTable::new(bytes.chain(words).chain([(b"</s>".to_vec(), true)]), &[263]).unwrap(),
        )
    })
}

fn compile(source: GrammarSource) -> Result<Arc<Grammar>, GrammarError> {
    compiler().compile(&source, &GrammarOptions::default())
}

fn schema(schema: &Value) -> Result<Arc<Grammar>, GrammarError> {
    compile(GrammarSource::JsonSchema(schema.to_string()))
}

/// Takes the lowest or highest allowed token a few times; every error must be one that a caller can act on.
fn walk(grammar: &Arc<Grammar>, steps: usize) -> Result<(), TestCaseError> {
    let mut constraint = grammar.start().unwrap();
    for step in 0..steps {
        let next = match constraint.mask() {
            Ok(Some(words)) => {
                let allowed = |token: &usize| words[token / 32] >> (token % 32) & 1 == 1;
                if step % 2 == 0 { (0..264).find(allowed) } else { (0..264).rev().find(allowed) }
            }
            Ok(None) | Err(GrammarError::Dead | GrammarError::TooLarge { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let Some(token) = next else { return Err(TestCaseError::fail("an empty mask")) };
        if let Err(error) = constraint.accept(token as i32) {
            prop_assert!(matches!(error, GrammarError::TooLarge { .. }), "{}", error);
            return Ok(());
        }
        if constraint.is_finished() {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn schemas_that_are_not_valid_are_refused_with_the_path() {
    for (bad, path) in [
        (json!(3), "/"),
        (json!({"type": "strng"}), "/type"),
        (json!({"type": []}), "/type"),
        (json!({"properties": []}), "/properties"),
        (json!({"properties": {"a/b": {"minLength": -1}}}), "/properties/a~1b/minLength"),
        (json!({"items": {"maxItems": "3"}}), "/items/maxItems"),
        (json!({"required": "a"}), "/required"),
        (json!({"required": [1]}), "/required"),
        (json!({"properties": {"a": {"required": true}}}), "/properties/a/required"),
        (json!({"enum": []}), "/enum"),
        (json!({"enum": "a"}), "/enum"),
        (json!({"anyOf": []}), "/anyOf"),
        (json!({"anyOf": [{}, 1]}), "/anyOf/1"),
        (json!({"pattern": "(a"}), "/pattern"),
        (json!({"pattern": 1}), "/pattern"),
        (json!({"patternProperties": {"[": {}}}), "/patternProperties/["),
        (json!({"multipleOf": 0}), "/multipleOf"),
        (json!({"minimum": "1"}), "/minimum"),
        (json!({"uniqueItems": 1}), "/uniqueItems"),
        (json!({"$defs": {"x": {"type": 1}}}), "/$defs/x/type"),
        (json!({"dependentRequired": {"a": "b"}}), "/dependentRequired/a"),
        (json!({"$ref": "#/$defs/x"}), "/$ref"),
        (json!({"items": {"$ref": "other.json#/x"}}), "/items/$ref"),
        (json!({"items": {"$ref": "https://example.org/x"}}), "/items/$ref"),
        (json!({"$ref": "#/properties/a", "properties": {"a": 3}}), "/properties/a"),
        (json!({"$ref": "#"}), "/$ref"),
        (json!({"allOf": [{"$ref": "#"}, {"type": "object"}]}), "/allOf/0/$ref"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "/$ref",
        ),
        (json!(false), "/"),
        (json!({"not": {}}), "/"),
        (json!({"type": "string", "enum": [1, 2]}), "/"),
        (json!({"type": "string", "minLength": 3, "maxLength": 2}), "/"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "/"),
        (json!({"type": "object", "properties": {"a": false}, "required": ["a"]}), "/"),
    ] {
        match schema(&bad) {
            Err(GrammarError::Schema { path: found, message }) => assert_eq!(found, path, "{message}: {bad}"),
            other => panic!("{other:?}: {bad}"),
        }
    }
    let error = schema(&json!({"items": {"$ref": "https://example.org/x"}})).unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid JSON schema at `/items/$ref`: `https://example.org/x` is outside the schema; put it under `$defs` and refer to it there"
    );
}

#[test]
fn values_that_look_like_keywords_are_values() {
    let value = json!({"$ref": "", "type": "é", "$defs": {"$ref": "#/nowhere"}});
    let grammar =
        schema(&json!({"const": value, "x-guidance": {"lenient": 3}, "$schema": "https://example.org/own"}))
            .unwrap();
    let mut constraint = grammar.start().unwrap();
    value.to_string().bytes().for_each(|byte| constraint.accept(i32::from(byte)).unwrap());
    assert!(constraint.is_finished() && grammar.limitations().is_empty());
}

#[test]
fn text_that_is_no_json_is_a_syntax_error() {
    for text in ["", "{", "{\"a\": 1,}", "nul", "{\"type\": 1e999}"] {
        let error = compile(GrammarSource::JsonSchema(text.to_owned())).unwrap_err();
        assert!(matches!(error, GrammarError::Syntax { line: 1, .. }), "{error}");
    }
}

#[test]
fn wrong_regular_expressions_and_lark_are_syntax_errors() {
    for regex in ["(", "[a", "a{2,1}", "*", "(?<=a)b", r"\1", "a\\"] {
        let error = compile(GrammarSource::Regex(regex.to_owned())).expect_err(regex);
        assert!(matches!(error, GrammarError::Syntax { .. }), "{regex}: {error}");
    }
    let error = compile(GrammarSource::Regex("ab(c".to_owned())).unwrap_err();
    assert_eq!(error.to_string(), "invalid syntax in line `1`, column `3`: unclosed group");
    assert!(compile(GrammarSource::Regex(String::new())).unwrap().start().unwrap().can_end());
    for (lark, line) in [
        ("", 1),
        ("x: \"a\"", 1),
        ("start: \"a", 1),
        ("start: \"a\"\nstart: nope", 2),
        ("start: \"a\"\n)", 2),
    ] {
        match compile(GrammarSource::Lark(lark.to_owned())) {
            Err(GrammarError::Syntax { line: found, .. }) => assert_eq!(found, line, "{lark:?}"),
            other => panic!("{other:?}: {lark:?}"),
        }
    }
}

#[test]
fn lark_grammars_work() {
    let grammar =
        compile(GrammarSource::Lark("start: \"say \" NAME (\",\" NAME)*\nNAME: /[a-z]+/\n".to_owned()))
            .unwrap();
    let mut constraint = grammar.start().unwrap();
    for byte in b"say a,bc" {
        constraint.accept(i32::from(*byte)).unwrap();
    }
    assert!(constraint.can_end() && constraint.accept(i32::from(b'1')).is_err());
}

#[test]
fn nesting_and_size_have_limits() {
    let n = 200_000;
    let parentheses = format!("{}a{}", "(".repeat(n), ")".repeat(n));
    let rules: String = (0..20_000).map(|i| format!("r{i}: \"x\" r{}\n", i + 1)).collect();
    let terminals: String = (0..20_000).map(|i| format!("T{i}: \"x\" T{}\n", i + 1)).collect();
    for source in [
        GrammarSource::Regex(parentheses.clone()),
        GrammarSource::Regex("a".repeat(limits_bytes() + 1)),
        GrammarSource::Regex("(a{1000}){1000}{1000}b?{1000}".to_owned()),
        GrammarSource::Lark(format!("start: {}", parentheses.replace('a', "\"a\""))),
        GrammarSource::Lark(format!("start: r0\n{rules}r20000: \"x\"")),
        GrammarSource::Lark(format!("start: T0\n{terminals}T20000: \"x\"")),
        GrammarSource::Choices(Vec::new()),
        GrammarSource::Choices(vec!["a".to_owned(); 100_001]),
        GrammarSource::JsonSchema(format!("{}{}", "{\"items\":".repeat(n), "}".repeat(n))),
        GrammarSource::JsonSchema("[".repeat(n)),
    ] {
        // Either an error or a grammar: what counts is that it comes back.
        if let Err(error) = compile(source) {
            assert!(!matches!(error, GrammarError::Internal { .. }), "{error}");
        }
    }
}

fn limits_bytes() -> usize {
    tabagent_sampling::constraint::limits::MAX_SOURCE_BYTES
}

#[test]
fn long_chains_compile_or_say_that_they_are_too_long() {
    let rules: String = (0..4_900).map(|i| format!("r{i}: \"x\" r{}\n", i + 1)).collect();
    compile(GrammarSource::Lark(format!("start: r0\n{rules}r4900: \"x\""))).unwrap();
    let terminals: String = (0..4_900).map(|i| format!("T{i}: \"x\" T{}\n", i + 1)).collect();
    compile(GrammarSource::Lark(format!("start: T0\n{terminals}T4900: \"x\""))).unwrap();
    for n in [2_000, 20_000] {
        let mut definitions = serde_json::Map::new();
        for i in 0..n {
            let next =
                json!({"type": "object", "properties": {"n": {"$ref": format!("#/$defs/d{}", i + 1)}}});
            definitions.insert(format!("d{i}"), next);
        }
        definitions.insert(format!("d{n}"), json!({"type": "integer"}));
        let grammar = schema(&json!({"$ref": "#/$defs/d0", "$defs": definitions})).unwrap();
        // The objects are open, which their limitations say.
        let is_whole = grammar.limitations().iter().all(|limitation| limitation.keyword != "schema");
        assert_eq!(is_whole, n == 2_000);
    }
}

#[test]
fn schemas_that_multiply_are_kept_apart() {
    // Sixteen alternatives of three, all at once: forty million ways.
    let parts: Vec<Value> = (0..16)
        .map(|i| {
            let names = [format!("a{i}"), format!("b{i}"), format!("c{i}")];
            json!({"anyOf": names.iter().map(|name| json!({"required": [name]})).collect::<Vec<_>>()})
        })
        .collect();
    let grammar = schema(&json!({"type": "object", "allOf": parts})).unwrap();
    assert!(!grammar.limitations().is_empty());
    walk(&grammar, 20).unwrap();
    // A definition that doubles at each of forty levels.
    let mut definitions = serde_json::Map::new();
    for i in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", i + 1) });
        definitions.insert(format!("d{i}"), json!({"allOf": [next, next], "minProperties": 1}));
    }
    let closed =
        json!({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": false});
    definitions.insert("d40".to_owned(), closed);
    let grammar = schema(&json!({"$ref": "#/$defs/d0", "$defs": definitions})).unwrap();
    assert!(grammar.limitations().is_empty(), "{:?}", grammar.limitations());
    let mut constraint = grammar.start().unwrap();
    assert!(
        b"{".iter().all(|byte| constraint.accept(i32::from(*byte)).is_ok())
            && constraint.accept(i32::from(b'}')).is_err()
    );
}

/// A schema of random keywords, most with values of the right type.
fn random_schema() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(-3)),
        Just(json!(2.5)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        (0..40i64).prop_map(|n| json!(n))
    ];
    let scalar = prop_oneof![
        number.clone(),
        Just(json!(null)),
        Just(json!(true)),
        "[a-c\"\\\\é]{0,4}".prop_map(|text| json!(text))
    ];
    let kind =
        prop::sample::select(vec!["object", "array", "string", "integer", "number", "null", "boolean"]);
    let pattern =
        prop::sample::select(vec!["^a", "b+$", "[a-c]{2,5}", "(?=x)y", "\\d{3}", "^(a|b)*c?$", ".", ""]);
    let format = prop::sample::select(vec!["date", "uuid", "uri", "email", "nope", "int32", "ipv6"]);
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/x"})),
        kind.clone().prop_map(|kind| json!({ "type": kind })),
        (kind, number, pattern, format, prop::collection::vec(scalar, 1..4), 0..12usize, any::<u16>()).prop_map(
            |(kind, number, pattern, format, values, count, pick)| {
                let all = json!({
                    "type": kind, "minimum": number, "maximum": 30, "exclusiveMinimum": -2, "multipleOf": 3, "pattern": pattern,
                    "format": format, "enum": values, "const": values[0], "minLength": count, "maxLength": 9, "minItems": count,
                    "maxItems": 5, "uniqueItems": true, "minProperties": count
                });
                let keys = all.as_object().unwrap().iter().enumerate().filter(|(i, _)| pick >> i & 1 == 1);
                Value::Object(keys.map(|(_, (key, value))| (key.clone(), value.clone())).collect())
            }
        ),
    ];
    let keyword = prop::sample::select(vec![
        "items",
        "additionalProperties",
        "not",
        "if",
        "then",
        "contains",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
        "anyOf",
        "oneOf",
        "allOf",
        "prefixItems",
        "properties",
        "patternProperties",
        "dependentSchemas",
        "required",
        "maxProperties",
    ]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop::collection::vec((keyword.clone(), prop::collection::vec(inner, 1..4)), 1..4).prop_map(
            |entries| {
                let mut map = serde_json::Map::new();
                for (keyword, schemas) in entries {
                    let value = match keyword {
                        "anyOf" | "oneOf" | "allOf" | "prefixItems" => json!(schemas),
                        "properties" | "dependentSchemas" | "patternProperties" => {
                            let names = ["a", "b", "^c"];
                            Value::Object(
                                schemas
                                    .into_iter()
                                    .zip(names)
                                    .map(|(schema, name)| (name.to_owned(), schema))
                                    .collect(),
                            )
                        }
                        "required" => json!(["a"]),
                        "maxProperties" => json!(schemas.len()),
                        _ => schemas[0].clone(),
                    };
                    map.insert(keyword.to_owned(), value);
                }
                Value::Object(map)
            },
        )
    })
}

#[test]
fn patterns_that_lead_back_to_the_whole_and_its_opposite_are_not_too_large() {
    for value in [
        json!({"oneOf": [{"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#/$defs/x"}, "^c": {"$ref": "#"}}}, {"if": {}}]}),
        json!({"not": {"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#/$defs/x"}, "^c": {"$ref": "#"}}}}),
        json!({"not": {"patternProperties": {"a": {"$ref": "#"}, "b.*b": {"$ref": "#"}, "^c": {"$ref": "#"}, "d$": {"type": "string"}}}}),
    ] {
        let mut value = value;
        value["$defs"] = json!({"x": {"type": "object", "properties": {"n": {"$ref": "#/$defs/x"}}}});
        walk(&schema(&value).unwrap(), 40).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_valid_schema_compiles_or_cannot_be_fitted(mut value in random_schema()) {
        if let Some(map) = value.as_object_mut() {
            map.insert("$defs".to_owned(), json!({"x": {"type": "object", "properties": {"n": {"$ref": "#/$defs/x"}}}}));
        }
        match schema(&value) {
            Ok(grammar) => walk(&grammar, 12)?,
            // References of the random schemas may lead back to themselves, or to definitions that were not added.
            Err(GrammarError::Schema { message, .. }) => prop_assert!(
                message.contains("nothing can fit") || message.contains("leads back") || message.contains("names nothing"),
                "{}: {}", message, value
            ),
            Err(error) => prop_assert!(false, "{}: {}", error, value),
        }
    }

    #[test]
    fn broken_schemas_do_no_harm(value in random_schema(), at in 0..2000usize, byte in any::<u8>()) {
        let mut text = value.to_string().into_bytes();
        let n = text.len();
        text[at % n] = byte;
        if let Ok(grammar) = compile(GrammarSource::JsonSchema(String::from_utf8_lossy(&text).into_owned())) {
            walk(&grammar, 4)?;
        }
    }

    #[test]
    fn no_regular_expression_does_harm(text in r"(a|b|\(|\)|\[|\]|\||\*|\+|\?|\{3\}|\{1,900\}|\\d|\\p\{L\}|\^|\$|\.|/|\n|é){0,25}") {
        match compile(GrammarSource::Regex(text)) {
            Ok(grammar) => walk(&grammar, 6)?,
            Err(error) => prop_assert!(!matches!(error, GrammarError::Internal { .. }), "{}", error),
        }
    }

    #[test]
    fn no_lark_text_does_harm(text in r#"(start|a|B|: |\n|"x"|"yz"i|/[a-c]+/|\(|\)|\||\*|\+|\?|\{2,3\}|~3| |<\[3\]>|%ignore|%json \{\}|&|!|\[|\]){0,30}"#) {
        if let Ok(grammar) = compile(GrammarSource::Lark(format!("start: {text}"))) {
            walk(&grammar, 4)?;
        }
    }
}
