//! What bodies of OpenAI's routes may have.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::openapi::{OneOrMany, Prompts, Sampling, Structure};

/// What streams say at their end.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

/// A message: what templates know of it is read.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Message {
    /// `system`, `user`, `assistant`, `tool` or another that the template knows.
    role: String,
    /// A text, or parts with texts.
    content: Option<Value>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<Map<String, Value>>>,
}

/// A function that the model may call.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Tool {
    /// `function`.
    r#type: Option<String>,
    function: Function,
}

/// A function.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Function {
    name: String,
    description: Option<String>,
    /// The JSON schema of its arguments.
    parameters: Option<Value>,
}

/// Yes or no, or the name of a field.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum FlagOrName {
    Flag(bool),
    Name(String),
}

/// How a text is chosen that must be called.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Choice {
    Mode(Mode),
    Named(Map<String, Value>),
}

/// Whether functions are called.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Mode {
    Auto,
    None,
    Required,
}

/// A conversation.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) struct Chat {
    model: Option<String>,
    #[schemars(length(min = 1))]
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// How many answers.
    #[schemars(range(min = 1))]
    n: Option<i32>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<Map<String, Value>>,
    logprobs: Option<bool>,
    #[schemars(range(min = 0, max = 1000))]
    top_logprobs: Option<i32>,
    /// As `logprobs` with `top_logprobs`.
    #[schemars(range(min = 0, max = 1000))]
    n_probs: Option<i32>,
    post_sampling_probs: Option<bool>,
    reasoning_effort: Option<String>,
    reasoning_format: Option<ReasoningFormat>,
    /// How many tokens the thoughts may have.
    #[schemars(range(min = -1))]
    reasoning_budget_tokens: Option<i32>,
    #[schemars(range(min = -1))]
    thinking_budget_tokens: Option<i32>,
    /// What ends thoughts that take longer.
    reasoning_budget_message: Option<String>,
    /// What the template reads besides.
    chat_template_kwargs: Option<Map<String, Value>>,
    documents: Option<Vec<Value>>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<FlagOrName>,
    modalities: Option<OneOrMany>,
    timings_per_token: Option<bool>,
    return_progress: Option<bool>,
    /// Tell what the prompt was, and how the text was made.
    verbose: Option<bool>,
    /// The slot to run in; -1 for any.
    #[schemars(range(min = -1))]
    id_slot: Option<i32>,
    #[schemars(flatten)]
    structure: Structure,
    #[schemars(flatten)]
    sampling: Sampling,
}

/// Where thoughts are.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum ReasoningFormat {
    Auto,
    Deepseek,
    None,
}

/// Texts to continue.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Completion {
    model: Option<String>,
    prompt: Prompts,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// How many texts for each prompt.
    #[schemars(range(min = 1))]
    n: Option<i32>,
    /// How many texts are made, of which the most probable are given.
    #[schemars(range(min = 1))]
    best_of: Option<i32>,
    echo: Option<bool>,
    /// What comes after the text.
    suffix: Option<String>,
    /// How many of the most probable tokens are told of.
    #[schemars(range(min = 0, max = 1000))]
    logprobs: Option<i32>,
    #[schemars(range(min = 0, max = 1000))]
    n_probs: Option<i32>,
    post_sampling_probs: Option<bool>,
    timings_per_token: Option<bool>,
    return_progress: Option<bool>,
    #[schemars(range(min = -1))]
    id_slot: Option<i32>,
    #[schemars(flatten)]
    structure: Structure,
    #[schemars(flatten)]
    sampling: Sampling,
}

/// Texts to embed: one of `input` and `content`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Embeddings {
    model: Option<String>,
    input: Option<Prompts>,
    content: Option<Prompts>,
    encoding_format: Option<Encoding>,
    /// So many numbers of each vector.
    #[schemars(range(min = 1))]
    dimensions: Option<i32>,
}

/// How numbers are written.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) enum Encoding {
    Float,
    Base64,
}
