//! OpenAI's routes, each also without `/v1`.

mod chat;
mod chat_body;
mod chat_chunk;
mod completions;
mod echo;
mod embeddings;
mod models;
mod schema;

use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::openapi::{About, Endpoints};
use crate::protocol::{Protocol, plain_status};

pub(crate) use chat::so_far;
pub(crate) use chat_body::ChatBody;
pub(crate) use chat_chunk::FINGERPRINT;
pub(crate) use completions::text_in;
pub(crate) use embeddings::{StopOnDrop, check_enabled, vectors};
pub(crate) use schema::Chat;

/// OpenAI's clients.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns, routes, error, status: plain_status, error_event: Some("") };

fn owns(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path.starts_with("/chat/completions")
        || path.starts_with("/models")
        || (path.starts_with("/completions") || path.starts_with("/embeddings"))
}

fn routes(_: &App) -> Endpoints {
    Endpoints::new("OpenAI")
        .post(
            &["/v1/chat/completions", "/chat/completions"],
            chat::complete,
            About::new("Answers a conversation").reads::<Chat>().or_events(),
        )
        .post(
            &["/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"],
            chat::count,
            About::new("Counts the tokens of a conversation").reads::<Chat>(),
        )
        .post(
            &["/v1/completions"],
            completions::complete,
            About::new("Continues texts").reads::<schema::Completion>().or_events(),
        )
        .post(
            &["/v1/embeddings"],
            embeddings::embed,
            About::new("Gives the vectors of texts").reads::<schema::Embeddings>(),
        )
        .get(
            &["/v1/models", "/models"],
            models::list,
            About::new("Lists the models").asks(&[("reload", "1: reads folder and files anew")]),
        )
        .get(&["/v1/models/{*name}", "/models/{*name}"], models::one, About::new("Tells of a model"))
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
