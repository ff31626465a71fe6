//! Ollama's API: `/api/generate`, `/api/chat`, `/api/embed` and what tells of models.

mod chat;
mod embed;
mod generate;
mod lines;
mod moment;
mod options;
mod pull;
mod schema;
mod tags;

use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::openapi::{About, Endpoints};
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

fn routes(_: &App) -> Endpoints {
    Endpoints::new("Ollama")
        .post(
            &["/api/generate"],
            generate::generate,
            About::new("Continues or answers a text").reads::<schema::Generate>().or_lines(),
        )
        .post(
            &["/api/chat"],
            chat::chat,
            About::new("Answers a conversation").reads::<schema::Chat>().or_lines(),
        )
        .post(
            &["/api/embed"],
            embed::embed,
            About::new("Gives the vectors of texts").reads::<schema::Embed>(),
        )
        .post(
            &["/api/embeddings"],
            embed::embedding,
            About::new("Gives the vector of a text").reads::<schema::Embedding>(),
        )
        .get(&["/api/tags"], tags::tags, About::new("Lists the models"))
        .get(&["/api/ps"], tags::ps, About::new("Lists the models that are loaded"))
        .post(&["/api/show"], tags::show, About::new("Tells of a model").reads::<schema::Show>())
        .get(&["/api/version"], version, About::new("Tells the version of Ollama whose API this is"))
        .post(
            &["/api/pull"],
            pull::pull,
            About::new("Fetches a model of the hub").reads::<schema::Pull>().or_lines(),
        )
        .delete(&["/api/delete"], pull::delete, About::new("Is refused: no files are deleted"))
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
