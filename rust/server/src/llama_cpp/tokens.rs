//! `/tokenize`, `/detokenize` and `/apply-template`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::DetokenizeOptions;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped, whole};
use crate::openai::ChatBody;
use crate::stream_body::json as json_response;
use crate::text_request::prompts;

/// The tokens of a text.
pub(crate) async fn tokenize(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let add_special = fields.flag("add_special")?.unwrap_or_default();
    let parse_special = fields.flag("parse_special")?.unwrap_or(true);
    let with_pieces = fields.flag("with_pieces")?.unwrap_or_default();
    let Some(content) = fields.take("content") else { return Ok(json_response(&json!({"tokens": []}))) };
    let body = app
        .work(move || {
            let model = &served.model;
            let tokens = match content {
                Value::String(text) => model.tokenize(&text, add_special, parse_special)?,
                Value::Array(items) if items.is_empty() => Vec::new(),
                other => {
                    let items = Value::Array(vec![other]);
                    prompts("content", items)?.swap_remove(0).tokens(model, add_special)?
                }
            };
            if !with_pieces {
                return Ok(json!({"tokens": tokens}));
            }
            let llama = model.llama()?;
            let piece = |token: i32| {
                let bytes = llama.vocab().token_bytes(token, true).map_err(tabagent_model::Error::from)?;
                let piece =
                    String::from_utf8(bytes).map_or_else(|error| json!(error.into_bytes()), Value::String);
                Ok(json!({"id": token, "piece": piece}))
            };
            let pieces = tokens.into_iter().map(piece).collect::<Result<Vec<_>, ApiError>>()?;
            Ok(json!({"tokens": pieces}))
        })
        .await?;
    Ok(json_response(&body))
}

/// The text of tokens.
pub(crate) async fn detokenize(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let tokens = fields.list("tokens")?.unwrap_or_default();
    let token = |(at, value): (usize, Value)| {
        let token = whole(&value).and_then(|token| i32::try_from(token).ok());
        token.ok_or_else(|| mistyped(&format!("tokens[{at}]"), "a token", &value))
    };
    let tokens = tokens.into_iter().enumerate().map(token).collect::<Result<Vec<_>, _>>()?;
    let options = DetokenizeOptions { unparse_special: true, ..DetokenizeOptions::default() };
    let text = app.work(move || Ok(served.model.detokenize(&tokens, options)?)).await?;
    Ok(json_response(&json!({"content": text})))
}

/// The prompt of a conversation.
pub(crate) async fn apply_template(
    State(app): State<App>,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let shared = app.clone();
    let prompt = app
        .work(move || {
            let body = ChatBody::read(fields, &shared, &Arc::clone(&served))?;
            Ok(served.model.prepare_chat(body.request)?.prompt.text)
        })
        .await?;
    Ok(json_response(&json!({"prompt": prompt})))
}
