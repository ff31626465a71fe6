//! What bodies of OpenAI's Responses may have.

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// A text, or items.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Input {
    Text(String),
    Items(Vec<Map<String, Value>>),
}

/// A function that the model may call.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Tool {
    /// `function`.
    r#type: String,
    name: Option<String>,
    description: Option<String>,
    /// The JSON schema of its arguments.
    parameters: Option<Value>,
    /// As chat completions have it.
    function: Option<Map<String, Value>>,
}

/// A mode, or an object that names functions.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Choice {
    /// `auto`, `none` or `required`.
    Mode(String),
    Named(Map<String, Value>),
}

/// What to answer. What llama.cpp's sampler has is read besides, under its names.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Create {
    model: Option<String>,
    input: Option<Input>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    stream: Option<bool>,
    /// Whether it is kept.
    store: Option<bool>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
    /// `effort`.
    reasoning: Option<Map<String, Value>>,
    /// `format`.
    text: Option<Map<String, Value>>,
    #[schemars(range(min = 1))]
    max_output_tokens: Option<i32>,
    #[schemars(range(min = 0, max = 20))]
    top_logprobs: Option<i32>,
    include: Option<Vec<String>>,
    timings_per_token: Option<bool>,
    return_progress: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
}
