//! Errors of templates and conversations.

use serde_json::json;
use tabagent_chat::{ChatTemplate, ChatTemplateError, Conversation, Fault, Limits, Message, ToolDefinition};

fn failure(template: &str) -> (u32, String, Fault) {
    let made = ChatTemplate::new(template, "", "");
    let rendered = made
        .and_then(|template| template.render(&Conversation::new(vec![Message::user("a")]).with_adapt(false)));
    match rendered {
        Err(ChatTemplateError::Template { line, message, fault }) => (line, message, fault),
        other => panic!("{template}: {other:?}"),
    }
}

#[test]
fn failures_name_their_line_and_kind() {
    let cases = [
        ("a\n{{ raise_exception('no ' ~ 1) }}", 2, "no 1", Fault::Refused),
        ("\n\n{% if %}", 3, "Expected an expression, got 'end of statement block'", Fault::Syntax),
        ("{{ x.y }}", 1, "'x' is undefined", Fault::Undefined),
        ("{{ 1 + 'a' }}", 1, "unsupported operand type(s) for +: 'int' and 'str'", Fault::Operation),
        (
            "{{ messages.append(1) }}",
            1,
            "access to attribute 'append' of 'list' object is unsafe.",
            Fault::Security,
        ),
        ("{{ 'a' * 10 ** 12 }}", 1, "the template takes more steps than a render may take", Fault::Limit),
    ];
    for (template, line, message, fault) in cases {
        let found = failure(template);
        if fault == Fault::Limit {
            assert_eq!((found.0, found.2), (line, fault), "{template}");
        } else {
            assert_eq!(found, (line, message.to_owned(), fault), "{template}");
        }
    }
}

#[test]
fn a_render_keeps_to_its_limits() {
    let template = ChatTemplate::new("{% for i in range(1000) %}{{ 'xxxxxxxxxx' }}{% endfor %}", "", "")
        .expect("it is a template");
    let mut conversation = Conversation::new(Vec::new()).with_adapt(false);
    assert_eq!(template.render(&conversation).map(|text| text.len()), Ok(10_000));
    let steps = Limits { steps: 1_000, ..Limits::default() };
    let output = Limits { output_bytes: 9_999, ..Limits::default() };
    let memory = Limits { memory_bytes: 5_000, ..Limits::default() };
    for limits in [steps, output, memory] {
        conversation.limits = limits;
        let failed = template.render(&conversation);
        assert!(
            matches!(failed, Err(ChatTemplateError::Template { fault: Fault::Limit, .. })),
            "{limits:?}: {failed:?}"
        );
    }
}

#[test]
fn shapes_are_checked_when_read() {
    let message = serde_json::from_value::<Message>(json!({"role": "user", "content": 5}));
    assert!(message.is_err_and(|error| {
        error.to_string().contains("`content` must be a string, a list of parts or null, not a number")
    }));
    let tool = ToolDefinition::from_json(json!({"type": "function"}));
    assert_eq!(tool.map_err(|error| error.to_string()), Err("`function.name` is missing".to_owned()));
    // Keys keep their order.
    let text = r#"{"z":1,"role":"user","a":null,"content":"x"}"#;
    let message: Message = serde_json::from_str(text).expect("it is a message");
    assert_eq!(serde_json::to_string(&message).expect("it is JSON"), text);
}

#[test]
fn templates_are_shared_by_threads() {
    fn check<T: Send + Sync>() {}
    check::<ChatTemplate>();
    check::<Conversation>();
}
