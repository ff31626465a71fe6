//! Ollama's API: `/api/generate`, `/api/chat`, `/api/embed` and what tells of models.

mod chat;
mod embed;
mod generate;
mod lines;
mod moment;
mod options;
mod pull;
mod tags;

use axum::Router;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::protocol::{Protocol, plain_status};
use crate::stream_body::json as json_response;

/// Ollama's clients.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns, routes, error, status: plain_status, error_event: None };

/// The version of Ollama whose API this is; clients check it before they use what is newer.
const VERSION: &str = "0.12.6";

fn owns(path: &str) -> bool {
    path.starts_with("/api/")
}

fn routes(_: &App) -> Router<App> {
    Router::new()
        .route("/api/generate", post(generate::generate))
        .route("/api/chat", post(chat::chat))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embedding))
        .route("/api/tags", get(tags::tags))
        .route("/api/ps", get(tags::ps))
        .route("/api/show", post(tags::show))
        .route("/api/version", get(version))
        .route("/api/pull", post(pull::pull))
        .route("/api/delete", delete(pull::delete))
}

async fn version() -> Response {
    json_response(&json!({"version": VERSION}))
}

fn error(error: &ApiError) -> Value {
    let message = match error.problem {
        Problem::NotFound => "this server does not have that path of Ollama's API",
        _ => error.message.as_str(),
    };
    json!({"error": message})
}
