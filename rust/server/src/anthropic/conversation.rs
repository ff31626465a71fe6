//! Anthropic's messages as the templates' own.

use serde_json::{Map, Value, json};
use tabagent_chat::{Conversation, Message};

use super::body::missing;
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};

/// The conversation of a body: `system` and `messages`.
pub(crate) fn read_conversation(fields: &mut JsonFields, prefill: bool) -> Result<Conversation, ApiError> {
    let system = match fields.take("system") {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(blocks)) => Some(joined("system", blocks)?),
        Some(other) => return Err(mistyped("system", "a string or a list of text blocks", &other)),
    };
    let given = fields.list("messages")?.ok_or_else(|| missing("messages"))?;
    if given.is_empty() {
        return Err(ApiError::field("messages", "messages: at least one message is required"));
    }
    let mut written = Vec::new();
    if let Some(system) = system.filter(|system| !system.is_empty()) {
        written.push(json!({"role": "system", "content": system}));
    }
    let mut names = Map::new();
    for (at, message) in given.into_iter().enumerate() {
        let name = format!("messages.{at}");
        let mut message = JsonFields::inside(&name, message)?;
        let role = message.text("role")?.ok_or_else(|| missing(&format!("{name}.role")))?;
        let content = message.take("content").ok_or_else(|| missing(&format!("{name}.content")))?;
        let blocks = match content {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            Value::Array(blocks) => blocks,
            other => {
                return Err(mistyped(&format!("{name}.content"), "a string or a list of blocks", &other));
            }
        };
        match role.as_str() {
            "assistant" => written.push(assistant(&name, blocks, &mut names)?),
            "user" => user(&name, blocks, &names, &mut written)?,
            "system" => {
                let content = joined(&format!("{name}.content"), blocks)?;
                written.push(json!({"role": "system", "content": content}));
            }
            other => {
                let message = format!("{name}.role: must be `user`, `assistant` or `system`, got `{other}`");
                return Err(ApiError::field(&format!("{name}.role"), message));
            }
        }
    }
    let continues = prefill
        && written.last().is_some_and(|last| last["role"] == "assistant" && last.get("tool_calls").is_none());
    let messages = written.into_iter().map(|message| {
        Message::from_json(message).map_err(|shape| ApiError::field("messages", format!("messages: {shape}")))
    });
    let mut conversation = Conversation::new(messages.collect::<Result<_, _>>()?);
    if continues {
        conversation.continue_final_message = Some("content".to_owned());
        conversation.add_generation_prompt = false;
    }
    Ok(conversation)
}

/// The texts of text blocks, one after another.
fn joined(name: &str, blocks: Vec<Value>) -> Result<String, ApiError> {
    let texts = blocks.into_iter().enumerate().map(|(at, block)| {
        let name = format!("{name}.{at}");
        let mut block = JsonFields::inside(&name, block)?;
        match block.text("type")?.as_deref() {
            Some("text") => block.text("text")?.ok_or_else(|| missing(&format!("{name}.text"))),
            Some("document") => document(&name, block),
            other => Err(unreadable(&name, other.unwrap_or_default())),
        }
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn unreadable(name: &str, kind: &str) -> ApiError {
    ApiError::field(name, format!("{name}: this server reads texts only, no block of the type `{kind}`"))
}

/// The text of a document that is given as text.
fn document(name: &str, mut block: JsonFields) -> Result<String, ApiError> {
    let title = block.text("title")?.map(|title| format!("{title}\n")).unwrap_or_default();
    let mut source = block.object("source")?.ok_or_else(|| missing(&format!("{name}.source")))?;
    let kind = source.text("type")?.unwrap_or_default();
    match kind.as_str() {
        "text" => {
            let text = source.text("data")?.ok_or_else(|| missing(&format!("{name}.source.data")))?;
            Ok(format!("{title}{text}"))
        }
        "content" => match source.take("content") {
            Some(Value::String(text)) => Ok(format!("{title}{text}")),
            Some(Value::Array(blocks)) => {
                Ok(format!("{title}{}", joined(&format!("{name}.source.content"), blocks)?))
            }
            _ => Err(missing(&format!("{name}.source.content"))),
        },
        other => Err(unreadable(name, &format!("document of `{other}`"))),
    }
}

/// A message of the assistant; notes the names of its calls.
fn assistant(name: &str, blocks: Vec<Value>, names: &mut Map<String, Value>) -> Result<Value, ApiError> {
    let (mut text, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (at, block) in blocks.into_iter().enumerate() {
        let name = format!("{name}.content.{at}");
        let mut block = JsonFields::inside(&name, block)?;
        let mut required =
            |field: &str| block.text(field)?.ok_or_else(|| missing(&format!("{name}.{field}")));
        match required("type")?.as_str() {
            "text" => text.push(required("text")?),
            "thinking" => thoughts.push(required("thinking")?),
            // What it says can be read by its maker alone.
            "redacted_thinking" => {}
            "tool_use" => {
                let (id, tool) = (required("id")?, required("name")?);
                let input = block.take("input").unwrap_or_else(|| json!({}));
                names.insert(id.clone(), tool.clone().into());
                calls.push(json!({
                    "id": id, "type": "function", "function": {"name": tool, "arguments": input.to_string()}
                }));
            }
            other => return Err(unreadable(&name, other)),
        }
    }
    let mut message = json!({"role": "assistant", "content": text.concat()});
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.concat().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

/// A message of the user: results of tools first, then what is said.
fn user(
    name: &str,
    blocks: Vec<Value>,
    names: &Map<String, Value>,
    written: &mut Vec<Value>,
) -> Result<(), ApiError> {
    let mut said = Vec::new();
    for (at, block) in blocks.into_iter().enumerate() {
        let name = format!("{name}.content.{at}");
        let mut block = JsonFields::inside(&name, block)?;
        match block.text("type")?.as_deref() {
            Some("text") => said.push(block.text("text")?.ok_or_else(|| missing(&format!("{name}.text")))?),
            Some("document") => said.push(document(&name, block)?),
            Some("tool_result") => {
                let id = block.text("tool_use_id")?.ok_or_else(|| missing(&format!("{name}.tool_use_id")))?;
                let content = match block.take("content") {
                    None => String::new(),
                    Some(Value::String(text)) => text,
                    Some(Value::Array(blocks)) => joined(&format!("{name}.content"), blocks)?,
                    Some(other) => {
                        return Err(mistyped(
                            &format!("{name}.content"),
                            "a string or a list of blocks",
                            &other,
                        ));
                    }
                };
                let failed = block.flag("is_error")?.unwrap_or_default();
                let content = if failed { format!("error: {content}") } else { content };
                let mut result = json!({"role": "tool", "tool_call_id": id, "content": content});
                if let Some(tool) = names.get(&id) {
                    result["name"] = tool.clone();
                }
                written.push(result);
            }
            other => return Err(unreadable(&name, other.unwrap_or_default())),
        }
    }
    if !said.is_empty() {
        written.push(json!({"role": "user", "content": said.join("\n")}));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<Vec<Value>, String> {
        let mut fields = JsonFields::of(body).unwrap();
        let conversation = read_conversation(&mut fields, true).map_err(|error| error.message)?;
        Ok(conversation.messages.iter().map(|message| Value::from(message.clone())).collect())
    }

    #[test]
    fn blocks_become_messages_of_templates() {
        let messages = read(json!({
            "system": [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "brief."}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}], "is_error": true},
                    {"type": "text", "text": "And?"},
                ]},
            ],
        }))
        .unwrap();
        assert_eq!(
            messages,
            [
                json!({"role": "system", "content": "Be\nbrief."}),
                json!({"role": "user", "content": "Hi"}),
                json!({
                    "role": "assistant", "content": "I look.", "reasoning_content": "hm",
                    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}],
                }),
                json!({"role": "tool", "tool_call_id": "t1", "content": "error: sun", "name": "weather"}),
                json!({"role": "user", "content": "And?"}),
            ]
        );
    }

    #[test]
    fn the_last_message_of_the_assistant_is_continued() {
        let mut fields = JsonFields::of(json!({"messages": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The answer is ("},
        ]}))
        .unwrap();
        let conversation = read_conversation(&mut fields, true).unwrap();
        assert_eq!(conversation.continue_final_message.as_deref(), Some("content"));
        assert!(!conversation.add_generation_prompt);
    }

    #[test]
    fn wrong_messages_are_named() {
        let message = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
        assert_eq!(read(json!({})).unwrap_err(), "messages: Field required");
        assert_eq!(read(json!({"messages": []})).unwrap_err(), "messages: at least one message is required");
        assert_eq!(
            read(json!({"messages": [{"role": "x", "content": "y"}]})).unwrap_err(),
            "messages.0.role: must be `user`, `assistant` or `system`, got `x`"
        );
        assert_eq!(
            read(message(json!([{"type": "image", "source": {}}]))).unwrap_err(),
            "messages.0.content.0: this server reads texts only, no block of the type `image`"
        );
        assert_eq!(
            read(message(json!([{"type": "tool_result"}]))).unwrap_err(),
            "messages.0.content.0.tool_use_id: Field required"
        );
        let document = json!([{"type": "document", "title": "T", "source": {"type": "text", "data": "d"}}]);
        assert_eq!(read(message(document)).unwrap(), [json!({"role": "user", "content": "T\nd"})]);
    }
}
