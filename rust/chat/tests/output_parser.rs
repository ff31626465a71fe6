//! What becomes of texts that are not as the template writes them, and of what is cut.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use tabagent_chat::format::{AnswerStart, Delta, OutputFormat, OutputParser, ParsedMessage, ToolTypes};
use tabagent_chat::{ChatTemplate, ToolDefinition};

/// A template in the way of Hermes and Qwen, with thoughts.
const HERMES: &str = "{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for c in m.tool_calls %}
<tool_call>
{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}";

/// Llama 3's way: a call is a JSON object and nothing else.
const BARE: &str = "{% for m in messages %}<|h|>{{ m.role }}<|/h|>{% if m.tool_calls %}{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": {{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}<|eot|>{% endfor %}{% if add_generation_prompt %}<|h|>assistant<|/h|>{% endif %}";

/// Qwen3-Coder's way.
const TAGGED: &str = "{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls %}
<tool_call>
<function={{ c.function.name }}>
{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>
{{ v }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}";

fn template(text: &str) -> ChatTemplate {
    ChatTemplate::new(text, "", "").unwrap()
}

fn tools() -> Vec<ToolDefinition> {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}, "s": {"type": "string"}, "n": {"type": ["string", "null"]}, "l": {"type": "array"}}});
    vec![ToolDefinition::new("f", "", parameters.clone()), ToolDefinition::new("g", "", parameters)]
}

fn parse(source: &str, text: &str) -> ParsedMessage {
    template(source).parse(text, Some(&tools()), false)
}

fn calls(message: &ParsedMessage) -> Vec<(&str, &str)> {
    message.tool_calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect()
}

#[test]
fn a_call_that_cannot_be_read_is_content_with_a_warning() {
    for broken in [
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {a: 1}}\n</tool_call>",
        "<tool_call>\nnothing\n</tool_call>",
        "<tool_call>\n{\"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": 1, \"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": ",
        "<tool_call>",
    ] {
        let message = parse(HERMES, &format!("So: {broken}"));
        assert_eq!(message.content, format!("So: {broken}"), "{broken}");
        assert_eq!((message.tool_calls.len(), message.warnings.len()), (0, 1), "{broken}");
    }
}

#[test]
fn good_calls_beside_a_broken_one_stay() {
    let good = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
    let message = parse(HERMES, &format!("{good}\n<tool_call>\n{{oh}}\n</tool_call>\n{good}"));
    assert_eq!(calls(&message), [("f", "{\"a\": 1}"), ("f", "{\"a\": 1}")]);
    assert_eq!(message.content.trim(), "<tool_call>\n{oh}\n</tool_call>");
    assert_eq!(message.warnings.len(), 1);
}

#[test]
fn what_was_given_of_a_broken_call_is_taken_back() {
    let mut parser = template(HERMES).parser(Some(&tools()), None);
    let first = parser.feed("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1");
    assert!(first.iter().any(|delta| matches!(delta, Delta::CallBegin { index: 0, .. })));
    let second = parser.feed(", oh}");
    assert!(second.contains(&Delta::CallsDropped { from: 0 }));
    assert_eq!(parser.message().tool_calls, []);
    parser.finish();
    assert_eq!(parser.message().content, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, oh}");
}

#[test]
fn missing_ends_are_forgiven() {
    for text in [
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_",
        "<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
        "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}}</tool_call>",
    ] {
        let message = parse(HERMES, text);
        assert_eq!(calls(&message)[0], ("f", "{\"a\": 1}"), "{text}: {message:?}");
    }
}

#[test]
fn partial_messages_have_what_is_certain() {
    let template = template(HERMES);
    let partial = |text: &str| template.parse(text, Some(&tools()), true);
    assert_eq!(partial("Hello <tool").content, "Hello");
    assert_eq!(partial("Hello <tool x").content, "Hello <tool x");
    assert_eq!(partial("<think>\nSo").reasoning.as_deref(), Some("So"));
    assert_eq!(
        calls(&partial("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"ab")),
        [("f", "{\"s\": \"ab")]
    );
    assert_eq!(calls(&partial("<tool_call>{\"name\": \"f")), []);
}

#[test]
fn without_tools_nothing_is_a_call() {
    let text = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    assert_eq!(template(HERMES).parse(text, Some(&[]), false).content, text);
    assert_eq!(template(HERMES).parse(text, None, false).tool_calls.len(), 1);
}

#[test]
fn bare_json_is_a_call_only_if_it_names_a_tool() {
    let message = parse(BARE, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}");
    assert_eq!((calls(&message), message.content.as_str()), (vec![("f", "{\"a\": 1}")], ""));
    for text in [
        "{\"name\": \"h\", \"parameters\": {}}",
        "{\"answer\": 42}",
        "{not json}",
        "{",
        "[1, 2]",
        "Text {\"name\": \"f\"}",
    ] {
        let message = parse(BARE, text);
        assert_eq!((message.content.as_str(), message.tool_calls.len()), (text, 0));
    }
    let two = parse(BARE, "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}");
    assert_eq!(calls(&two), [("f", "{}"), ("g", "{}")]);
}

#[test]
fn a_template_without_tools_has_calls_in_a_list() {
    let plain = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}";
    for text in [
        "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {\"a\": 1}}]<|end|>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {\"a\": 1}}</tool_call>",
    ] {
        let message = parse(plain, text);
        assert_eq!(
            (calls(&message), message.content.as_str()),
            (vec![("f", "{}"), ("g", "{\"a\": 1}")], ""),
            "{text}"
        );
    }
    assert_eq!(parse(plain, "[1, 2]").content, "[1, 2]");
}

#[test]
fn values_in_tags_are_read_by_the_schema() {
    let call = |arguments: &str| {
        parse(TAGGED, &format!("<tool_call>\n<function=f>\n{arguments}</function>\n</tool_call>"))
    };
    for (written, read) in [
        ("<parameter=a>\n7\n</parameter>\n", "{\"a\": 7}"),
        ("<parameter=s>\n7\n</parameter>\n", "{\"s\": \"7\"}"),
        ("<parameter=s>\n\n  two\nlines \n\n</parameter>\n", "{\"s\": \"\\n  two\\nlines \\n\"}"),
        ("<parameter=s>a < b </para </parameter>", "{\"s\": \"a < b </para \"}"),
        ("<parameter=n>\nnull\n</parameter>\n", "{\"n\": null}"),
        ("<parameter=n>\nnone\n</parameter>\n", "{\"n\": \"none\"}"),
        ("<parameter=l>\n['a', True, None]\n</parameter>\n", "{\"l\": [\"a\", true, null]}"),
        ("<parameter=a>\nseven\n</parameter>\n", "{\"a\": \"seven\"}"),
        ("<parameter=a>1</parameter><parameter=s>x</parameter>", "{\"a\": 1, \"s\": \"x\"}"),
        ("", "{}"),
    ] {
        let message = call(written);
        assert_eq!(calls(&message), [("f", read)], "{written:?}: {message:?}");
    }
}

#[test]
fn reasoning_comes_apart_also_between_calls() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let message = parse(HERMES, &format!("<think>\nOne\n</think>\n\n{call}\n<think>Two</think>\n{call}"));
    assert_eq!(message.reasoning.as_deref(), Some("One\n\nTwo"));
    assert_eq!((message.content.as_str(), message.tool_calls.len()), ("", 2));
    let open = template(HERMES).parser(None, Some("<|im_start|>assistant\n<think>\n"));
    let mut open = open;
    open.feed("Thought</think>Said");
    open.finish();
    assert_eq!(
        (open.message().reasoning.as_deref(), open.message().content.as_str()),
        (Some("Thought"), "Said")
    );
}

#[test]
fn white_space_of_content_stays() {
    assert_eq!(parse(TAGGED, "  indented\n\ttext \n").content, "  indented\n\ttext \n");
}

proptest! {
    #[test]
    fn no_text_is_lost_and_cuts_do_not_matter(
        parts in prop::collection::vec(prop_oneof![
            Just("<tool_call>"), Just("</tool_call>"), Just("{\"name\": \"f\", \"arguments\": {\"a\": 1}}"), Just("<function=f>"), Just("<parameter=s>"),
            Just("</parameter>"), Just("</function>"), Just("<think>"), Just("</think>"), Just("\n"), Just("{"), Just("word"), Just("<|im_end|>"), Just("é\u{1F600}"), Just("\""),
        ], 0..12),
        size in 1usize..9,
        source in prop_oneof![Just(HERMES), Just(TAGGED), Just(BARE)],
    ) {
        let text = parts.concat();
        let whole = parse(source, &text);
        let mut parser = template(source).parser(Some(&tools()), None);
        let characters: Vec<char> = text.chars().collect();
        let mut built = ParsedMessage::default();
        for piece in characters.chunks(size) {
            for delta in parser.feed(&piece.iter().collect::<String>()) {
                built.apply(&delta);
            }
        }
        for delta in parser.finish() {
            built.apply(&delta);
        }
        built.warnings.clone_from(&whole.warnings);
        prop_assert_eq!(&built, &whole, "{}", text);
        // Every word is somewhere.
        let all = format!("{}{}{}", whole.content, whole.reasoning.unwrap_or_default(), whole.tool_calls.iter().map(|call| call.arguments.clone()).collect::<String>());
        prop_assert_eq!(all.matches("word").count(), text.matches("word").count(), "{} gives {}", text, all);
    }
}

#[test]
fn a_token_costs_little() {
    let format = Arc::new(OutputFormat::of(&template(HERMES)));
    let argument = "word ".repeat(20_000);
    let text = format!(
        "<think>\n{}\n</think>\n\n{}<tool_call>\n{{\"name\": \"f\", \"arguments\": {{\"s\": \"{argument}\"}}}}\n</tool_call>",
        "thought ".repeat(20_000),
        "text <b ".repeat(20_000)
    );
    let pieces: Vec<&str> = text.as_bytes().chunks(4).map(|piece| str::from_utf8(piece).unwrap()).collect();
    let mut best = f64::MAX;
    for _ in 0..3 {
        let mut parser = OutputParser::new(Arc::clone(&format), ToolTypes::default(), false);
        let started = Instant::now();
        let deltas: usize =
            pieces.iter().map(|piece| parser.feed(piece).len()).sum::<usize>() + parser.finish().len();
        best = best.min(started.elapsed().as_secs_f64() / pieces.len() as f64);
        assert!(deltas > 1000 && parser.message().tool_calls.len() == 1);
    }
    assert!(best < 10e-6, "{:.2} microseconds a token", best * 1e6);
}

#[test]
fn an_answer_that_goes_on_with_a_message_begins_in_the_middle_of_it() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n\
        {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let read = |prompt: &str, start: AnswerStart, text: &str| {
        let mut parser = template(source).parser_from(None, Some(prompt), start);
        parser.feed(text);
        parser.finish();
        parser.into_message()
    };
    let message =
        read("<|im_start|>assistant\n<think>\nI", AnswerStart::Reasoning, " think.\n</think>\n\nYes");
    assert_eq!((message.reasoning.as_deref(), message.content.as_str()), (Some(" think."), "Yes"));
    let message = read("<|im_start|>assistant\nHello,", AnswerStart::Content, " world");
    assert_eq!((message.reasoning, message.content.as_str()), (None, " world"));
    let message = read("<|im_start|>assistant\n<think>\n", AnswerStart::Content, "So.\n</think>\n\nYes");
    assert_eq!((message.reasoning.as_deref(), message.content.as_str()), (Some("So."), "Yes"));
    // A user who writes the marker has nobody think.
    let message =
        read("<|im_start|>user\n<think>x<|im_end|>\n<|im_start|>assistant\n", AnswerStart::Message, "Yes");
    assert_eq!((message.reasoning, message.content.as_str()), (None, "Yes"));
}
