//! What bodies of llama-server's routes may have.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::openapi::{OneOrMany, Prompts, Sampling, Structure};

/// What completions may have besides their prompt.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Wanted {
    model: Option<String>,
    stream: Option<bool>,
    /// How many texts for each prompt.
    #[schemars(range(min = 1))]
    n_cmpl: Option<i32>,
    #[schemars(range(min = 1))]
    n: Option<i32>,
    /// How many of the most probable tokens are told of.
    #[schemars(range(min = 0, max = 1000))]
    n_probs: Option<i32>,
    post_sampling_probs: Option<bool>,
    return_tokens: Option<bool>,
    return_progress: Option<bool>,
    timings_per_token: Option<bool>,
    /// The fields of the answer, those inside of others after a slash.
    response_fields: Option<OneOrMany>,
    /// Time for the text after its first token; it ends after a line break then.
    t_max_predict_ms: Option<i32>,
    /// The slot to run in; -1 for any.
    #[schemars(range(min = -1))]
    id_slot: Option<i32>,
    #[schemars(flatten)]
    structure: Structure,
    #[schemars(flatten)]
    sampling: Sampling,
}

/// Texts to continue.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Completion {
    prompt: Prompts,
    #[schemars(flatten)]
    wanted: Wanted,
}

/// Another file.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct File {
    filename: Option<String>,
    text: String,
}

/// What is before and after a text that is missing.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Infill {
    input_prefix: String,
    input_suffix: String,
    input_extra: Option<Vec<File>>,
    /// How the missing text begins.
    prompt: Option<String>,
    /// The suffix comes first.
    spm_infill: Option<bool>,
    #[schemars(flatten)]
    wanted: Wanted,
}

/// A text, or tokens and texts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Tokenize {
    model: Option<String>,
    content: Option<Prompts>,
    add_special: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

/// Tokens.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Detokenize {
    model: Option<String>,
    tokens: Option<Vec<i32>>,
}

/// Texts to embed: one of `input` and `content`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Embedding {
    model: Option<String>,
    input: Option<Prompts>,
    content: Option<Prompts>,
    /// 2: vectors of length 1; -1: as they are; 0: the largest number is 32760; another p: the p-norm is 1.
    #[schemars(range(min = -1, max = 1024))]
    embd_normalize: Option<i64>,
}

/// Documents to rank: `documents` for an answer in Jina's form, `texts` for that of text-embeddings-inference.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Rerank {
    model: Option<String>,
    query: String,
    documents: Option<Vec<Value>>,
    texts: Option<Vec<Value>>,
    /// How many of the best.
    #[schemars(range(min = 0))]
    top_n: Option<i32>,
    return_documents: Option<bool>,
    return_text: Option<bool>,
}

/// A file of a slot.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct SlotFile {
    model: Option<String>,
    /// Its name, without a folder.
    filename: Option<String>,
}

/// A model by its name.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Named {
    model: String,
}

/// Adapters with how much of each requests get.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Adapters(Vec<crate::openapi::Lora>);

/// Settings, of which none can be changed.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "says what a body may have")]
pub(super) struct Props(Map<String, Value>);
