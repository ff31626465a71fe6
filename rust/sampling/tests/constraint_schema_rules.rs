//! What schemas allow and forbid where keywords meet: each schema with texts that fit and texts that do not, and what its limitations name.
//!
//! One table longer than files here are: a rule is found where its neighbours are, and all share the helpers below.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tabagent_sampling::constraint::{
    Grammar, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

fn compile_text(text: &str) -> Result<Arc<Grammar>, GrammarError> {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    let compiler = COMPILER.get_or_init(|| {
        let bytes = (0..=255u8).map(|byte| (vec![byte], false));
        GrammarCompiler::new(TokenTable::new(bytes.chain([(b"</s>".to_vec(), true)]), &[256]).unwrap())
    });
    compiler.compile(&GrammarSource::JsonSchema(text.to_owned()), &GrammarOptions::default())
}

fn compile(schema: &Value) -> Result<Arc<Grammar>, GrammarError> {
    compile_text(&schema.to_string())
}

fn fits(grammar: &Arc<Grammar>, text: &str) -> bool {
    let mut constraint = grammar.start().unwrap();
    text.bytes().all(|byte| constraint.accept(i32::from(byte)).is_ok()) && constraint.can_end()
}

/// The limitations, but for those of names that may repeat, which `constraint_repeats.rs` is about.
fn limits(grammar: &Grammar) -> Vec<String> {
    let line = |limitation: &tabagent_sampling::constraint::Limitation| {
        format!("{} {}", limitation.keyword, limitation.path)
    };
    let of_names = |limitation: &&tabagent_sampling::constraint::Limitation| {
        limitation.message.contains("readers of JSON keep its last value")
    };
    grammar.limitations().iter().filter(|limitation| !of_names(limitation)).map(line).collect()
}

/// Compiles `schema` without limitations and tries the texts.
fn check(schema: Value, fitting: &[&str], others: &[&str]) {
    let grammar = compile(&schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    assert!(limits(&grammar).is_empty(), "{:?}: {schema}", limits(&grammar));
    for text in fitting {
        assert!(fits(&grammar, text), "{text} should fit {schema}");
    }
    for text in others {
        assert!(!fits(&grammar, text), "{text} should not fit {schema}");
    }
}

fn refusal(schema: &Value) -> (String, String) {
    match compile(schema) {
        Err(GrammarError::Schema { path, message }) => (path, message),
        other => panic!("{other:?}: {schema}"),
    }
}

#[test]
fn objects_of_thousands_of_optional_properties_can_be_written() {
    let properties: serde_json::Map<String, Value> =
        (0..3_000).map(|i| (format!("p{i}"), json!({"type": "integer"}))).collect();
    for open in [false, true] {
        let schema = json!({"type": "object", "properties": properties, "additionalProperties": open});
        let grammar = compile(&schema).unwrap();
        for text in ["{}", r#"{"p2999": 1}"#, r#"{"p0":1,"p1500":2,"p2999":3}"#] {
            assert!(fits(&grammar, text), "{text}");
        }
        for text in [r#"{"p1":1,"p0":2}"#, r#"{"p7":1,"p7":2}"#, r#"{"p1":1,}"#, r#"{,"p1":1}"#] {
            assert!(!fits(&grammar, text), "{text}");
        }
        assert_eq!(fits(&grammar, r#"{"p3":1,"q":"x","r":null}"#), open);
        assert_eq!(fits(&grammar, r#"{"q":"x"}"#), open);
        assert!(!fits(&grammar, r#"{"q":"x","p3":1}"#));
    }
}

#[test]
fn items_that_are_from_few_values_do_not_repeat() {
    let list = |items: Value| json!({"type": "array", "items": items, "uniqueItems": true});
    check(
        list(json!({"type": "boolean"})),
        &["[]", "[true]", "[false, true]", "[true,false]"],
        &["[true,true]", "[true,false,true]", "[false,false]", "[1]"],
    );
    check(
        list(json!({"enum": ["a", "b", "c", null, 1]})),
        &["[]", r#"["b","a"]"#, r#"[1,null,"c","b","a"]"#],
        &[r#"["a","b","a"]"#, "[null,null]", "[1,1]", r#"["d"]"#],
    );
    check(
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 2, "maxItems": 2}),
        &[r#"["a","b"]"#, r#"["c","a"]"#],
        &["[]", r#"["a"]"#, r#"["a","a"]"#, r#"["a","b","c"]"#],
    );
    // Places with values of their own, which others share.
    check(
        json!({"type": "array", "prefixItems": [{"const": 1}, {"enum": [1, 2]}], "items": {"enum": [1.0, 2, 3]}, "uniqueItems": true}),
        &["[]", "[1]", "[1,2]", "[1,2,3]"],
        &["[1,1]", "[1,2,1.0]", "[1,2,2]", "[1,2,3,3]", "[2]"],
    );
    check(
        json!({"allOf": [list(json!(true)), {"type": "array", "items": {"enum": ["x", "y"]}}]}),
        &["[]", r#"["x","y"]"#],
        &[r#"["x","x"]"#],
    );
    let eight: Vec<Value> = (0..8).map(Value::from).collect();
    check(list(json!({"enum": eight})), &["[7,6,5,4,3,2,1,0]"], &["[7,6,5,4,3,2,1,7]", "[0,0]"]);
    // More values than are remembered, and values without an end.
    for items in
        [json!({"enum": (0..9).collect::<Vec<_>>()}), json!({"type": "string"}), json!({"enum": [[], {}]})]
    {
        let grammar = compile(&list(items)).unwrap();
        assert_eq!(limits(&grammar), ["uniqueItems /"]);
    }
    // One item differs from all others.
    check(
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 1}),
        &[r#"["a"]"#],
        &[r#"["a","a"]"#],
    );
    let (path, message) =
        refusal(&json!({"type": "array", "items": {"type": "boolean"}, "uniqueItems": true, "minItems": 3}));
    assert_eq!(path, "/");
    assert!(message.starts_with("nothing can fit"), "{message}");
}

#[test]
fn names_are_written_in_one_way_and_declared_ones_once() {
    check(
        json!({"properties": {"a": {"type": "integer"}}}),
        &[r#"{"a": 1}"#, r#"{"a": 1, "b": "x"}"#, r#"{"b\n\"\\": 1}"#, "3", r#"{"é": 1}"#],
        &[
            r#"{"\u0061": "x"}"#,
            r#"{"a": 1, "\u0061": "x"}"#,
            r#"{"a": 1, "a": 1}"#,
            r#"{"\u000a": 1}"#,
            r#"{"\u00e9": 1}"#,
        ],
    );
    check(
        json!({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}),
        &[r#"{"ab": 1}"#, r#"{"b": "x"}"#],
        &[r#"{"ab": "x"}"#, r#"{"\u0061b": "x"}"#],
    );
    check(
        json!({"type": "object", "not": {"required": ["a"]}}),
        &["{}", r#"{"b": 1}"#],
        &[r#"{"a": 1}"#, r#"{"\u0061": 1}"#, r#"{"b": 1, "a": 1}"#],
    );
    check(
        json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        &[r#"{"a": 1}"#, r#"{"b": 1}"#],
        &[r#"{"a": 1, "b": 1}"#, r#"{"a": 1, "\u0062": 1}"#, "{}"],
    );
}

#[test]
fn json_mode_writes_names_in_one_way() {
    let bytes = (0..=255u8).map(|byte| (vec![byte], false));
    let compiler =
        GrammarCompiler::new(TokenTable::new(bytes.chain([(b"</s>".to_vec(), true)]), &[256]).unwrap());
    let grammar = compiler.compile(&GrammarSource::JsonObject, &GrammarOptions::default()).unwrap();
    assert!(fits(&grammar, r#"{"a": [1e5, {"b": null}], "c": "\u000a\n"}"#));
    for text in [r#"{"\u0061": 1}"#, r#"{"a": 1e999}"#, r#"{"a": {"\u0061": 1}}"#, "[]"] {
        assert!(!fits(&grammar, text), "{text}");
    }
}

#[test]
fn counts_of_properties_hold_beside_optional_ones() {
    let two = json!({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false, "minProperties": 2, "maxProperties": 2});
    check(
        two,
        &[r#"{"a": 1, "b": 1}"#, r#"{"a": 1, "c": 1}"#, r#"{"b": 1, "c": 1}"#],
        &["{}", r#"{"b": 1}"#, r#"{"a": 1, "b": 1, "c": 1}"#],
    );
    check(
        json!({"type": "object", "properties": {"a": {}}, "minProperties": 1}),
        &[r#"{"a": 1}"#, r#"{"x": 1}"#, r#"{"a": 1, "x": 1, "y": 1}"#],
        &["{}"],
    );
    check(
        json!({"type": "object", "allOf": [{"minProperties": 2}, {"minProperties": 1}], "properties": {"k": {"const": 1}, "l": {}}, "additionalProperties": false}),
        &[r#"{"k": 1, "l": 2}"#],
        &[r#"{"k": 1}"#, r#"{"l": 2}"#],
    );
    let repeated = compile(&json!({"type": "object", "minProperties": 2})).unwrap();
    assert_eq!(limits(&repeated), ["minProperties /"]);
    assert!(fits(&repeated, r#"{"a": 1, "b": 1}"#) && !fits(&repeated, r#"{"a": 1}"#));
    let (path, message) = refusal(
        &json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false, "minProperties": 2}),
    );
    assert_eq!(path, "/");
    assert!(message.starts_with("nothing can fit this schema"), "{message}");
}

#[test]
fn schemas_without_a_finite_instance_are_refused_with_their_path() {
    for (schema, path) in [
        (json!({"properties": {"n": {"$ref": "#"}}, "required": ["n"], "type": "object"}), "/properties/n"),
        (json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}), "/items"),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {
                "x": {"type": "array", "prefixItems": [{"$ref": "#/$defs/y"}], "minItems": 1},
                "y": {"anyOf": [{"$ref": "#/$defs/x"}, false]}
            }}),
            "/$defs/x/prefixItems/0",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "enum": [1]}}}),
            "/properties/a",
        ),
        (json!({"type": "number", "minimum": 1, "maximum": 2, "multipleOf": 7}), "/"),
        (json!({"type": "string", "pattern": "^a$", "allOf": [{"pattern": "^b$"}]}), "/"),
        (json!({"type": "array", "contains": {"type": "string"}, "items": {"type": "null"}}), "/items"),
        (json!({"allOf": [{"$ref": "#"}]}), "/allOf/0/$ref"),
        (json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}), "/anyOf/1/$ref"),
        (json!({"not": {"$ref": "#"}}), "/not/$ref"),
    ] {
        let (found, message) = refusal(&schema);
        assert_eq!(found, path, "{message}: {schema}");
    }
    check(
        json!({"type": "object", "properties": {"n": {"$ref": "#"}}}),
        &["{}", r#"{"n": {"n": {}}}"#],
        &[r#"{"n": 1}"#],
    );
}

#[test]
fn what_nothing_fits_takes_only_its_branch_away() {
    let never = json!({"$ref": "#/$defs/never"});
    let defs = json!({"never": {"type": "string", "enum": [1]}});
    check(json!({"anyOf": [never, {"type": "null"}], "$defs": defs}), &["null"], &["1", "\"a\""]);
    check(
        json!({"type": "object", "properties": {"a": never, "b": {}}, "$defs": defs}),
        &["{}", r#"{"b": 1}"#],
        &[r#"{"a": 1}"#, r#"{"a": "x"}"#],
    );
    check(json!({"type": "array", "items": never, "$defs": defs}), &["[]"], &["[1]"]);
    check(json!({"type": "array", "prefixItems": [{}, never], "$defs": defs}), &["[]", "[1]"], &["[1, 1]"]);
}

#[test]
fn references_are_resolved_against_the_base_where_they_stand() {
    check(
        json!({
            "$id": "https://example.org/root.json",
            "properties": {"a": {"$ref": "a.json"}, "b": {"$ref": "sub/b.json#/$defs/c"}, "x": {"$ref": "a.json#x"}, "y": {"$ref": "sub/b.json#x"}},
            "additionalProperties": false,
            "$defs": {
                "one": {"$id": "a.json", "type": "string", "$defs": {"x": {"$anchor": "x", "type": "integer"}}},
                "two": {"$id": "sub/", "$defs": {"b": {"$id": "b.json", "$defs": {"c": {"type": "null"}, "x": {"$anchor": "x", "$ref": "../a.json"}}}}}
            }
        }),
        &[r#"{"a": "s", "b": null, "x": 1, "y": "t"}"#],
        &[r#"{"a": 1}"#, r#"{"b": 1}"#, r#"{"x": "s"}"#, r#"{"y": 1}"#],
    );
    // What ends alike is not the same.
    let (path, message) = refusal(&json!({
        "properties": {"a": {"$ref": "b.json"}},
        "$defs": {"one": {"$id": "https://example.org/x/b.json"}, "two": {"$id": "https://example.org/y/b.json"}}
    }));
    assert_eq!(path, "/properties/a/$ref");
    assert!(message.contains("is outside the schema"), "{message}");
}

#[test]
fn dynamic_references_follow_the_outermost_anchor() {
    let tree = json!({
        "$id": "tree", "$dynamicAnchor": "node", "type": "object",
        "properties": {"data": {}, "children": {"type": "array", "items": {"$dynamicRef": "#node"}}}
    });
    check(
        json!({
            "$id": "https://example.org/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": false,
            "$defs": {"tree": tree}
        }),
        &[r#"{"data": 1, "children": [{"data": 2}]}"#],
        &[r#"{"data": 1, "children": [{"daat": 2}]}"#, r#"{"daat": 1}"#],
    );
    check(
        json!({
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$id": "https://example.org/strict", "$recursiveAnchor": true, "$ref": "tree", "unevaluatedProperties": false,
            "$defs": {"tree": {
                "$id": "tree", "$recursiveAnchor": true, "type": "object",
                "properties": {"data": {}, "children": {"type": "array", "items": {"$recursiveRef": "#"}}}
            }}
        }),
        &[r#"{"data": 1, "children": [{"data": 2}]}"#],
        &[r#"{"data": 1, "children": [{"daat": 2}]}"#],
    );
}

#[test]
fn numbers_stay_within_what_readers_read() {
    for schema in [
        json!({"type": "integer"}),
        json!({"type": "number"}),
        json!({"minimum": 3}),
        json!({"type": "integer", "minimum": 3}),
    ] {
        let nines = "9".repeat(308);
        check(schema, &["7", &nines], &[&format!("{nines}9"), "1e999"]);
    }
    check(
        json!({"maximum": 5.31, "type": "number"}),
        &["5.3", "5.30", "5.31", "-7", "5"],
        &["5.32", "5.311", "6"],
    );
    check(json!({"type": "number", "multipleOf": 0.25}), &["1.5", "1.50", "0.25", "-3"], &["1.3", "0.255"]);
    check(
        json!({"type": "string", "format": "hostname"}),
        &[&format!("\"{}a\"", "ab.".repeat(84))],
        &[&format!("\"{}ab\"", "ab.".repeat(84))],
    );
}

#[test]
fn numbers_that_floats_do_not_hold_are_named() {
    let exact = compile_text(r#"{"enum": [18446744073709551615, 9007199254740993]}"#).unwrap();
    assert!(
        limits(&exact).is_empty()
            && fits(&exact, "18446744073709551615")
            && !fits(&exact, "9007199254740992")
    );
    let rounded = compile_text(r#"{"const": 123456789012345678901234567890}"#).unwrap();
    assert_eq!(limits(&rounded), ["const /"]);
}

#[test]
fn patterns_exclude_characters_that_are_written_with_escapes() {
    check(json!({"type": "string", "pattern": "^[^\"]*$"}), &[r#""a\\\n""#, r#""a\u000A""#], &[r#""a\"b""#]);
    check(json!({"type": "string", "pattern": r"^[^\\]*$"}), &[r#""a\"b""#], &[r#""a\\b""#]);
    check(json!({"type": "string", "pattern": r"^\D\W$"}), &["\"é߀\"", r#""a ""#], &["\"1 \"", "\"aa\""]);
    check(
        json!({"type": "object", "propertyNames": {"pattern": r"^[^\\]*$"}}),
        &[r#"{"a\"": 1}"#],
        &[r#"{"a\\": 1}"#],
    );
}

#[test]
fn names_must_fit_whether_declared_or_not() {
    let names = json!({"pattern": "^[a-z]+$"});
    check(
        json!({"properties": {"name": {"type": "string"}}, "propertyNames": names, "additionalProperties": false, "type": "object"}),
        &["{}", r#"{"name": "x"}"#],
        &[r#"{"name": 1}"#, r#"{"other": 1}"#],
    );
    check(
        json!({"properties": {"Name": {"type": "string"}}, "propertyNames": names, "type": "object"}),
        &["{}", r#"{"x": 1}"#],
        &[r#"{"Name": "x"}"#, r#"{"X": 1}"#],
    );
    check(
        json!({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "patternProperties": {"^a": {"type": "integer"}}}),
        &[r#"{"a": 1, "b": "x"}"#],
        &[r#"{"a": "x"}"#, r#"{"c": 1}"#],
    );
    check(
        json!({"type": "object", "patternProperties": {"a": {"type": "integer"}, "b": {"maximum": 5}}}),
        &[r#"{"ab": 3, "a": 9, "b": "x"}"#],
        &[r#"{"ab": "x"}"#, r#"{"ab": 9}"#],
    );
}

#[test]
fn items_are_counted_and_evaluated() {
    check(
        json!({"type": "array", "contains": {"type": "integer"}, "minContains": 0, "unevaluatedItems": false}),
        &["[]", "[1, 2]"],
        &["[\"a\"]", "[1, \"a\"]"],
    );
    check(
        json!({"type": "array", "contains": {"type": "integer"}, "minContains": 2, "maxContains": 3, "maxItems": 4}),
        &["[1, 2]", "[\"a\", 1, 2]", "[1, 2, 3, null]"],
        &["[1]", "[1, 2, 3, 4]", "[1, 2, null, null, null]", "[]"],
    );
    check(
        json!({"type": "array", "prefixItems": [{"type": "string"}], "anyOf": [{"prefixItems": [true, {"type": "integer"}]}, {}], "unevaluatedItems": {"type": "null"}}),
        &["[\"a\", 1, null]", "[\"a\", null]"],
        &["[\"a\", true]", "[\"a\", 1, 2]"],
    );
}

#[test]
fn keywords_of_other_types_say_nothing() {
    check(json!({"type": "integer", "oneOf": [{"required": ["b"]}]}), &["5"], &["{}", "1.5"]);
    check(json!({"not": {"required": ["a"]}}), &["{}", r#"{"b": 1}"#], &["5", "\"x\"", "[]", r#"{"a": 1}"#]);
    check(json!({"type": "string", "anyOf": [{"minimum": 3}, {"maxLength": 1}]}), &["\"abc\""], &["3"]);
}

#[test]
fn combinations_are_worked_out() {
    check(
        json!({"type": "object", "if": {"properties": {"k": {"const": "a"}}, "required": ["k"]}, "then": {"required": ["x"]}, "else": {"required": ["y"]},
            "properties": {"k": {"enum": ["a", "b"]}, "x": {}, "y": {}}, "additionalProperties": false}),
        &[r#"{"k": "a", "x": 1}"#, r#"{"k": "b", "y": 1}"#, r#"{"y": 1}"#],
        &[r#"{"k": "a", "y": 1}"#, r#"{"k": "b", "x": 1}"#, "{}"],
    );
    check(json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}), &["1", "2.5", "\"x\""], &["3", "1.5"]);
    check(
        json!({"type": "string", "not": {"pattern": "^a", "maxLength": 2}}),
        &["\"abc\"", "\"b\""],
        &["\"a\"", "\"ab\""],
    );
    check(
        json!({"type": "object", "not": {"additionalProperties": {"type": "integer"}}}),
        &[r#"{"a": "x"}"#, r#"{"b": 1, "a": "x"}"#],
        &["{}", r#"{"a": 1}"#],
    );
    check(
        json!({"type": "array", "not": {"items": {"type": "integer"}}}),
        &["[\"a\"]", "[1, null, 2]"],
        &["[]", "[1, 2]"],
    );
    check(
        json!({"allOf": [{"enum": [1, "a", [1, {"b": 2}]]}, {"not": {"const": "a"}}]}),
        &["1", r#"[1, {"b": 2}]"#],
        &["\"a\"", "[1]"],
    );
    check(
        json!({"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"b": {"required": ["c"]}}}),
        &["{}", r#"{"a": 1, "b": 1, "c": 1}"#, r#"{"b": 1, "c": 1}"#],
        &[r#"{"a": 1}"#, r#"{"b": 1}"#, r#"{"a": 1, "b": 1}"#],
    );
}

#[test]
fn what_is_not_enforced_does_not_turn_into_its_opposite() {
    let grammar = compile(&json!({"type": "array", "not": {"uniqueItems": true}})).unwrap();
    assert!(fits(&grammar, "[1, 1]") && !limits(&grammar).is_empty());
    let grammar = compile(&json!({"type": "string", "not": {"pattern": "a(?!b)"}})).unwrap();
    assert!(
        fits(&grammar, "\"ab\"") && limits(&grammar).contains(&"not /".to_owned()),
        "{:?}",
        limits(&grammar)
    );
    let grammar = compile(&json!({"if": {"type": "string", "format": "nope"}, "then": {"maxLength": 1}, "else": {"minLength": 2}})).unwrap();
    assert!(
        fits(&grammar, "\"abc\"") && fits(&grammar, "\"a\"") && limits(&grammar).contains(&"if /".to_owned())
    );
}

#[test]
fn large_schemas_are_fast_or_refused() {
    let values: Vec<u32> = (0..3_000_000).map(|n| n % 10).collect();
    for (schema, fits_it) in [
        (json!({ "enum": values }), false),
        (json!({ "const": values }), false),
        (json!({"enum": (0..40_000).map(|n| format!("value number {n}")).collect::<Vec<_>>()}), true),
        (json!({"enum": (0..40_000).collect::<Vec<_>>()}), true),
        (json!({"not": {"enum": (0..5_000).collect::<Vec<_>>()}}), true),
    ] {
        match compile(&schema) {
            Err(GrammarError::TooLarge { message }) => {
                assert!(!fits_it && message.contains("`100000` values"), "{message}");
            }
            Ok(_) => assert!(fits_it),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn conditions_on_one_property_do_not_multiply() {
    let parts: Vec<Value> = (0..30)
        .map(|i| {
            json!({"if": {"properties": {"k": {"const": i}}, "required": ["k"]}, "then": {"required": [format!("b{i}")]}})
        })
        .collect();
    check(
        json!({"type": "object", "properties": {"k": {"type": "integer"}}, "allOf": parts}),
        &["{}", r#"{"k": 7, "b7": 1}"#, r#"{"k": 40}"#],
        &[r#"{"k": 7}"#, r#"{"k": 7, "b8": 1}"#],
    );
}

#[test]
fn what_would_take_too_long_is_named_and_left_out() {
    let overlapping: Vec<Value> = (0..40)
        .map(|i| json!({"type": "object", "properties": {format!("a{i}"): {"type": "string"}, "x": {"minLength": i}}}))
        .collect();
    let grammar = compile(&json!({ "oneOf": overlapping })).unwrap();
    assert!(limits(&grammar).contains(&"oneOf /".to_owned()), "{:?}", limits(&grammar));
    let branches: Vec<Value> = (0..12).map(|i| json!({"properties": {format!("a{i}"): true}})).collect();
    let grammar =
        compile(&json!({"properties": {"x": {"type": "object", "allOf": [{ "anyOf": branches }], "unevaluatedProperties": false}}}))
            .unwrap();
    assert_eq!(limits(&grammar), ["unevaluatedProperties /properties/x"]);
    assert!(fits(&grammar, r#"{"x": {"a1": 1, "a5": 2}}"#));
    let grammar = compile(&json!({"type": "integer", "multipleOf": 9_999_991})).unwrap();
    assert_eq!(limits(&grammar), ["multipleOf /"]);
    let properties: serde_json::Map<String, Value> =
        (0..30_000).map(|i| (format!("p{i}"), json!(true))).collect();
    let error = compile(&json!({"type": "object", "properties": properties})).unwrap_err();
    assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}");
}

#[test]
fn formats_take_what_their_documents_say() {
    for (format, fitting, others) in [
        (
            "time",
            &["23:59:60Z", "23:59:60+00:00", "15:59:60.5-08:00", "01:29:60+01:30", "08:30:06z"][..],
            &["23:58:60Z", "15:59:60-07:00", "01:30:60+01:30", "24:00:00Z", "08:30:06"][..],
        ),
        (
            "date-time",
            &["1998-12-31T15:59:60-08:00", "2024-02-29t00:00:00z"],
            &["2023-02-29T00:00:00Z", "2024-02-29 00:00:00Z"],
        ),
        ("email", &["a.b@c.d", "a@[127.0.0.1]", "a@[IPv6:::1]"], &["a", ".a@b", "a..b@c", "a@[::1]", "@b"]),
        (
            "ipv6",
            &["::", "1::", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::"],
            &["1", "1::2::3", "1:2:3:4:5:6:7:8:9", "::1.2.3.256", "12345::"],
        ),
        (
            "uri",
            &["a:", "http://u@[::1]:8/p?q#f", "urn:x:y", "http://a/%20"],
            &["//a", "http://a b", "http://a/%2", "http://[::1"],
        ),
        ("duration", &["P1Y2M3D", "PT1H", "P2W", "P1DT2S"], &["P", "PT", "P1Y2D", "1D"]),
        ("hostname", &["a", "a-b.c"], &["-a", "a-", "a..b", "a_b"]),
    ] {
        let quoted =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| format!("\"{text}\"")).collect() };
        let (fitting, others) = (quoted(fitting), quoted(others));
        check(
            json!({"type": "string", "format": format}),
            &fitting.iter().map(String::as_str).collect::<Vec<_>>(),
            &others.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}
