//! Errors of chat templates and conversations.

use serde_json::json;
use tabagent_chat::format::ToolChoiceError;
use tabagent_chat::{ChatTemplate, ChatTemplateError, Fault, Message, ToolDefinition};

use crate::sample::{Sample, samples};

pub(crate) fn samples() -> Vec<Sample> {
    [templates(), choices()].into_iter().flatten().collect()
}

fn choices() -> Vec<Sample> {
    samples!(ToolChoiceError {
        NoTools => Value, "give `tools`";
        Unknown { name: "a".to_owned(), known: "`b`".to_owned() } => Value, "names the tool `a`, but the tools are `b`";
        NoCalls => ChatTemplate, "how the model calls tools";
        ContentGrammar => Value, "give a JSON schema, a regular expression or choices";
    })
}

fn templates() -> Vec<Sample> {
    let no_template = ChatTemplate::new("{% if %}", "", "").map(|_| ()).expect_err("it has the wrong shape");
    assert!(matches!(no_template, ChatTemplateError::Template { fault: Fault::Syntax, .. }));
    let message = Message::from_json(json!("hello")).map(|_| ()).expect_err("it has the wrong shape");
    let tool = ToolDefinition::from_json(json!({})).map(|_| ()).expect_err("it has the wrong shape");
    samples!(ChatTemplateError {
        Template { line: 3, message: "no tools".to_owned(), fault: Fault::Refused } => ChatTemplate, "the chat template failed in line 3: no tools";
        Message { index: 1, shape: message } => Type, "message 1: ";
        Tool { index: 2, shape: tool } => Value, "tool 2: ";
        Missing => ChatTemplate, "give one as `chat_template`";
        UnknownName { name: "x".to_owned(), known: "`chatml`".to_owned() } => Value, "there is no chat template `x`; there are `chatml`";
        Continue { problem: "it is empty".to_owned() } => ChatTemplate, "cannot continue the last message: it is empty";
    })
}
