//! What the constraints of calls allow is read back as calls whose arguments fit, and what templates write is allowed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use tabagent_chat::format::{
    OutputConstraint, OutputFormat, OutputParser, ParsedMessage, ToolChoice, ToolChoiceError, ToolTypes,
};
use tabagent_chat::{ChatTemplate, Conversation, Message, ToolDefinition};
use tabagent_sampling::constraint::{Constraint, Frame, GrammarCompiler, GrammarSource, TokenTable};

fn templates() -> BTreeMap<String, ChatTemplate> {
    let Some(tree) = tabagent_material::tree() else { return BTreeMap::new() };
    let only = std::env::var("ONLY").unwrap_or_default();
    let files = fs::read_dir(tree.join("models/templates")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension().is_some_and(|kind| kind == "jinja") && path.to_string_lossy().contains(&only)
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, ChatTemplate::new(fs::read_to_string(&path).unwrap(), "<BOS>", "<EOS>").unwrap())
        })
        .collect()
}

fn definitions() -> Vec<Value> {
    vec![
        json!({"type": "function", "function": {"name": "get_weather", "description": "W.", "parameters": {
            "type": "object", "required": ["city"], "additionalProperties": false, "properties": {
                "city": {"type": "string", "description": "A."}, "days": {"type": "integer", "minimum": 0, "maximum": 9, "description": "B."},
                "unit": {"$ref": "#/$defs/Unit", "description": "C."}, "exact": {"type": "boolean", "description": "D."},
            }, "$defs": {"Unit": {"type": "string", "enum": ["C", "F"]}},
        }}}),
        json!({"type": "function", "function": {"name": "find", "description": "F.", "parameters": {
            "type": "object", "required": ["where", "tags"], "additionalProperties": false, "properties": {
                "where": {"type": "object", "description": "A.", "properties": {"x": {"type": "integer", "description": "x"}}, "required": ["x"], "additionalProperties": false},
                "tags": {"type": "array", "description": "T.", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 2},
            },
        }}}),
    ]
}

fn tools() -> Vec<ToolDefinition> {
    definitions().into_iter().map(|tool| ToolDefinition::from_json(tool).unwrap()).collect()
}

const END: i32 = 256;

fn compiler() -> GrammarCompiler {
    let tokens = (0..=255u8).map(|byte| (vec![byte], false)).chain([(b"<eog>".to_vec(), true)]);
    GrammarCompiler::new(TokenTable::new(tokens, &[END]).unwrap())
}

fn start(compiler: &GrammarCompiler, constraint: &OutputConstraint) -> Constraint {
    compiler.compile(&constraint.source, &constraint.options).unwrap().start().unwrap()
}

/// The texts in a frame up to which anything may come.
fn ends(frame: &Frame, found: &mut Vec<String>) {
    match frame {
        Frame::Until(text) => found.push(text.clone()),
        Frame::Sequence(parts) | Frame::Choice(parts) => parts.iter().for_each(|part| ends(part, found)),
        Frame::Many { item, .. } => ends(item, found),
        Frame::Optional(inner) => ends(inner, found),
        _ => {}
    }
}

/// A text that the constraint allows, chosen at random.
fn written(
    constraint: &OutputConstraint,
    compiler: &GrammarCompiler,
    random: &mut Xoshiro256PlusPlus,
) -> String {
    let GrammarSource::Frame(frame) = &constraint.source else { unreachable!() };
    let mut free_ends = Vec::new();
    ends(frame, &mut free_ends);
    let mut sequence = start(compiler, constraint);
    let mut bytes: Vec<u8> = Vec::new();
    for step in 0..4000 {
        if sequence.can_end() && random.next_u32().is_multiple_of(3) || sequence.is_finished() {
            break;
        }
        let words = sequence.mask().unwrap().map(<[u32]>::to_vec);
        let is_allowed = |byte: u8| {
            words.as_ref().is_none_or(|words| words[usize::from(byte) / 32] >> (byte % 32) & 1 == 1)
        };
        let plain: Vec<u8> = (0x21..0x7f).filter(|byte| is_allowed(*byte)).collect();
        if plain.len() > 90 && !free_ends.is_empty() && random.next_u32().is_multiple_of(3) {
            // Anything may come: the text goes on to one of its ends.
            let end = &free_ends[random.next_u32() as usize % free_ends.len()];
            bytes.extend(end.bytes().take_while(|byte| sequence.accept(i32::from(*byte)).is_ok()));
            continue;
        }
        // What closes things comes first now and then, so that texts end.
        let closers: Vec<u8> = b"\"'}])".iter().copied().filter(|byte| is_allowed(*byte)).collect();
        let closing = closers.get(random.next_u32() as usize % closers.len().max(1)).copied();
        let closing = closing.filter(|_| step > 200 || random.next_u32().is_multiple_of(4));
        let all: Vec<u8> =
            if plain.is_empty() { (0..=255).filter(|byte| is_allowed(*byte)).collect() } else { plain };
        let Some(byte) = closing.or_else(|| all.get(random.next_u32() as usize % all.len().max(1)).copied())
        else {
            break;
        };
        sequence.accept(i32::from(byte)).unwrap();
        bytes.push(byte);
    }
    assert!(sequence.can_end(), "the text does not end: {}", String::from_utf8_lossy(&bytes));
    String::from_utf8(bytes).unwrap()
}

fn parsed(format: &OutputFormat, text: &str, tools: Option<&[Value]>, in_reasoning: bool) -> ParsedMessage {
    let mut parser = OutputParser::new(Arc::new(format.clone()), ToolTypes::new(tools), in_reasoning);
    parser.feed(text);
    parser.finish();
    parser.into_message()
}

fn fits(name: &str, arguments: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(arguments) else { return false };
    let schema = definitions().into_iter().find(|tool| tool["function"]["name"] == name).unwrap()["function"]
        ["parameters"]
        .take();
    let required =
        schema["required"].as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some());
    let known = value.as_object().is_some_and(|fields| {
        fields.iter().all(|(key, value)| match key.as_str() {
            "city" => value.is_string(),
            "days" => value.as_f64().is_some_and(|days| (0.0..=9.0).contains(&days) && days.fract() == 0.0),
            "unit" => value == "C" || value == "F",
            "exact" => value.is_boolean(),
            "where" => value.as_object().is_some_and(|fields| {
                fields.len() == 1 && fields["x"].as_f64().is_some_and(|x| x.fract() == 0.0)
            }),
            "tags" => value
                .as_array()
                .is_some_and(|tags| tags.len() <= 2 && tags.iter().all(|tag| tag == "a" || tag == "b")),
            _ => false,
        })
    });
    required && known
}

#[test]
fn whatever_is_allowed_is_read_as_calls_that_fit() {
    let compiler = compiler();
    let mut failures = Vec::new();
    for (name, template) in templates() {
        let format = template.output_format();
        for (label, choice, parallel) in [
            ("required", ToolChoice::Required, true),
            ("one", ToolChoice::Required, false),
            ("named", ToolChoice::Named("find".into()), false),
        ] {
            let constraint = format.constrain_calls(&tools(), &choice, parallel, false).unwrap().unwrap();
            for seed in 0..6 {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
                let text = written(&constraint, &compiler, &mut random);
                let message = parsed(&format, &text, Some(&definitions()), false);
                let calls = &message.tool_calls;
                let is_right = !calls.is_empty()
                    && message.warnings.is_empty()
                    && message.content.is_empty()
                    && calls.iter().all(|call| fits(&call.name, &call.arguments))
                    && (parallel || calls.len() == 1)
                    && (label != "named" || calls[0].name == "find");
                if !is_right {
                    failures.push(format!("{name}, {label}: {text:?}\n    {message:?}"));
                    break;
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

/// Templates that write lists and objects as Python does; the constraints have them written as JSON, which is read as well.
const PYTHON: [&str; 3] = ["ByteDance-Seed-OSS", "LFM2.5-8B-A1B", "openbmb-MiniCPM5-1B"];

#[test]
fn what_templates_write_is_allowed() {
    let compiler = compiler();
    let mut failures = Vec::new();
    let mut tried = 0;
    for (name, template) in templates() {
        let format = template.output_format();
        let call = |name: &str, arguments: Value, id: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls = [
            call("get_weather", json!({"city": "Paris", "days": 3}), "callid000"),
            call("find", json!({"where": {"x": 1}, "tags": ["a"]}), "callid001"),
        ];
        for count in [1, 2] {
            let mut message = Message::assistant("");
            message.set("tool_calls", calls[..count].to_vec());
            let conversation = Conversation::new(vec![Message::user("Hello"), message])
                .with_tools(tools())
                .with_generation_prompt(false)
                .with_adapt(false);
            let Ok(whole) = template.render(&conversation) else { continue };
            let answer = &whole[whole.rfind("Hello").unwrap() + 5..];
            let parsed = parsed(&format, answer, Some(&definitions()), false);
            if parsed.tool_calls.len() != count {
                continue;
            }
            let calls = format.calls.as_ref().unwrap();
            let first = if calls.section.start.is_empty() {
                calls.call.start.trim()
            } else {
                calls.section.start.trim()
            };
            let begin = if first.is_empty() {
                answer.find('{')
            } else {
                answer.find(first).or_else(|| answer.find("to=functions."))
            };
            let Some(begin) = begin else { continue };
            if PYTHON.contains(&name.as_str()) && count == 2 {
                continue;
            }
            tried += 1;
            let constraint =
                format.constrain_calls(&tools(), &ToolChoice::Required, true, false).unwrap().unwrap();
            let mut sequence = start(&compiler, &constraint);
            let text = &answer[begin..];
            let mut complete = None;
            for (place, byte) in text.bytes().enumerate() {
                complete = if sequence.can_end() { Some(place) } else { complete };
                if sequence.accept(i32::from(byte)).is_err() {
                    break;
                }
                complete = if sequence.can_end() { Some(place + 1) } else { complete };
            }
            let rest = complete.and_then(|place| text.get(place..)).unwrap_or("the beginning");
            let is_end = rest.trim().is_empty()
                || format.dropped.iter().any(|marker| rest.trim_start().starts_with(marker.as_str()));
            if !is_end {
                failures.push(format!("{name}, {count}: stops before {rest:?} in {text:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {tried} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn choices_that_cannot_be_met_are_refused() {
    let template = ChatTemplate::new("{{ messages[0].content }}", "", "").unwrap();
    let format = template.output_format();
    let ask =
        |tools: &[ToolDefinition], choice: ToolChoice| format.constrain_calls(tools, &choice, true, false);
    assert_eq!(ask(&[], ToolChoice::Auto), Ok(None));
    assert_eq!(ask(&tools(), ToolChoice::None), Ok(None));
    assert_eq!(ask(&[], ToolChoice::Required), Err(ToolChoiceError::NoTools));
    assert_eq!(ask(&[], ToolChoice::Named("x".into())), Err(ToolChoiceError::NoTools));
    let error = ask(&tools(), ToolChoice::Named("x".into())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tool_choice` names the tool `x`, but the tools are `get_weather`, `find`"
    );
}

/// Whether a text of bytes is allowed to its end.
fn is_allowed(compiler: &GrammarCompiler, constraint: &OutputConstraint, text: &str) -> bool {
    let mut state = start(compiler, constraint);
    text.bytes().all(|byte| state.accept(i32::from(byte)).is_ok()) && state.can_end()
}

#[test]
fn content_of_a_form_stands_beside_calls() {
    let compiler = compiler();
    let template = ChatTemplate::named("chatml", "", "").unwrap();
    let format = template.output_format();
    let call = r#"[{"name": "get_weather", "arguments": {"city": "Rome"}}]"#;
    let sources = [
        (GrammarSource::JsonSchema(r#"{"enum": ["red", 7]}"#.into()), vec!["\"red\"", "7"], vec!["8", "red"]),
        (GrammarSource::JsonObject, vec!["{\"a\": 1}"], vec!["[1]"]),
        (GrammarSource::Regex("a[0-9]b".into()), vec!["a1b"], vec!["ab"]),
        (GrammarSource::Choices(vec!["a.b".into(), "c|d".into()]), vec!["a.b", "c|d"], vec!["axb", "c"]),
    ];
    for (source, good, bad) in sources {
        let made = format.constrain_calls_or_content(&tools(), true, false, &source).unwrap();
        assert!(is_allowed(&compiler, &made, call), "{source:?}");
        assert!(good.iter().all(|text| is_allowed(&compiler, &made, text)), "{source:?}");
        assert!(!bad.iter().any(|text| is_allowed(&compiler, &made, text)), "{source:?}");
        assert!(!is_allowed(&compiler, &made, &format!("{call}{}", good[0])), "{source:?}");
    }
    let lark = GrammarSource::Lark("start: /a/".into());
    let refused = format.constrain_calls_or_content(&tools(), true, false, &lark);
    assert_eq!(refused.unwrap_err(), ToolChoiceError::ContentGrammar);
}
