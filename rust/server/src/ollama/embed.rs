//! `/api/embed`, and `/api/embeddings` of older clients.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::EmbedOptions;

use super::moment::nanoseconds;
use super::options::read_stay;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::openai::{check_enabled, vectors};
use crate::stream_body::json as json_response;
use crate::text_request::{GivenPrompt, prompts};
use crate::vector_norm::VectorNorm;

/// Vectors of length 1.
pub(crate) async fn embed(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    check_enabled(&app)?;
    let began = Instant::now();
    let name = fields.text("model")?.ok_or_else(|| ApiError::field("model", "model is required"))?;
    let stay = read_stay(&mut fields)?;
    let served = app.model_for(Some(&name), stay).await?;
    let load = began.elapsed();
    let texts = match fields.take("input") {
        None => Vec::new(),
        Some(Value::Array(items)) if items.is_empty() => Vec::new(),
        Some(input) => prompts("input", input)?,
    };
    let truncate = fields.flag("truncate")?.unwrap_or(true);
    let dimensions = fields.integer("dimensions", 1..=i64::from(i32::MAX))?.map(|n| n as usize);
    let options = EmbedOptions { truncate, dimensions, ..EmbedOptions::default() };
    let mut body = json!({"model": name, "embeddings": []});
    if !texts.is_empty() {
        let (made, tokens) = vectors(&app, served, texts, options, VectorNorm::EUCLIDEAN).await?;
        body["embeddings"] = made.values.chunks_exact(made.width.max(1)).map(Value::from).collect();
        body["prompt_eval_count"] = tokens.into();
    }
    body["total_duration"] = nanoseconds(began.elapsed()).into();
    body["load_duration"] = nanoseconds(load).into();
    Ok(json_response(&body))
}

/// The vector of one text, of whatever length the model gives it.
pub(crate) async fn embedding(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    check_enabled(&app)?;
    let name = fields.text("model")?.ok_or_else(|| ApiError::field("model", "model is required"))?;
    let stay = read_stay(&mut fields)?;
    let served = app.model_for(Some(&name), stay).await?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    if prompt.is_empty() {
        return Ok(json_response(&json!({"embedding": []})));
    }
    let options = EmbedOptions { truncate: true, ..EmbedOptions::default() };
    let texts = vec![GivenPrompt::Text(prompt)];
    let (made, _) = vectors(&app, served, texts, options, VectorNorm::NONE).await?;
    Ok(json_response(&json!({"embedding": made.values})))
}
