//! What bodies of Anthropic's routes may have.

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// A text, or blocks.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

/// A block of a content: a text, a thought, a call, a result or a document.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
    tool_use_id: Option<String>,
    content: Option<Value>,
    source: Option<Map<String, Value>>,
    title: Option<String>,
}

/// A message.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Message {
    role: Role,
    content: Content,
}

/// Who says it.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Role {
    User,
    Assistant,
    System,
}

/// A tool that the client runs.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Tool {
    /// `custom`.
    r#type: Option<String>,
    name: String,
    description: Option<String>,
    /// The JSON schema of what it gets.
    input_schema: Value,
}

/// What a prompt depends on.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Count {
    model: Option<String>,
    system: Option<Content>,
    messages: Vec<Message>,
    tools: Option<Vec<Tool>>,
    /// An object with a `type`: `auto`, `any`, `tool` or `none`.
    tool_choice: Option<Map<String, Value>>,
    /// An object with a `type`: `enabled`, `adaptive`, `between_tools` or `disabled`.
    thinking: Option<Map<String, Value>>,
    /// `effort` and `format`.
    output_config: Option<Map<String, Value>>,
}

/// A conversation. What llama.cpp's sampler has is read besides, under its names.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Create {
    model: String,
    /// How many tokens the answer may have.
    #[schemars(range(min = 0))]
    max_tokens: i32,
    system: Option<Content>,
    messages: Vec<Message>,
    stream: Option<bool>,
    stop_sequences: Option<Vec<String>>,
    temperature: Option<f64>,
    top_k: Option<i32>,
    top_p: Option<f64>,
    tools: Option<Vec<Tool>>,
    /// An object with a `type`: `auto`, `any`, `tool` or `none`.
    tool_choice: Option<Map<String, Value>>,
    /// An object with a `type`: `enabled`, `adaptive`, `between_tools` or `disabled`.
    thinking: Option<Map<String, Value>>,
    /// `effort` and `format`.
    output_config: Option<Map<String, Value>>,
}
