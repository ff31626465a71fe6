//! Messages of a conversation, as OpenAI's API has them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::shape::ShapeError;
use crate::tool::ToolCall;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// Instructions of the application (OpenAI's newer name for the system).
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content<'m> {
    /// A text.
    Text(&'m str),
    /// Parts with a `type` each.
    Parts(&'m [Value]),
}

/// One message: a JSON object whose keys keep their order, because templates write some of them out as they are.
///
/// Fields that the crate does not know are kept and given to the template.
///
/// ```
/// use tabagent_chat::{Content, Message};
///
/// let message: Message = serde_json::from_str(r#"{"role": "user", "content": "Hello", "name": "Ada"}"#)?;
/// assert_eq!(message.role(), "user");
/// assert_eq!(message.content(), Some(Content::Text("Hello")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Message(Map<String, Value>);

impl Message {
    /// A message with a text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("role".into(), role.name().into());
        fields.insert("content".into(), Value::String(content.into()));
        Self(fields)
    }

    /// A message of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// A message of the person.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// The result of a tool call.
    pub fn tool(call_id: impl Into<String>, content: impl Into<String>) -> Self {
        let mut message = Self::new(Role::Tool, content);
        message.0.insert("tool_call_id".into(), Value::String(call_id.into()));
        message
    }

    /// The same message with the calls that the model makes in it.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: Vec<ToolCall>) -> Self {
        self.0.insert("tool_calls".into(), calls.into_iter().map(Value::from).collect());
        self
    }

    /// The same message with what the model thought before it.
    #[must_use]
    pub fn with_reasoning(mut self, reasoning: impl Into<String>) -> Self {
        self.0.insert("reasoning_content".into(), Value::String(reasoning.into()));
        self
    }

    /// Checks the shape of a message.
    ///
    /// # Errors
    ///
    /// Names the field that has another shape.
    pub fn from_json(value: Value) -> Result<Self, ShapeError> {
        let Value::Object(fields) = value else {
            return Err(ShapeError::kind("it", "an object", &value));
        };
        match fields.get("role") {
            Some(Value::String(role)) if !role.is_empty() => {}
            Some(Value::String(_)) => return Err(ShapeError::value("`role` must not be empty")),
            Some(other) => return Err(ShapeError::kind("`role`", "a string", other)),
            None => return Err(ShapeError::value("`role` is missing")),
        }
        match fields.get("content") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(Value::Array(parts)) => {
                parts.iter().enumerate().try_for_each(|(at, part)| check_part(at, part))?;
            }
            Some(other) => {
                return Err(ShapeError::kind("`content`", "a string, a list of parts or null", other));
            }
        }
        for name in ["reasoning_content", "reasoning", "thinking", "name", "tool_call_id", "refusal"] {
            if let Some(other) =
                fields.get(name).filter(|value| !matches!(value, Value::Null | Value::String(_)))
            {
                return Err(ShapeError::kind(&format!("`{name}`"), "a string", other));
            }
        }
        match fields.get("tool_calls") {
            None | Some(Value::Null) => {}
            Some(Value::Array(calls)) => {
                for (at, call) in calls.iter().enumerate() {
                    ToolCall::check(call)
                        .map_err(|problem| problem.inside(&format!("`tool_calls[{at}]`")))?;
                }
            }
            Some(other) => return Err(ShapeError::kind("`tool_calls`", "a list", other)),
        }
        Ok(Self(fields))
    }

    pub(crate) fn from_fields(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The name of the role; templates may know more roles than [`Role`].
    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// What the message says, if anything.
    pub fn content(&self) -> Option<Content<'_>> {
        match self.0.get("content")? {
            Value::String(text) => Some(Content::Text(text)),
            Value::Array(parts) => Some(Content::Parts(parts)),
            _ => None,
        }
    }

    /// All text of the message, its parts one after another.
    pub fn text(&self) -> String {
        match self.content() {
            None => String::new(),
            Some(Content::Text(text)) => text.into(),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
            }
        }
    }

    /// What the model thought, if it is part of the message.
    pub fn reasoning(&self) -> Option<&str> {
        ["reasoning_content", "thinking", "reasoning"].into_iter().find_map(|name| self.0.get(name)?.as_str())
    }

    /// The tool calls of the message.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.0.get("tool_calls").and_then(Value::as_array);
        calls.into_iter().flatten().filter_map(|call| ToolCall::from_json(call.clone()).ok()).collect()
    }

    /// A field, known or not.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Sets a field; a new one comes last.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes a field away; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// The fields in their order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl TryFrom<Value> for Message {
    type Error = ShapeError;

    fn try_from(value: Value) -> Result<Self, ShapeError> {
        Self::from_json(value)
    }
}

impl From<Message> for Value {
    fn from(message: Message) -> Self {
        Self::Object(message.0)
    }
}

fn check_part(at: usize, part: &Value) -> Result<(), ShapeError> {
    let Value::Object(part) = part else {
        return Err(ShapeError::kind(&format!("`content[{at}]`"), "an object", part));
    };
    match part.get("type") {
        Some(Value::String(_)) => {}
        Some(other) => return Err(ShapeError::kind(&format!("`content[{at}].type`"), "a string", other)),
        None => return Err(ShapeError::value(format!("`content[{at}].type` is missing"))),
    }
    match part.get("text") {
        None | Some(Value::String(_) | Value::Null) => Ok(()),
        Some(other) => Err(ShapeError::kind(&format!("`content[{at}].text`"), "a string", other)),
    }
}
