//! `/v1/embeddings`.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};
use tabagent_model::{AbortFlag, EmbedOptions, PromptInput, TokenId, Vectors};

use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::llama_cpp;
use crate::models::Served;
use crate::stream_body::json as json_response;
use crate::text_request::{GivenPrompt, prompts};
use crate::vector_norm::VectorNorm;

/// Raises a flag when it is dropped, so that work for a client that went away ends.
pub(crate) struct StopOnDrop(pub(crate) AbortFlag);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// Refuses where the server was started without embeddings.
pub(crate) fn check_enabled(app: &App) -> Result<(), ApiError> {
    if app.settings.embeddings {
        return Ok(());
    }
    Err(ApiError::not_supported("this server does not embed; start it without `--no-embeddings`"))
}

/// The vectors of texts, of the length that `norm` says, and how many tokens these have.
pub(crate) async fn vectors(
    app: &App,
    served: std::sync::Arc<Served>,
    texts: Vec<GivenPrompt>,
    options: EmbedOptions,
    norm: VectorNorm,
) -> Result<(Vectors, usize), ApiError> {
    let stop = AbortFlag::new();
    let _stops = StopOnDrop(stop.clone());
    app.work(move || {
        let model = &served.model;
        let tokens: Vec<Vec<TokenId>> =
            texts.iter().map(|text| text.tokens(model, true)).collect::<Result<_, _>>()?;
        let counted = tokens.iter().map(Vec::len).sum();
        let inputs: Vec<PromptInput<String>> = tokens.into_iter().map(PromptInput::Tokens).collect();
        let (began, mut steps) = (Instant::now(), 0);
        let options = EmbedOptions { normalize: false, ..options };
        let mut vectors = model.embed(&inputs, &options, &stop, |_, _| {
            steps += 1;
            true
        })?;
        vectors.values.chunks_exact_mut(vectors.width.max(1)).for_each(|vector| norm.apply(vector));
        served.state.counts.embedded(counted, steps, began.elapsed());
        Ok((vectors, counted))
    })
    .await
}

/// The numbers of a vector as base64 of their little-endian bytes.
fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Embeds texts.
pub(crate) async fn embed(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    check_enabled(&app)?;
    if app.settings.token_vectors {
        let message = "this server gives a vector for each token (`--pooling none`), which this path has no form for; ask `/embeddings`";
        return Err(ApiError::invalid(message));
    }
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let given = fields.take("input").map(|value| ("input", value));
    let given = given.or_else(|| fields.take("content").map(|value| ("content", value)));
    let (name, value) = given.ok_or_else(|| ApiError::field("input", "`input` is missing"))?;
    let texts = prompts(name, value)?;
    let as_base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("`encoding_format` must be `float` or `base64`, got `{other}`");
            return Err(ApiError::field("encoding_format", message));
        }
    };
    let dimensions = fields.integer("dimensions", 1..=i64::from(i32::MAX))?.map(|n| n as usize);
    let options = EmbedOptions { dimensions, pooling: app.settings.pooling, ..EmbedOptions::default() };
    let norm = llama_cpp::read_norm(&mut fields)?.unwrap_or(app.settings.vector_norm);
    let model = served.name.clone();
    let (vectors, tokens) = vectors(&app, served, texts, options, norm).await?;
    let written = app.work(move || Ok(list(&model, &vectors, tokens, as_base64))).await?;
    Ok(json_response(&written))
}

fn list(model: &str, vectors: &Vectors, tokens: usize, as_base64: bool) -> Value {
    let entry = |(index, vector): (usize, &[f32])| {
        let embedding: Value = if as_base64 { base64_of(vector).into() } else { vector.into() };
        let mut entry = json!({"object": "embedding", "index": index, "embedding": embedding});
        if as_base64 {
            entry["encoding_format"] = "base64".into();
        }
        entry
    };
    let data: Vec<Value> = vectors.values.chunks_exact(vectors.width.max(1)).enumerate().map(entry).collect();
    json!({"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
}
