//! The protocols that the server speaks.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::openapi::Endpoints;
use crate::{anthropic, llama_cpp, ollama, openai, responses};

/// One client's way of asking.
pub(crate) struct Protocol {
    /// Whether a path is its own. Paths have no prefix here.
    pub(crate) owns: fn(&str) -> bool,
    /// Its routes.
    pub(crate) routes: fn(&App) -> Endpoints,
    /// The body of an error.
    pub(crate) error: fn(&ApiError) -> Value,
    /// The status of an error.
    pub(crate) status: fn(&ApiError) -> StatusCode,
    /// What stands before the data of an error in a stream of events; `None` where streams are no events.
    pub(crate) error_event: Option<&'static str>,
}

/// All protocols; the first that owns a path writes its errors.
pub(crate) const ALL: &[Protocol] =
    &[anthropic::PROTOCOL, ollama::PROTOCOL, responses::PROTOCOL, openai::PROTOCOL, llama_cpp::PROTOCOL];

/// All routes.
pub(crate) fn routes(app: &App) -> Endpoints {
    ALL.iter().fold(Endpoints::new("Server"), |all, protocol| all.merge((protocol.routes)(app)))
}

/// The status that a problem has with most clients.
pub(crate) fn plain_status(error: &ApiError) -> StatusCode {
    error.problem.status()
}

/// What stands before the data of an error in a stream of events of `path`; `None` where streams are no events.
pub(crate) fn error_event(path: &str) -> Option<&'static str> {
    ALL.iter().find(|protocol| (protocol.owns)(path))?.error_event
}

/// Gives an error's response the body that the clients of `path` know; other responses stay as they are.
pub(crate) fn render(path: &str, mut response: Response) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let protocol = ALL.iter().find(|protocol| (protocol.owns)(path));
    let body = protocol.map_or(Value::Null, |protocol| (protocol.error)(&error));
    let (parts, _) = response.into_parts();
    let mut rendered = crate::stream_body::json(&body);
    *rendered.status_mut() = protocol.map_or(parts.status, |protocol| (protocol.status)(&error));
    for (name, value) in &parts.headers {
        if name != "content-length" && name != "content-type" {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}
