//! `/api/chat`.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_chat::{Conversation, Message, ToolDefinition};
use tabagent_model::{ChatRequest, Stay};

use super::lines::{Envelope, Shape};
use super::options::{read_format, read_options, read_stay, read_stream, read_think};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::models::Served;
use crate::place::Place;
use crate::running::Running;
use crate::stream_body::json as json_response;
use crate::template_variables;

/// Answers a conversation.
pub(crate) async fn chat(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let began = Instant::now();
    let name = fields.text("model")?.ok_or_else(|| ApiError::field("model", "model is required"))?;
    let stream = read_stream(&mut fields)?;
    let stay = read_stay(&mut fields)?;
    let messages = fields.list("messages")?.unwrap_or_default();
    let unloads = messages.is_empty() && stay == Some(Stay::For(Duration::ZERO));
    if unloads {
        let envelope = Envelope { model: name, shape: Shape::Chat, began, load: Duration::ZERO };
        return envelope.unload(&app);
    }
    let served = app.model_for(Some(&name), stay).await?;
    let envelope = Envelope { model: name, shape: Shape::Chat, began, load: began.elapsed() };
    if messages.is_empty() {
        return Ok(json_response(&envelope.empty("load")));
    }
    let shared = app.clone();
    let running = app
        .work(move || {
            let mut request = read(messages, fields, &served, stream)?;
            template_variables::supply(&mut request, &served, shared.settings.thinking)?;
            Running::chat(&shared, &served, request, 1, Place::default())
        })
        .await?;
    envelope.respond(running, stream).await
}

fn read(
    messages: Vec<Value>,
    mut fields: JsonFields,
    served: &Served,
    stream: bool,
) -> Result<ChatRequest, ApiError> {
    let messages = messages.into_iter().enumerate().map(|(at, message)| read_message(at, message));
    let mut request = ChatRequest::new(Conversation::new(messages.collect::<Result<_, _>>()?));
    let tools = fields.list("tools")?.unwrap_or_default().into_iter().enumerate().map(|(at, tool)| {
        let name = format!("tools[{at}]");
        ToolDefinition::from_json(tool).map_err(|shape| ApiError::field(&name, format!("`{name}`: {shape}")))
    });
    // Without tools nothing is a call, whatever it looks like.
    request.conversation.tools = Some(tools.collect::<Result<_, _>>()?);
    let has_tools = request.conversation.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    let template = match &served.template {
        Some(template) => std::sync::Arc::clone(template),
        None => served.model.chat_template_for(has_tools, false)?,
    };
    request.thinking = read_think(&mut fields, &template, &served.name, &mut request.conversation.variables)?;
    request.template = Some(template);
    request.structure = read_format(&mut fields)?;
    request.options = read_options(&mut fields, served)?;
    // Nobody reads before the end.
    request.options.collect = !stream;
    let last = request.conversation.messages.last();
    if last.is_some_and(|last| last.role() == "assistant" && last.get("tool_calls").is_none()) {
        request.conversation.continue_final_message = Some("content".to_owned());
        request.conversation.add_generation_prompt = false;
    }
    Ok(request)
}

/// A message: thoughts, calls and names of tools are called otherwise in templates.
fn read_message(at: usize, message: Value) -> Result<Message, ApiError> {
    let name = format!("messages[{at}]");
    let wrong = |problem: String| ApiError::field(&name, format!("`{name}`: {problem}"));
    let mut fields = JsonFields::inside(&name, message)?;
    if fields.list("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(wrong("this server reads texts only, no images".to_owned()));
    }
    let role = fields.text("role")?.ok_or_else(|| wrong("`role` is missing".to_owned()))?;
    let mut written = json!({"role": role, "content": fields.text("content")?.unwrap_or_default()});
    if let Some(thinking) = fields.text("thinking")?.filter(|text| !text.is_empty()) {
        written["reasoning_content"] = thinking.into();
    }
    if let Some(tool) = fields.text("tool_name")?.filter(|text| !text.is_empty()) {
        written["name"] = tool.into();
    }
    if let Some(id) = fields.text("tool_call_id")?.filter(|text| !text.is_empty()) {
        written["tool_call_id"] = id.into();
    }
    let calls = fields.list("tool_calls")?.unwrap_or_default();
    let calls: Vec<Value> = calls
        .into_iter()
        .map(|mut call| {
            let function = call.get_mut("function").map(Value::take).unwrap_or_default();
            let mut written = json!({
                "type": "function",
                "function": {"name": function.get("name"), "arguments": function.get("arguments").cloned().unwrap_or_else(|| json!({}))},
            });
            if let Some(id) = call.get("id").filter(|id| id.is_string()) {
                written["id"] = id.clone();
            }
            written
        })
        .collect();
    if !calls.is_empty() {
        written["tool_calls"] = calls.into();
    }
    Message::from_json(written).map_err(|shape| wrong(shape.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_get_the_names_that_templates_read() {
        let read = |message| read_message(2, message).map(Value::from).map_err(|error| error.message);
        assert_eq!(
            read(
                json!({"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]})
            ),
            Ok(json!({
                "role": "assistant", "content": "", "reasoning_content": "hm",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
            }))
        );
        assert_eq!(
            read(json!({"role": "tool", "content": "sun", "tool_name": "weather"})),
            Ok(json!({"role": "tool", "content": "sun", "name": "weather"}))
        );
        assert_eq!(read(json!({"content": "x"})), Err("`messages[2]`: `role` is missing".to_owned()));
        assert_eq!(
            read(json!({"role": "user", "content": "x", "images": ["aGk="]})),
            Err("`messages[2]`: this server reads texts only, no images".to_owned())
        );
    }
}
