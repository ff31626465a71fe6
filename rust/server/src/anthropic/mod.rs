//! Anthropic's Messages: `/v1/messages` and `/v1/messages/count_tokens`.

mod body;
mod conversation;
mod events;
mod message;
mod schema;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::fields::JsonFields;
use crate::openapi::{About, Endpoints};
use crate::place::Place;
use crate::protocol::Protocol;
use crate::running::{Running, Step};
use crate::stream_body::{Kind, Pieces, json as json_response, streamed};
use body::MessagesBody;
use events::Events;
use message::Envelope;

/// The status of Anthropic's for too much to do.
const OVERLOADED: u16 = 529;

/// Anthropic's clients.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns, routes, error, status, error_event: Some("event: error\n") };

fn owns(path: &str) -> bool {
    path == "/v1/messages" || path.starts_with("/v1/messages/")
}

fn routes(_: &App) -> Endpoints {
    Endpoints::new("Anthropic")
        .post(
            &["/v1/messages"],
            create,
            About::new("Answers a conversation").reads::<schema::Create>().or_events(),
        )
        .post(
            &["/v1/messages/count_tokens"],
            count_tokens,
            About::new("Counts the tokens of a conversation").reads::<schema::Count>(),
        )
}

/// The kind of a problem in Anthropic's words.
fn error_type(problem: Problem) -> &'static str {
    match problem {
        Problem::Invalid
        | Problem::ContextFull { .. }
        | Problem::NotSupported
        | Problem::MethodNotAllowed
        | Problem::RequestTimeout => "invalid_request_error",
        Problem::Authentication => "authentication_error",
        Problem::Permission => "permission_error",
        Problem::NotFound | Problem::ModelNotFound => "not_found_error",
        Problem::TooLarge => "request_too_large",
        Problem::Overloaded | Problem::Unavailable => "overloaded_error",
        Problem::Internal => "api_error",
    }
}

/// Too much to do is 529 here, a status of Anthropic's own.
fn status(error: &ApiError) -> StatusCode {
    let own = matches!(error.problem, Problem::Overloaded | Problem::Unavailable)
        .then(|| StatusCode::from_u16(OVERLOADED).ok());
    own.flatten().unwrap_or_else(|| error.problem.status())
}

fn error(error: &ApiError) -> Value {
    let message = match error.problem {
        Problem::ContextFull { prompt, context } => {
            format!("prompt is too long: {prompt} tokens > {context} maximum")
        }
        _ => error.message.clone(),
    };
    json!({"type": "error", "error": {"type": error_type(error.problem), "message": message}})
}

/// Answers a conversation.
async fn create(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let name = fields.text("model")?.ok_or_else(|| body::missing("model"))?;
    let served = app.model(Some(&name)).await?;
    let shared = app.clone();
    let (running, envelope, stream) = app
        .work(move || {
            let body = MessagesBody::read(fields, &shared, &served)?;
            let envelope = Envelope::new(&served.name, &body);
            let running = Running::chat(&shared, &served, body.request, 1, Place::default())?;
            Ok((running, envelope, body.stream))
        })
        .await?;
    if stream {
        let kind = Kind::Events { ping: app.settings.ping };
        return Ok(streamed(kind, move |pieces| write(pieces, running, envelope)));
    }
    let whole = running.collect().await?;
    Ok(json_response(&whole.first().map_or(Value::Null, |whole| envelope.whole(&whole.finish))))
}

async fn write(mut pieces: Pieces, mut running: Running, envelope: Envelope) {
    let mut events = Events::new(envelope);
    let prompt_tokens = running.part(0).prompt.len();
    for (name, data) in events.start(prompt_tokens) {
        pieces.named_event(name, &data).await;
    }
    while let Some(step) = running.next().await {
        let made = match step {
            Ok((_, Step::Event(event))) => events.event(&event),
            Ok((_, Step::End(finish))) => events.end(&finish),
            Err(problem) => {
                pieces.named_event("error", &error(&problem)).await;
                return;
            }
        };
        for (name, data) in made {
            pieces.named_event(name, &data).await;
        }
    }
}

/// Counts the tokens of a prompt.
async fn count_tokens(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    // With one model every name means it, and llama-server's clients give none.
    let name = fields.text("model")?.filter(|name| !name.is_empty());
    if name.is_none() && !app.models.is_one() {
        return Err(body::missing("model"));
    }
    let served = app.model(name.as_deref()).await?;
    let shared = app.clone();
    let tokens = app
        .work(move || {
            let (mut request, _) = MessagesBody::read_prompt(&mut fields, &shared, &served)?;
            // What the answer is held to does not change the prompt.
            request.structure = None;
            Ok(served.model.prepare_chat(request)?.prompt.tokens.len())
        })
        .await?;
    Ok(json_response(&json!({"input_tokens": tokens})))
}
