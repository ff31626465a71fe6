//! Formats that a template's rendering does not show, written down.

use super::output_format::{Body, CallFormat, OutputFormat, Pair, Tagged};

/// What `MiniMax` M3 writes before each tag.
pub(super) const ELEMENT_PREFIX: &str = "]<]minimax[>[";

/// The whole format of a template that writes each part of a message in an envelope of its own.
pub(super) fn format_of(template: &str) -> Option<OutputFormat> {
    let has = |texts: &[&str]| texts.iter().all(|text| template.contains(text));
    if has(&["<|channel|>", "<|message|>", "<|start|>", "analysis"]) {
        return Some(harmony());
    }
    if has(&["to=self", "<|message|>", "<atem:function_calls>"]) {
        return Some(recipients());
    }
    if has(&["<|open|>", "<|close|>", "<|sep|>"]) {
        return Some(envelopes());
    }
    None
}

/// How calls are written where the template does not write any: by what its instructions to the model say.
pub(super) fn calls_of(template: &str) -> CallFormat {
    if template.contains("<|tool_calls_section_begin|>") {
        let body = named("<|tool_call_argument_begin|>", "functions.", true);
        let section = Pair::new("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>");
        return with(section, Pair::new("<|tool_call_begin|>", "<|tool_call_end|>"), body);
    }
    if template.contains("<｜tool▁calls▁begin｜>") {
        let section = Pair::new("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>");
        let call = Pair::new("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "```<｜tool▁call▁end｜>");
        return with(section, call, named("```json", "", false));
    }
    if template.contains("functools[") {
        return with(Pair::new("functools", ""), Pair::default(), json_list());
    }
    let is_lfm = ["<|tool_list_start|>", "<|tool_call_start|>", "List of tools: "]
        .iter()
        .any(|text| template.contains(text));
    if is_lfm {
        return with(Pair::new("<|tool_call_start|>", "<|tool_call_end|>"), Pair::default(), Body::Python);
    }
    if template.contains("<|start_of_role|>") {
        return with(Pair::new("<|tool_call|>", ""), Pair::default(), json_list());
    }
    if template.contains("<function=") {
        let tags = Tagged {
            name_end: ">".into(),
            key_start: "<parameter=".into(),
            key_end: ">".into(),
            value_end: "</parameter>".into(),
            has_line_breaks: true,
            ..Tagged::default()
        };
        return with(
            Pair::default(),
            Pair::new("<tool_call>\n<function=", "</function>\n</tool_call>"),
            Body::Tagged(tags),
        );
    }
    if template.contains("<tool_call>") { hermes() } else { bare() }
}

/// What models are told to write whose template knows no tools: a JSON list and nothing else. Many write `<tool_call>` all the same.
fn bare() -> CallFormat {
    let mut calls = with(Pair::default(), Pair::default(), json_list());
    calls.other_starts = texts(&["<tool_call>"]);
    calls
}

/// `MiniMax` M3: every tag after a marker.
pub(super) fn elements() -> CallFormat {
    let tag = |tag: &str| format!("{ELEMENT_PREFIX}<{tag}");
    let body = Body::Elements { prefix: ELEMENT_PREFIX.to_owned() };
    with(
        Pair::new(tag("tool_call>"), tag("/tool_call>")),
        Pair::new(tag("invoke name=\""), tag("/invoke>")),
        body,
    )
}

/// A JSON object between `<tool_call>` and `</tool_call>`.
fn hermes() -> CallFormat {
    let body = Body::Json {
        name: "name".into(),
        arguments: "arguments".into(),
        id: None,
        wrapper: None,
        is_list: false,
    };
    with(Pair::default(), Pair::new("<tool_call>", "</tool_call>"), body)
}

fn named(middle: &str, prefix: &str, has_index: bool) -> Body {
    Body::NamedJson {
        prefix: prefix.into(),
        middle: middle.into(),
        id_before: None,
        id_between: None,
        has_index,
        content_name: None,
    }
}

fn json_list() -> Body {
    Body::Json { name: "name".into(), arguments: "arguments".into(), id: None, wrapper: None, is_list: true }
}

fn with(section: Pair, call: Pair, body: Body) -> CallFormat {
    CallFormat { section, call, other_starts: Vec::new(), separator: String::new(), body, is_parallel: true }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// gpt-oss: channels for thoughts, comments and calls, and the answer.
fn harmony() -> OutputFormat {
    let call = Pair::new("<|channel|>commentary to=functions.", "<|call|>");
    let mut calls = with(Pair::default(), call, named("<|message|>", "", false));
    calls.other_starts = texts(&["to=functions.", "<|channel|>analysis to=functions."]);
    OutputFormat {
        reasoning: vec![Pair::new("<|channel|>analysis<|message|>", "<|end|>")],
        dropped: texts(&[
            "<|start|>assistant",
            "<|channel|>final<|message|>",
            "<|channel|>commentary<|message|>",
            "<|channel|>final <|constrain|>json<|message|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
        ]),
        turn_ends: texts(&["<|return|>", "<|call|>"]),
        has_space_before_content: false,
        has_space_before_calls: true,
        calls: Some(calls),
        ..OutputFormat::default()
    }
}

/// Messages with a recipient: thoughts to the model itself, calls to tools.
fn recipients() -> OutputFormat {
    let tags = Tagged {
        name_end: "\">".into(),
        key_start: "<atem:parameter name=\"".into(),
        key_end: "\">".into(),
        value_end: "</atem:parameter>".into(),
        ..Tagged::default()
    };
    let section = Pair::new("<atem:function_calls>", "</atem:function_calls>");
    OutputFormat {
        reasoning: vec![Pair::new("to=self<|message|>", "<|eom|>")],
        dropped: texts(&["<|start|>assistant", "to=user<|message|>", "<|eom|>", "<|eot|>"]),
        turn_ends: texts(&["<|eot|>"]),
        recipient: Some(Pair::new("to=", "<|message|>")),
        has_space_before_content: true,
        has_space_before_calls: true,
        calls: Some(with(section, Pair::new("<atem:invoke name=\"", "</atem:invoke>"), Body::Tagged(tags))),
        ..OutputFormat::default()
    }
}

/// Kimi K3: each part opened and closed by name.
fn envelopes() -> OutputFormat {
    let tags = Tagged {
        name_end: "\"".into(),
        key_start: "<|open|>argument key=\"".into(),
        key_end: "\"".into(),
        value_start: "<|sep|>".into(),
        value_end: "<|close|>argument<|sep|>".into(),
        type_marks: Some(Pair::new("type=\"string\"", "")),
        ..Tagged::default()
    };
    let section = Pair::new("<|open|>tools<|sep|>", "<|close|>tools<|sep|>");
    OutputFormat {
        reasoning: vec![Pair::new("<|open|>think<|sep|>", "<|close|>think<|sep|>")],
        begins_in_reasoning: true,
        calls_end_reasoning: true,
        content_starts: texts(&["<|open|>response<|sep|>"]),
        dropped: texts(&[
            "<|open|>response<|sep|>",
            "<|close|>response<|sep|>",
            "<|close|>message<|sep|>",
            "<|close|>think<|sep|>",
            "<|end_of_msg|>",
        ]),
        turn_ends: texts(&["<|end_of_msg|>"]),
        calls: Some(with(
            section,
            Pair::new("<|open|>call tool=\"", "<|close|>call<|sep|>"),
            Body::Tagged(tags),
        )),
        ..OutputFormat::default()
    }
}
