//! Where the names of an object may come twice: not where the schema declares them, and wherever else they may, a limitation says so.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};
use tabagent_sampling::constraint::{Grammar, GrammarCompiler, GrammarOptions, GrammarSource, TokenTable};

fn compile(source: GrammarSource) -> Arc<Grammar> {
    let bytes = (0..=255u8).map(|byte| (vec![byte], false));
    let table = TokenTable::new(bytes.chain([(b"</s>".to_vec(), true)]), &[256]).unwrap();
    GrammarCompiler::new(table).compile(&source, &GrammarOptions::default()).unwrap()
}

fn schema(schema: &Value) -> Arc<Grammar> {
    compile(GrammarSource::JsonSchema(schema.to_string()))
}

fn fits(grammar: &Arc<Grammar>, text: &str) -> bool {
    let mut constraint = grammar.start().unwrap();
    text.bytes().all(|byte| constraint.accept(i32::from(byte)).is_ok()) && constraint.can_end()
}

/// The places of the limitations, all of which must speak of names.
fn told(grammar: &Grammar) -> Vec<String> {
    let line = |limitation: &tabagent_sampling::constraint::Limitation| {
        assert!(limitation.message.contains("readers of JSON keep its last value"), "{limitation}");
        format!("{} {}", limitation.keyword, limitation.path)
    };
    grammar.limitations().iter().map(line).collect()
}

/// `text` repeats a name: the grammar takes it, and says where that can happen.
fn check_told(value: Value, text: &str, places: &[&str]) {
    let grammar = schema(&value);
    assert!(fits(&grammar, text), "{text} should fit {value}");
    assert_eq!(told(&grammar), places, "{value}");
}

/// Nothing can repeat, and nothing is said.
fn check_silent(value: Value, fitting: &[&str], repeating: &[&str]) {
    let grammar = schema(&value);
    assert_eq!(told(&grammar), [""; 0], "{value}");
    for text in fitting {
        assert!(fits(&grammar, text), "{text} should fit {value}");
    }
    for text in repeating {
        assert!(!fits(&grammar, text), "{text} should not fit {value}");
    }
}

#[test]
fn open_objects_tell_that_names_may_repeat() {
    check_told(json!({"type": "object"}), r#"{"a":1,"a":2}"#, &["additionalProperties /"]);
    check_told(
        json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
        r#"{"a":1,"b":1,"b":2}"#,
        &["additionalProperties /"],
    );
    check_told(
        json!({"type": "object", "required": ["a"]}),
        r#"{"a":1,"b":1,"b":2}"#,
        &["additionalProperties /"],
    );
    check_told(json!(true), r#"{"a":1,"a":2}"#, &["additionalProperties /"]);
    check_told(json!({"minLength": 3}), r#"[{"a":1,"a":2}]"#, &["additionalProperties /"]);
    check_told(
        json!({"type": "object", "minProperties": 1, "maxProperties": 2}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /"],
    );
    check_told(
        json!({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /"],
    );
    check_told(
        json!({"type": "object", "not": {"required": ["b"]}}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /"],
    );
}

#[test]
fn the_keyword_is_the_one_that_lets_the_names_in() {
    check_told(
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /"],
    );
    let patterns = json!({"^x": {"type": "integer"}});
    check_told(
        json!({"type": "object", "patternProperties": patterns, "additionalProperties": false}),
        r#"{"xa":1,"xa":2}"#,
        &["patternProperties /"],
    );
    check_told(
        json!({"type": "object", "patternProperties": patterns}),
        r#"{"a":1,"a":2}"#,
        &["patternProperties /", "additionalProperties /"],
    );
    check_told(
        json!({"type": "object", "patternProperties": {"^x": false}}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /"],
    );
    check_told(
        json!({"$ref": "#/$defs/a", "unevaluatedProperties": {"type": "integer"},
               "$defs": {"a": {"properties": {"a": {"type": "integer"}}}}}),
        r#"{"a":1,"b":1,"b":2}"#,
        &["unevaluatedProperties /"],
    );
}

#[test]
fn the_place_is_that_of_the_schema_that_describes_the_object() {
    let open = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let closed =
        |of: Value| json!({"type": "object", "properties": {"x": of}, "additionalProperties": false});
    let nested = r#"{"x":{"a":1,"a":2}}"#;
    check_told(closed(open.clone()), nested, &["additionalProperties /properties/x"]);
    check_told(closed(json!({})), nested, &["additionalProperties /properties/x"]);
    check_told(closed(json!(true)), nested, &["additionalProperties /properties/x"]);
    check_told(
        closed(json!({"anyOf": [{"type": "string"}, open]})),
        nested,
        &["additionalProperties /properties/x/anyOf/1"],
    );
    check_told(closed(json!({"type": "array"})), r#"{"x":[{"a":1,"a":2}]}"#, &["items /properties/x"]);
    check_told(
        json!({"type": "array", "items": open}),
        r#"[{"a":1,"a":2}]"#,
        &["additionalProperties /items"],
    );
    check_told(json!({"type": "array", "items": {}}), r#"[{"a":1,"a":2}]"#, &["additionalProperties /items"]);
    check_told(
        json!({"type": "array", "prefixItems": [{"type": "null"}, true], "items": false}),
        r#"[null,{"a":1,"a":2}]"#,
        &["additionalProperties /prefixItems/1"],
    );
    check_told(
        json!({"$ref": "#/$defs/map", "$defs": {"map": open}}),
        r#"{"a":1,"a":2}"#,
        &["additionalProperties /$defs/map"],
    );
    check_told(
        json!({"allOf": [closed(open.clone()), {"required": ["x"]}]}),
        nested,
        &["additionalProperties /allOf/0/properties/x"],
    );
    // One property of any name and value: names repeat inside of it.
    check_told(
        json!({"type": "object", "maxProperties": 1}),
        r#"{"x":{"a":1,"a":2}}"#,
        &["additionalProperties /"],
    );
    // Two places come in the order of the schema.
    check_told(
        json!({"type": "object", "properties": {"b": open, "a": {}}}),
        r#"{"b":{"a":1,"a":2}}"#,
        &[
            "additionalProperties /",
            "additionalProperties /properties/b",
            "additionalProperties /properties/a",
        ],
    );
}

#[test]
fn nothing_is_told_where_no_name_can_repeat() {
    check_silent(
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false}),
        &["{}", r#"{"a":1}"#],
        &[r#"{"a":1,"a":2}"#],
    );
    check_silent(json!({"type": "object", "maxProperties": 0}), &["{}"], &[r#"{"a":1}"#]);
    check_silent(
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}),
        &[r#"{"a":1}"#],
        &[r#"{"a":1,"a":2}"#],
    );
    check_silent(
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
               "additionalProperties": {"type": "integer"}, "maxProperties": 2}),
        &[r#"{"a":1,"b":1}"#],
        &[r#"{"a":1,"b":1,"b":2}"#],
    );
    // Names that are listed are kept apart.
    check_silent(
        json!({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}}),
        &[r#"{"a":1,"b":2}"#],
        &[r#"{"a":1,"a":2}"#],
    );
    // Nothing fits their values, so that there are none.
    check_silent(
        json!({"type": "object", "additionalProperties": {"allOf": [{"type": "null"}, {"type": "string"}]}}),
        &["{}"],
        &[r#"{"a":null}"#],
    );
    check_silent(json!({"enum": [{"a": {"b": 1}}, [{}]]}), &[r#"{"a":{"b":1}}"#], &[]);
    check_silent(json!({"type": "array", "items": {"type": "integer"}}), &["[1,1]"], &[]);
    check_silent(json!({"type": "array", "maxItems": 0}), &["[]"], &[]);
    check_silent(json!({"type": ["string", "null"]}), &["null"], &[]);
    // The open object is in an alternative that nothing fits.
    check_silent(
        json!({"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/no"}}}],
               "$defs": {"no": {"allOf": [{"type": "null"}, {"type": "string"}]}}}),
        &["null"],
        &[r#"{"a":null}"#],
    );
}

#[test]
fn json_objects_tell_it_of_the_whole() {
    let grammar = compile(GrammarSource::JsonObject);
    assert!(fits(&grammar, r#"{"a":1,"a":2}"#));
    assert_eq!(told(&grammar), ["additionalProperties /"]);
}

#[test]
fn other_grammars_have_no_limitations() {
    for source in [
        GrammarSource::Regex(r#"\{("a":1,?)*\}"#.to_owned()),
        GrammarSource::Gbnf("root ::= \"{\" (\"\\\"a\\\":1\" \",\"?)* \"}\"".to_owned()),
        GrammarSource::Lark(r#"start: "{" ("\"a\":1" ","?)* "}""#.to_owned()),
        GrammarSource::Choices(vec![r#"{"a":1,"a":1}"#.to_owned()]),
    ] {
        let grammar = compile(source);
        assert!(fits(&grammar, r#"{"a":1,"a":1}"#));
        assert!(grammar.limitations().is_empty());
    }
}

#[test]
fn of_two_properties_that_must_be_there_one_may_replace_the_other() {
    let not_only = |kind: &str| json!({"not": {"additionalProperties": {"type": kind}}});
    let one = schema(&json!({"type": "object", "allOf": [not_only("integer")]}));
    assert!(fits(&one, r#"{"a":1,"a":"x"}"#) && !fits(&one, r#"{"a":"x","a":1}"#));
    // Nothing else is said of the object; the values that are no integers have objects of their own.
    assert_eq!(told(&one), ["additionalProperties /", "additionalProperties /allOf/0"]);
    let two = schema(&json!({"type": "object", "allOf": [not_only("integer"), not_only("string")]}));
    assert!(fits(&two, r#"{"a":"x","a":1}"#) && !fits(&two, r#"{"a":1}"#));
    let line = |limitation: &tabagent_sampling::constraint::Limitation| {
        format!("{} {}", limitation.keyword, limitation.path)
    };
    let lines: Vec<String> = two.limitations().iter().map(line).collect();
    assert!(
        ["not /allOf/0", "not /allOf/1"].iter().all(|line| lines.contains(&(*line).to_owned())),
        "{lines:?}"
    );
}
