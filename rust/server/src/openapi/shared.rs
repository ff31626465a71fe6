//! What the bodies of several routes may have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// One text, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A text, a list of tokens and texts, or a list of such; or an object with one of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum Prompts {
    One(Prompt),
    Many(Vec<Prompt>),
}

/// A text, a list of tokens and texts, or an object with one of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum Prompt {
    Text(String),
    Pieces(Vec<Piece>),
    Named { prompt_string: Value },
    Parts { content: Vec<TextPart> },
}

/// A token or a text.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum Piece {
    Token(i32),
    Text(String),
}

/// A part of a content.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) struct TextPart {
    /// `text`.
    r#type: String,
    text: String,
}

/// How much of an adapter a request gets.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) struct Lora {
    /// Its number in `/lora-adapters`.
    #[schemars(range(min = 0))]
    id: i32,
    /// 1 where it is not there.
    scale: Option<f64>,
}

/// Tokens or texts with what is added to their logits; false bans one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum LogitBias {
    Named(BTreeMap<String, Bias>),
    Pairs(Vec<Value>),
}

/// What is added to a logit; false bans the token.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) enum Bias {
    Added(f64),
    Allowed(bool),
}

/// How tokens are chosen and when the text ends, under llama.cpp's names.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) struct Sampling {
    /// How many tokens the text may have; -1 for as many as fit.
    #[schemars(range(min = -1))]
    n_predict: Option<i32>,
    /// As `n_predict`.
    #[schemars(range(min = -1))]
    max_completion_tokens: Option<i32>,
    /// As `n_predict`.
    #[schemars(range(min = -1))]
    max_tokens: Option<i32>,
    /// Texts that end the text, and are not part of it.
    stop: Option<OneOrMany>,
    /// Goes on where the model would end.
    ignore_eos: Option<bool>,
    /// Begins with what others have decoded, and leaves its own for others.
    cache_prompt: Option<bool>,
    /// How much of each adapter.
    lora: Option<Vec<Lora>>,
    temperature: Option<f64>,
    dynatemp_range: Option<f64>,
    dynatemp_exponent: Option<f64>,
    /// 0 or less for all.
    top_k: Option<i32>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    top_n_sigma: Option<f64>,
    typical_p: Option<f64>,
    xtc_probability: Option<f64>,
    xtc_threshold: Option<f64>,
    #[schemars(range(min = 0))]
    min_keep: Option<i32>,
    /// -1 for the whole context.
    #[schemars(range(min = -1))]
    repeat_last_n: Option<i32>,
    repeat_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    dry_multiplier: Option<f64>,
    dry_base: Option<f64>,
    #[schemars(range(min = 0))]
    dry_allowed_length: Option<i32>,
    #[schemars(range(min = -1))]
    dry_penalty_last_n: Option<i32>,
    #[schemars(length(min = 1))]
    dry_sequence_breakers: Option<Vec<String>>,
    /// 0, 1 or 2.
    mirostat: Option<i64>,
    mirostat_tau: Option<f64>,
    mirostat_eta: Option<f64>,
    adaptive_target: Option<f64>,
    adaptive_decay: Option<f64>,
    /// -1 for another one each time.
    seed: Option<i64>,
    /// The stages by their names, in their order, or by their letters.
    samplers: Option<OneOrMany>,
    logit_bias: Option<LogitBias>,
}

/// What the text must look like.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(crate) struct Structure {
    /// A JSON schema.
    json_schema: Option<Value>,
    /// A grammar in GBNF.
    grammar: Option<String>,
    /// The grammar counts from one of the triggers on.
    grammar_lazy: Option<bool>,
    grammar_triggers: Option<Vec<Map<String, Value>>>,
}
