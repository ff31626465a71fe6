//! What bodies of Ollama's routes may have.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::openapi::{Prompts, Sampling};

/// Seconds, or a span such as `5m`; below 0 for ever.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum KeepAlive {
    Seconds(f64),
    Span(String),
}

/// `json`, or a JSON schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Format {
    Named(String),
    Schema(Map<String, Value>),
}

/// Yes or no, or how hard.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Think {
    Flag(bool),
    Effort(String),
}

/// How to generate.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Options {
    /// How many tokens the text may have; below 0 for as many as fit.
    #[schemars(range(min = -2))]
    num_predict: Option<i32>,
    #[schemars(flatten)]
    sampling: Sampling,
}

/// A message.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Message {
    role: String,
    content: Option<String>,
    thinking: Option<String>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
    tool_calls: Option<Vec<Map<String, Value>>>,
}

/// A conversation.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Chat {
    model: String,
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Map<String, Value>>>,
    /// Lines while it is computed, which is the default.
    stream: Option<bool>,
    think: Option<Think>,
    format: Option<Format>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
    #[schemars(range(min = 0, max = 20))]
    top_logprobs: Option<i32>,
    options: Option<Options>,
}

/// A text to continue or to answer.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Generate {
    model: String,
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    /// The prompt goes to the model as it is.
    raw: Option<bool>,
    /// The tokens of an earlier text.
    context: Option<Vec<i32>>,
    /// Lines while it is computed, which is the default.
    stream: Option<bool>,
    think: Option<Think>,
    format: Option<Format>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
    #[schemars(range(min = 0, max = 20))]
    top_logprobs: Option<i32>,
    options: Option<Options>,
}

/// Texts to embed.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Embed {
    model: String,
    input: Option<Prompts>,
    /// Cuts what is too long, which is the default.
    truncate: Option<bool>,
    #[schemars(range(min = 1))]
    dimensions: Option<i32>,
    keep_alive: Option<KeepAlive>,
}

/// A text to embed.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Embedding {
    model: String,
    prompt: Option<String>,
    keep_alive: Option<KeepAlive>,
}

/// A model by its name.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Show {
    model: Option<String>,
    /// As `model`.
    name: Option<String>,
    verbose: Option<bool>,
}

/// A model of the hub.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Pull {
    model: Option<String>,
    /// As `model`.
    name: Option<String>,
    stream: Option<bool>,
}
