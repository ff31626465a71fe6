//! Items of a conversation as messages of templates.

use serde_json::{Value, json};
use tabagent_chat::Message;

use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};
use crate::random;

/// The items of `input`, each with an id: a text is one message of the user.
pub(crate) fn read_input(input: Value) -> Result<Vec<Value>, ApiError> {
    let items = match input {
        Value::String(text) => {
            vec![
                json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}),
            ]
        }
        Value::Array(items) => items,
        other => return Err(mistyped("input", "a string or a list of items", &other)),
    };
    let with_id = |(at, mut item): (usize, Value)| {
        let Value::Object(fields) = &mut item else {
            return Err(mistyped(&format!("input[{at}]"), "an object", &item));
        };
        fields.entry("type").or_insert_with(|| "message".into());
        fields.entry("id").or_insert_with(|| random::id("item_").into());
        Ok(item)
    };
    items.into_iter().enumerate().map(with_id).collect()
}

/// The messages that items stand for. What the assistant thought, said and called in a row is one message.
pub(crate) fn messages(instructions: Option<String>, items: &[Value]) -> Result<Vec<Message>, ApiError> {
    let mut written: Vec<Value> = Vec::new();
    if let Some(instructions) = instructions {
        written.push(json!({"role": "system", "content": instructions}));
    }
    let mut names: Vec<(String, String)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let name = format!("input[{at}]");
        let missing =
            |field: &str| ApiError::field(&format!("{name}.{field}"), format!("`{name}.{field}` is missing"));
        let mut fields = JsonFields::inside(&name, item.clone())?;
        match fields.text("type")?.as_deref() {
            None | Some("message") => {
                let role = fields.text("role")?.ok_or_else(|| missing("role"))?;
                let content = fields.take("content").ok_or_else(|| missing("content"))?;
                let text = text_of(&format!("{name}.content"), content)?;
                if role == "assistant" {
                    let message = assistant(&mut written);
                    let said = message["content"].as_str().unwrap_or_default();
                    let said = if said.is_empty() { text } else { format!("{said}\n{text}") };
                    message["content"] = said.into();
                } else if ["user", "system", "developer"].contains(&role.as_str()) {
                    written.push(json!({"role": role, "content": text}));
                } else {
                    let message = format!(
                        "`{name}.role` must be `user`, `assistant`, `system` or `developer`, got `{role}`"
                    );
                    return Err(ApiError::field(&format!("{name}.role"), message));
                }
            }
            Some("function_call") => {
                let id = fields.text("call_id")?.ok_or_else(|| missing("call_id"))?;
                let tool = fields.text("name")?.ok_or_else(|| missing("name"))?;
                let arguments = fields.text("arguments")?.ok_or_else(|| missing("arguments"))?;
                names.push((id.clone(), tool.clone()));
                let call =
                    json!({"id": id, "type": "function", "function": {"name": tool, "arguments": arguments}});
                let message = assistant(&mut written);
                match &mut message["tool_calls"] {
                    Value::Array(calls) => calls.push(call),
                    none => *none = json!([call]),
                }
            }
            Some("function_call_output") => {
                let id = fields.text("call_id")?.ok_or_else(|| missing("call_id"))?;
                let output = fields.take("output").ok_or_else(|| missing("output"))?;
                let text = text_of(&format!("{name}.output"), output)?;
                let mut message = json!({"role": "tool", "tool_call_id": id, "content": text});
                if let Some((_, tool)) = names.iter().rev().find(|(known, _)| *known == id) {
                    message["name"] = tool.as_str().into();
                }
                written.push(message);
            }
            Some("reasoning") => {
                let parts = fields.list("content")?.filter(|parts| !parts.is_empty());
                let parts = parts.or(fields.list("summary")?).unwrap_or_default();
                let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
                let thought: String = texts.collect::<Vec<_>>().join("\n");
                if !thought.is_empty() {
                    assistant(&mut written)["reasoning_content"] = thought.into();
                }
            }
            Some(other) => {
                let message = format!("`{name}`: this server has no items of the type `{other}`");
                return Err(ApiError::field(&name, message));
            }
        }
    }
    if written.is_empty() {
        return Err(ApiError::field("input", "`input` must not be empty"));
    }
    let read = |message| {
        Message::from_json(message).map_err(|shape| ApiError::field("input", format!("`input`: {shape}")))
    };
    written.into_iter().map(read).collect()
}

/// The last message, if it is the assistant's, else a new one.
fn assistant(written: &mut Vec<Value>) -> &mut Value {
    if written.last().is_none_or(|last| last["role"] != "assistant") {
        written.push(json!({"role": "assistant", "content": ""}));
    }
    let last = written.len() - 1;
    &mut written[last]
}

/// The text of content.
fn text_of(name: &str, content: Value) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(mistyped(name, "a string or a list of parts", &other)),
    };
    let mut texts = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        let name = format!("{name}[{at}]");
        let mut part = JsonFields::inside(&name, part)?;
        let kind = part.text("type")?.unwrap_or_default();
        let field = match kind.as_str() {
            "input_text" | "output_text" | "text" => "text",
            "refusal" => "refusal",
            other => {
                let message =
                    format!("`{name}`: this server reads texts only, no part of the type `{other}`");
                return Err(ApiError::field(&name, message));
            }
        };
        let text = part.text(field)?;
        texts.push(text.ok_or_else(|| ApiError::field(&name, format!("`{name}.{field}` is missing")))?);
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: Value) -> Result<Vec<Value>, String> {
        let items = read_input(input).map_err(|error| error.message)?;
        let made = messages(Some("Be brief.".to_owned()), &items).map_err(|error| error.message)?;
        Ok(made.into_iter().skip(1).map(Value::from).collect())
    }

    #[test]
    fn items_become_messages_of_templates() {
        assert_eq!(read(json!("Hi")).unwrap(), [json!({"role": "user", "content": "Hi"})]);
        let made = read(json!([
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "time", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        ]));
        assert_eq!(
            made.unwrap(),
            [
                json!({"role": "user", "content": "Hi"}),
                json!({"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                    {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
                ]}),
                json!({"role": "tool", "tool_call_id": "c2", "content": "noon", "name": "time"}),
            ]
        );
    }

    #[test]
    fn wrong_items_are_named() {
        assert_eq!(read(json!(1)).unwrap_err(), "`input` must be a string or a list of items, not a number");
        assert_eq!(read(json!([{"content": "x"}])).unwrap_err(), "`input[0].role` is missing");
        assert_eq!(
            read(json!([{"type": "web_search_call"}])).unwrap_err(),
            "`input[0]`: this server has no items of the type `web_search_call`"
        );
        let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]);
        assert_eq!(
            read(image).unwrap_err(),
            "`input[0].content[0]`: this server reads texts only, no part of the type `input_image`"
        );
    }
}
