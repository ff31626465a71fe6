//! Vertex AI's way of asking: one path, whose body has requests for other paths
//! (<https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements>).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::llama_cpp::health;
use crate::openai;
use crate::protocol;
use crate::stream_body::json as json_response;

/// Requests in one body, as llama-server has it.
const MOST: usize = 128;
/// Where anybody may look whether the server is there.
pub(crate) const HEALTH: &str = "/health";
/// What an instance names its path by.
const FORMAT: &str = "@requestFormat";

/// Where Vertex AI asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexRoutes {
    /// Where requests come.
    pub predict: String,
    /// Where it looks whether the server is there, besides `/health`.
    pub health: Option<String>,
}

/// The routes that instances may name.
#[derive(Clone)]
struct Paths {
    router: Router,
    /// By the path, and by its words.
    named: Arc<BTreeMap<String, &'static str>>,
}

impl VertexRoutes {
    /// Adds them to `routes`, whose paths `paths` take a body.
    pub(crate) fn add(&self, routes: Router<App>, paths: &[&'static str], app: &App) -> Router<App> {
        let mut named = BTreeMap::new();
        for &path in paths {
            named.insert(path.to_owned(), path);
            named.entry(words(path)).or_insert(path);
        }
        let within = Paths { router: routes.clone().with_state(app.clone()), named: Arc::new(named) };
        let routes = routes.route(&self.predict, post(move |body: JsonFields| predict(within, body)));
        match &self.health {
            Some(path) if path != HEALTH => routes.route(path, get(health::health)),
            _ => routes,
        }
    }
}

/// A path as words that run together: `chatCompletions` for `/v1/chat/completions`.
fn words(path: &str) -> String {
    let path = path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/');
    let path = path.split('{').next().unwrap_or_default();
    let mut words = String::with_capacity(path.len());
    let mut begins = false;
    for character in path.chars() {
        match character {
            '/' | '-' | '_' => begins = true,
            other if begins => {
                words.extend(other.to_uppercase());
                begins = false;
            }
            other => words.push(other),
        }
    }
    words
}

/// Answers each instance in its place; what goes wrong with one is its answer.
async fn predict(paths: Paths, mut fields: JsonFields) -> Result<Response, ApiError> {
    let missing = || ApiError::field("instances", "`instances` must be a list of requests");
    let instances = fields.list("instances")?.ok_or_else(missing)?;
    if instances.len() > MOST {
        let message =
            format!("`instances` has {} requests and may have {MOST}; send several bodies", instances.len());
        return Err(ApiError::field("instances", message));
    }
    let mut predictions = vec![Value::Null; instances.len()];
    // Dropping it ends what runs when the client goes away.
    let mut running = JoinSet::new();
    for (place, instance) in instances.into_iter().enumerate() {
        let paths = paths.clone();
        running.spawn(async move {
            let answer = paths.answer(instance).await;
            (place, answer.unwrap_or_else(|error| openai::error(&error)))
        });
    }
    while let Some(done) = running.join_next().await {
        let failed = |_| ApiError::invalid("a request of `instances` failed; this is a defect of tabagent");
        let (place, answer) = done.map_err(failed)?;
        predictions[place] = answer;
    }
    Ok(json_response(&json!({ "predictions": predictions })))
}

impl Paths {
    async fn answer(&self, instance: Value) -> Result<Value, ApiError> {
        let Value::Object(mut body) = instance else {
            return Err(ApiError::invalid("each of `instances` must be an object"));
        };
        let Some(Value::String(format)) = body.remove(FORMAT) else {
            let message = format!("each of `instances` must have a `{FORMAT}`, such as `chatCompletions`");
            return Err(ApiError::field(FORMAT, message));
        };
        let Some(path) = self.named.get(&format) else {
            let message =
                format!("`{FORMAT}` is `{format}`, which names no path; `/openapi.json` lists them");
            return Err(ApiError::field(FORMAT, message));
        };
        // An answer stands in a list with others.
        if body.contains_key("stream") {
            body.insert("stream".to_owned(), false.into());
        }
        let request = Request::post(*path)
            .header("content-type", "application/json")
            .body(Body::from(Value::Object(body).to_string()))
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let response = protocol::render(path, response);
        let whole = response.into_body().collect().await;
        let bytes = whole.map_err(|error| ApiError::invalid(error.to_string()))?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Ok(if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_words() {
        for (path, expected) in [
            ("/v1/chat/completions", "chatCompletions"),
            ("/apply-template", "applyTemplate"),
            ("/v1/messages/count_tokens", "messagesCountTokens"),
            ("/completion", "completion"),
            ("/slots/{id}", "slots"),
        ] {
            assert_eq!(words(path), expected);
        }
    }
}
