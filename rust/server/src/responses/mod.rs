//! OpenAI's Responses: `/v1/responses`.

mod body;
mod input;
mod output;
mod response;
mod schema;
mod store;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{ChatEvent, ChatFinish};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::fields::JsonFields;
use crate::numbers::timings;
use crate::openai::{self, so_far};
use crate::openapi::{About, Endpoints};
use crate::place::Place;
use crate::protocol::{Protocol, plain_status};
use crate::running::{Running, Step};
use crate::stream_body::{Kind, Pieces, json as json_response, streamed};
use body::ResponsesBody;
use output::Output;
use response::Envelope;
use store::{Kept, Store};

/// OpenAI's clients that ask for responses.
pub(crate) const PROTOCOL: Protocol = Protocol {
    owns,
    routes,
    error: openai::error,
    status: plain_status,
    error_event: Some("event: error\n"),
};

fn owns(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path == "/responses" || path.starts_with("/responses/")
}

fn routes(_: &App) -> Endpoints {
    Endpoints::new("OpenAI")
        .post(
            &["/v1/responses", "/responses"],
            create,
            About::new("Answers items").reads::<schema::Create>().or_events(),
        )
        .post(
            &["/v1/responses/input_tokens", "/responses/input_tokens"],
            count,
            About::new("Counts the tokens of items").reads::<schema::Create>(),
        )
        .get(
            &["/v1/responses/{id}", "/responses/{id}"],
            retrieve,
            About::new("Gives a response that was kept"),
        )
        .delete(&["/v1/responses/{id}", "/responses/{id}"], delete, About::new("Forgets a response"))
        .get(
            &["/v1/responses/{id}/input_items", "/responses/{id}/input_items"],
            input_items,
            About::new("Lists what a response was given"),
        )
        .map(|router| router.layer(Extension(Arc::new(Store::default()))))
}

fn unknown(id: &str) -> ApiError {
    let message = format!(
        "Response with id '{id}' not found. This server keeps the last {} of them, those with `store` false not at all.",
        store::MOST
    );
    ApiError::new(Problem::NotFound, message)
}

/// Answers.
async fn create(
    State(app): State<App>,
    Extension(store): Extension<Arc<Store>>,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let shared = app.clone();
    let kept = Arc::clone(&store);
    let (running, envelope, stream) = app
        .work(move || {
            let body = ResponsesBody::read(fields, &shared, &served, &kept)?;
            let envelope = Envelope::new(&served.name, &body);
            let running = Running::chat(&shared, &served, body.request, 1, Place::default())?;
            Ok((running, envelope, body.stream))
        })
        .await?;
    if stream {
        let kind = Kind::Events { ping: app.settings.ping };
        return Ok(streamed(kind, move |pieces| write(pieces, running, envelope, store)));
    }
    let mut running = running;
    let mut output = Output::default();
    let mut finish = None;
    while let Some(step) = running.next().await {
        match step?.1 {
            Step::Event(event) => {
                output.event(&event);
            }
            Step::End(end) => {
                output.end(&end);
                finish = Some(end);
            }
        }
    }
    Ok(json_response(&ended(&envelope, &output, finish.as_ref(), &store)))
}

/// The response at its end, which is kept if it may be.
fn ended(envelope: &Envelope, output: &Output, finish: Option<&ChatFinish>, store: &Store) -> Value {
    let response = envelope.response(output.items(), finish);
    if envelope.stores {
        let items = envelope.input.iter().chain(output.items()).cloned().collect();
        store.keep(&envelope.id, Kept { items, given: envelope.given.clone(), response: response.clone() });
    }
    response
}

async fn write(mut pieces: Pieces, mut running: Running, envelope: Envelope, store: Arc<Store>) {
    let mut output = Output::default();
    for name in ["response.created", "response.in_progress"] {
        let event = output.numbered(name, json!({"response": envelope.response(&[], None)}));
        pieces.named_event(name, &event).await;
    }
    while let Some(step) = running.next().await {
        let made = match step {
            Ok((_, Step::Event(ChatEvent { prompt: Some(now), .. }))) => {
                for (progress, timings) in running.note_progress(0, now) {
                    let response = envelope.response(output.items(), None);
                    let name = "response.in_progress";
                    let mut data =
                        output.numbered(name, json!({"response": response, "prompt_progress": progress}));
                    if envelope.timings_per_token {
                        data["timings"] = timings;
                    }
                    pieces.named_event(name, &data).await;
                }
                continue;
            }
            Ok((_, Step::Event(event))) => {
                let mut made = output.event(&event);
                if envelope.timings_per_token {
                    for (_, data) in made.iter_mut().filter(|(_, data)| data.get("delta").is_some()) {
                        data["timings"] = so_far(&running, 0);
                    }
                }
                made
            }
            Ok((_, Step::End(finish))) => {
                let mut made = output.end(&finish);
                let response = ended(&envelope, &output, Some(&finish), &store);
                let name = if response["status"] == "incomplete" {
                    "response.incomplete"
                } else {
                    "response.completed"
                };
                let told = timings(&finish.finish.usage, &finish.finish.timings);
                made.push((name, output.numbered(name, json!({"response": response, "timings": told}))));
                made
            }
            Err(problem) => {
                let mut response = envelope.response(output.items(), None);
                response["status"] = "failed".into();
                response["error"] = json!({"code": "server_error", "message": problem.message});
                let name = "response.failed";
                vec![(name, output.numbered(name, json!({"response": response})))]
            }
        };
        for (name, data) in made {
            pieces.named_event(name, &data).await;
        }
    }
}

/// Counts the tokens of a prompt.
async fn count(
    State(app): State<App>,
    Extension(store): Extension<Arc<Store>>,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let shared = app.clone();
    let tokens = app
        .work(move || {
            let mut request = ResponsesBody::read(fields, &shared, &served, &store)?.request;
            // What the answer is held to does not change the prompt.
            request.structure = None;
            Ok(served.model.prepare_chat(request)?.prompt.tokens.len())
        })
        .await?;
    Ok(json_response(&json!({"object": "response.input_tokens", "input_tokens": tokens})))
}

/// A response that was kept.
async fn retrieve(
    Extension(store): Extension<Arc<Store>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let kept = store.find(&id).ok_or_else(|| unknown(&id))?;
    Ok(json_response(&kept.response))
}

/// Forgets a response.
async fn delete(
    Extension(store): Extension<Arc<Store>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if !store.forget(&id) {
        return Err(unknown(&id));
    }
    Ok(json_response(&json!({"id": id, "object": "response", "deleted": true})))
}

/// What a response was given, the last first.
async fn input_items(
    Extension(store): Extension<Arc<Store>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let kept = store.find(&id).ok_or_else(|| unknown(&id))?;
    let data: Vec<Value> = kept.given.iter().rev().cloned().collect();
    let edge = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(json_response(&json!({
        "object": "list", "data": data, "first_id": edge(data.first()), "last_id": edge(data.last()), "has_more": false,
    })))
}
