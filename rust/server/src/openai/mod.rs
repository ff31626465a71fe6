//! OpenAI's routes, each also without `/v1`.

mod chat;
mod chat_body;
mod chat_chunk;
mod completions;
mod echo;
mod embeddings;
mod models;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::protocol::{Protocol, plain_status};

pub(crate) use chat::so_far;
pub(crate) use chat_body::ChatBody;
pub(crate) use chat_chunk::FINGERPRINT;
pub(crate) use completions::text_in;
pub(crate) use embeddings::{StopOnDrop, check_enabled, vectors};

/// OpenAI's clients.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns, routes, error, status: plain_status, error_event: Some("") };

fn owns(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path.starts_with("/chat/completions")
        || path.starts_with("/models")
        || (path.starts_with("/completions") || path.starts_with("/embeddings"))
}

fn routes(_: &App) -> Router<App> {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/chat/completions", post(chat::complete))
        .route("/v1/chat/completions/input_tokens", post(chat::count))
        .route("/chat/completions/input_tokens", post(chat::count))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(models::list))
        .route("/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/models/{*name}", get(models::one))
}

/// The kind of a problem, as OpenAI's and llama-server's clients know it.
pub(crate) fn error_type(problem: Problem) -> &'static str {
    match problem {
        Problem::Invalid | Problem::RequestTimeout | Problem::TooLarge | Problem::MethodNotAllowed => {
            "invalid_request_error"
        }
        Problem::Authentication => "authentication_error",
        Problem::Permission => "permission_error",
        Problem::NotFound | Problem::ModelNotFound => "not_found_error",
        Problem::ContextFull { .. } => "exceed_context_size_error",
        Problem::NotSupported => "not_supported_error",
        Problem::Overloaded | Problem::Unavailable => "unavailable_error",
        Problem::Internal => "server_error",
    }
}

/// `{"error": …}` with what OpenAI's clients and llama-server's read.
pub(crate) fn error(error: &ApiError) -> Value {
    json!({"error": error_body(error)})
}

/// What is inside of it.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let mut body = json!({
        "code": error.problem.status().as_u16(),
        "message": error.message,
        "type": error_type(error.problem),
        "param": error.field,
    });
    if let Problem::ContextFull { prompt, context } = error.problem {
        body["n_prompt_tokens"] = prompt.into();
        body["n_ctx"] = context.into();
    }
    body
}
