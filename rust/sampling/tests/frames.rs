//! Frames: texts around values, special tokens, repetition.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;
use tabagent_sampling::constraint::{
    AfterConstruct, Constraint, Frame, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource,
    TokenTable, Trigger, TriggerStart,
};

const CALL: i32 = 256;
const CALL_END: i32 = 257;
const END: i32 = 258;

fn compiler() -> GrammarCompiler {
    let special = ["<tool_call>", "</tool_call>", "</s>"].map(|text| (text.as_bytes().to_vec(), true));
    let table = TokenTable::new((0..=255u8).map(|byte| (vec![byte], false)).chain(special), &[END]).unwrap();
    GrammarCompiler::new(table)
}

fn start(frame: Frame) -> Result<Constraint, GrammarError> {
    compiler().compile(&GrammarSource::Frame(frame), &GrammarOptions::default())?.start()
}

/// Tokens of a text in which `{CALL}` and `{END}` are the special tokens.
fn tokens(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("{CALL}") {
            found.push(CALL);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{END}") {
            found.push(CALL_END);
            rest = after;
        } else {
            found.push(i32::from(rest.as_bytes()[0]));
            let (_, after) = rest.as_bytes().split_at(1);
            rest = str::from_utf8(after).unwrap();
        }
    }
    found
}

fn fits(frame: &Frame, text: &str) -> bool {
    let mut constraint = start(frame.clone()).unwrap();
    tokens(text).iter().all(|token| constraint.accept(*token).is_ok()) && constraint.can_end()
}

fn object(properties: &str) -> Frame {
    Frame::Value(format!(
        r#"{{"type": "object", "properties": {properties}, "additionalProperties": false}}"#
    ))
}

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

#[test]
fn texts_stand_around_values() {
    let frame = Frame::Sequence(vec![text("<f>"), object(r#"{"a": {"type": "integer"}}"#), text("</f>")]);
    for good in [r#"<f>{"a": 1}</f>"#, "<f>\n{}\n</f>", r#"<f>{"a":-2}  </f>"#] {
        assert!(fits(&frame, good), "{good}");
    }
    for bad in [r#"<f>{"a": "x"}</f>"#, r#"<f>{"b": 1}</f>"#, "<f>{}", "{}", "<f>{}</f>x"] {
        assert!(!fits(&frame, bad), "{bad}");
    }
}

#[test]
fn special_tokens_stand_for_their_text_and_it_for_them() {
    let frame = Frame::Sequence(vec![text("<tool_call>\n"), object("{}"), text("\n</tool_call>")]);
    for good in ["{CALL}{}{END}", "{CALL}\n{}\n{END}", "<tool_call>{}</tool_call>"] {
        assert!(fits(&frame, good), "{good}");
    }
    for bad in ["{}{END}", "{CALL}{CALL}{}{END}", "{END}{}{CALL}"] {
        assert!(!fits(&frame, bad), "{bad}");
    }
}

#[test]
fn each_value_has_references_of_its_own() {
    let referring = |kind: &str| {
        Frame::Value(format!(r##"{{"$ref": "#/$defs/x", "$defs": {{"x": {{"type": "{kind}"}}}}}}"##))
    };
    let frame = Frame::Sequence(vec![referring("integer"), text(";"), referring("boolean")]);
    assert!(fits(&frame, "1;true"));
    assert!(!fits(&frame, "1;2"));
    assert!(!fits(&frame, "true;true"));
}

#[test]
fn many_has_separators_and_a_limit() {
    let frame =
        Frame::many(Frame::Value(r#"{"type": "integer", "minimum": 0}"#.into()), Some(text(",")), Some(3));
    for (sample, expected) in
        [("1", true), ("1,2", true), ("1,2,3", true), ("1,2,3,4", false), ("", false), ("1,", false)]
    {
        assert_eq!(fits(&frame, sample), expected, "{sample}");
    }
    let any = Frame::many(text("x"), None, None);
    assert!(fits(&any, &"x".repeat(50)));
}

#[test]
fn until_takes_any_text_up_to_the_first_end() {
    let frame = Frame::Sequence(vec![Frame::Until("</think>".into()), text("y")]);
    for (sample, expected) in [
        ("</think>y", true),
        ("a < b </th </think>y", true),
        ("</think>z", false),
        ("a</think>b</think>y", false),
        ("y", false),
    ] {
        assert_eq!(fits(&frame, sample), expected, "{sample}");
    }
    let special = Frame::Sequence(vec![Frame::Until("</tool_call>".into()), text("y")]);
    for (sample, expected) in
        [("{END}y", true), ("a{END}y", true), ("a</tool_call>y", true), ("{END}{END}y", false)]
    {
        assert_eq!(fits(&special, sample), expected, "{sample}");
    }
}

#[test]
fn choices_and_options() {
    let frame = Frame::Sequence(vec![
        Frame::Choice(vec![text("a"), text("ab")]),
        text("c").optional(),
        Frame::Regex("[0-9]{2}".into()),
    ]);
    for (sample, expected) in [("a12", true), ("abc12", true), ("ac12", true), ("c12", false), ("a1", false)]
    {
        assert_eq!(fits(&frame, sample), expected, "{sample}");
    }
}

#[test]
fn schemas_that_nothing_fits_are_refused() {
    let frame = Frame::Sequence(vec![
        text("a"),
        Frame::Value(r#"{"allOf": [{"type": "string"}, {"type": "integer"}]}"#.into()),
    ]);
    let error = start(frame).unwrap_err();
    assert!(matches!(error, GrammarError::Schema { .. }), "{error}");
    let error = start(Frame::Value("{".into())).unwrap_err();
    assert!(matches!(error, GrammarError::Syntax { .. }), "{error}");
}

#[test]
fn limitations_name_the_schema() {
    let frame = Frame::Sequence(vec![
        object("{}"),
        Frame::Value(r#"{"type": "string", "format": "strange"}"#.into()),
    ]);
    let grammar = compiler().compile(&GrammarSource::Frame(frame), &GrammarOptions::default()).unwrap();
    let paths: Vec<&str> = grammar.limitations().iter().map(|l| l.path.as_str()).collect();
    assert_eq!(paths, ["/$defs/1"]);
}

#[test]
fn frames_begin_after_triggers_again_and_again() {
    let frame = Frame::Sequence(vec![object("{}"), text("</tool_call>")]);
    let trigger = Trigger {
        starts: vec![TriggerStart::Text("<tool_call>".into())],
        then: AfterConstruct::FreeText,
        required: false,
    };
    let options = GrammarOptions { trigger: Some(trigger), ..GrammarOptions::default() };
    let grammar = compiler().compile(&GrammarSource::Frame(frame), &options).unwrap();
    let accepts = |sample: &str| {
        let mut constraint = Arc::clone(&grammar).start().unwrap();
        tokens(sample).iter().all(|token| constraint.accept(*token).is_ok()) && constraint.can_end()
    };
    for (sample, expected) in [
        ("free", true),
        ("a {CALL}{}{END} b", true),
        ("a<tool_call>{}</tool_call>{CALL}{}{END}", true),
        ("{CALL}x", false),
        ("{CALL}{}", false),
    ] {
        assert_eq!(accepts(sample), expected, "{sample}");
    }
}
