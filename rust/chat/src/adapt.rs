//! Conversations made to fit a template: what it cannot write is said in a way that it can.

use serde_json::{Map, Value, json};

use crate::capabilities::Capabilities;
use crate::conversation::Conversation;
use crate::error::ChatTemplateError;
use crate::jinja::Moment;
use crate::message::{Content, Message, Role};
use crate::shape::ShapeError;
use crate::template::ChatTemplate;
use crate::tool::{ToolCall, ToolDefinition};

/// The conversation as the template can write it.
pub(crate) fn adapted(
    template: &ChatTemplate,
    conversation: &Conversation,
) -> Result<Conversation, ChatTemplateError> {
    let can = template.capabilities_unless(conversation.interrupt.as_ref())?;
    let mut adapted = conversation.clone();
    supply(template, &mut adapted);
    for (index, message) in adapted.messages.iter_mut().enumerate() {
        fit_content(message, can).map_err(|shape| ChatTemplateError::Message { index, shape })?;
        if message.role() == "developer" && !can.developer {
            message.set("role", Role::System.name());
        }
        fit_calls(message, can);
    }
    if let Some(tools) = adapted.tools.take_if(|tools| tools.is_empty() || !can.tools)
        && !tools.is_empty()
    {
        add_to_system(&mut adapted.messages, &described(&tools), can);
    }
    if !can.no_tools && adapted.tools.is_none() {
        adapted.tools = Some(Vec::new());
    }
    if !can.tool_results {
        results_as_user(&mut adapted.messages, can);
    }
    if !can.system {
        fold_system(&mut adapted.messages, can);
    }
    if !can.repeated_roles {
        merge_users(&mut adapted.messages, can);
    }
    Ok(adapted)
}

/// Gives the template the variables that some read in place of `tools` and `strftime_now`, unless the caller did.
pub(crate) fn supply(template: &ChatTemplate, conversation: &mut Conversation) {
    let lacks = |conversation: &Conversation, name: &str| {
        template.reads(name) && !conversation.variables.contains_key(name)
    };
    if lacks(conversation, "functions") {
        let tools = conversation
            .tools
            .iter()
            .flatten()
            .map(|tool| Value::Object(tool.fields().clone()))
            .collect::<Vec<_>>();
        let text = if tools.is_empty() { String::new() } else { format!("{:#}", Value::Array(tools)) };
        conversation.variables.insert("functions".into(), Value::String(text));
    }
    if lacks(conversation, "datetime") {
        let now = conversation.now.unwrap_or_else(Moment::now_utc);
        conversation.variables.insert("datetime".into(), Value::String(now.format("%b %d %Y")));
    }
}

/// Sets the text of a message, in the shape that the template reads.
fn set_text(message: &mut Message, text: String, can: &Capabilities) {
    if can.text_content || !can.part_content {
        message.set("content", text);
    } else {
        message.set("content", json!([{"type": "text", "text": text}]));
    }
}

fn fit_content(message: &mut Message, can: &Capabilities) -> Result<(), ShapeError> {
    if let Some(Content::Parts(parts)) = message.content() {
        for (at, part) in parts.iter().enumerate() {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind != "text" {
                let problem = format!("`content[{at}]` is of type `{kind}`; only `text` can be used");
                return Err(ShapeError::value(problem));
            }
        }
    }
    let shape_fits = match message.content() {
        None => true,
        Some(Content::Text(_)) => can.text_content || !can.part_content,
        Some(Content::Parts(_)) => can.part_content,
    };
    if !shape_fits {
        let text = message.text();
        set_text(message, text, can);
    }
    let no_content = message.get("content").is_none_or(Value::is_null);
    if no_content && (message.get("tool_calls").is_none_or(Value::is_null) || !can.empty_content) {
        set_text(message, String::new(), can);
    }
    Ok(())
}

/// Puts the arguments of calls into the shape that the template reads, or the calls into the text.
fn fit_calls(message: &mut Message, can: &Capabilities) {
    let Some(Value::Array(calls)) = message.get("tool_calls") else { return };
    let mut calls = calls.clone();
    if calls.is_empty() {
        message.remove("tool_calls");
        return;
    }
    if !can.tool_calls {
        let written = calls.iter().filter_map(|call| ToolCall::from_json(call.clone()).ok());
        let written: Vec<Value> =
            written.map(|call| json!({"name": call.name(), "arguments": parsed(call.arguments())})).collect();
        let mut text = message.text();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&Value::Array(written).to_string());
        set_text(message, text, can);
        message.remove("tool_calls");
        return;
    }
    for call in &mut calls {
        let function = match call.get_mut("function") {
            Some(function) => function,
            None => call,
        };
        let Some(arguments) = function.get_mut("arguments") else { continue };
        match arguments {
            Value::String(_) if can.object_arguments => {
                let object = parsed(Some(&*arguments));
                if object.is_object() {
                    *arguments = object;
                }
            }
            Value::Object(_) if !can.object_arguments => *arguments = Value::String(spaced(arguments)),
            _ => {}
        }
    }
    message.set("tool_calls", Value::Array(calls));
}

/// Arguments as an object; text that is none stays text.
fn parsed(arguments: Option<&Value>) -> Value {
    match arguments {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => Value::Object(Map::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Some(other) => other.clone(),
    }
}

/// JSON with the spaces that Python puts between its parts, as models have seen it.
fn spaced(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", join(items.iter().map(spaced).collect())),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), spaced(value))
            };
            format!("{{{}}}", join(fields.iter().map(field).collect()))
        }
        other => other.to_string(),
    }
}

/// Tools as a text for the model.
fn described(tools: &[ToolDefinition]) -> String {
    let mut text = String::from(
        "You can call these functions. To call some, answer with nothing but a JSON list of objects, each with the `name` of the function and \
         its `arguments` as an object.\n",
    );
    for tool in tools {
        text.push('\n');
        text.push_str(&spaced(&Value::Object(tool.fields().clone())));
    }
    text
}

fn is_system(message: &Message) -> bool {
    message.role() == Role::System.name()
}

/// Adds a text to the system message in front, or makes one.
fn add_to_system(messages: &mut Vec<Message>, text: &str, can: &Capabilities) {
    if let Some(first) = messages.first_mut().filter(|first| is_system(first)) {
        let before = first.text();
        let text = if before.is_empty() { text.to_string() } else { format!("{before}\n\n{text}") };
        set_text(first, text, can);
        return;
    }
    let mut message = Message::system("");
    set_text(&mut message, text.to_string(), can);
    messages.insert(0, message);
}

/// Writes results of tools as texts of the user.
fn results_as_user(messages: &mut [Message], can: &Capabilities) {
    for message in messages.iter_mut().filter(|message| message.role() == Role::Tool.name()) {
        let name = message
            .get("name")
            .and_then(Value::as_str)
            .map(|name| format!(" of `{name}`"))
            .unwrap_or_default();
        let mut as_user = Message::user("");
        set_text(&mut as_user, format!("Result{name}:\n{}", message.text()), can);
        *message = as_user;
    }
}

/// Puts the text of system messages in front of the user's next one.
fn fold_system(messages: &mut Vec<Message>, can: &Capabilities) {
    let mut folded = Vec::with_capacity(messages.len());
    let mut waiting: Vec<String> = Vec::new();
    for mut message in messages.drain(..) {
        if is_system(&message) {
            waiting.push(message.text());
            continue;
        }
        if message.role() == Role::User.name() && !waiting.is_empty() {
            waiting.push(message.text());
            let texts = waiting.drain(..).filter(|text| !text.is_empty()).collect::<Vec<_>>();
            set_text(&mut message, texts.join("\n\n"), can);
        }
        folded.push(message);
    }
    if !waiting.is_empty() {
        let mut message = Message::user("");
        set_text(&mut message, waiting.join("\n\n"), can);
        folded.push(message);
    }
    *messages = folded;
}

/// Makes one message of the user's messages that follow each other.
fn merge_users(messages: &mut Vec<Message>, can: &Capabilities) {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        let user = Role::User.name();
        match merged.last_mut().filter(|last| last.role() == user && message.role() == user) {
            Some(last) => {
                let text = format!("{}\n\n{}", last.text(), message.text());
                set_text(last, text, can);
            }
            None => merged.push(message),
        }
    }
    *messages = merged;
}
