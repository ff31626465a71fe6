//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tabagent_model::{ChatEvent, ChatFinish, LogprobsMode};

use super::chat_chunk::{CallIds, Envelope, Verbose};
use super::{ChatBody, error};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::llama_cpp::{Told, texts_of};
use crate::numbers::{predicted, rate};
use crate::place::Place;
use crate::running::{Running, Step};
use crate::stream_body::{Kind, Pieces, json, streamed};

/// Answers a conversation.
pub(crate) async fn complete(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let place = Place::read(&mut fields, &served).await?;
    let shared = app.clone();
    let model = Arc::clone(&served);
    let (running, envelope, stream, per_token) = app
        .work(move || {
            let body = ChatBody::read(fields, &shared, &model)?;
            let sampled = body.request.options.logprobs_mode == LogprobsMode::Sampled;
            let mut envelope = Envelope::new(&model.name, body.include_usage, sampled);
            let options = body.verbose.then(|| body.request.options.clone());
            let running = Running::chat(&shared, &model, body.request, body.n, place)?;
            if let Some(options) = options {
                let told = Told::new(&model, options, body.stream)?;
                envelope.verbose = Some(Box::new(Verbose::new(told, texts_of(&model, &running)?, &running)));
            }
            Ok((running, envelope, body.stream, body.timings_per_token))
        })
        .await?;
    if !stream {
        return Ok(json(&envelope.whole(&running.collect().await?)));
    }
    let kind = Kind::Events { ping: app.settings.ping };
    Ok(streamed(kind, move |pieces| write(pieces, running, envelope, per_token)))
}

/// Counts the tokens of a prompt, as llama-server does.
pub(crate) async fn count(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let shared = app.clone();
    let tokens = app
        .work(move || {
            let mut request = ChatBody::read(fields, &shared, &served)?.request;
            // What the answer is held to does not change the prompt.
            request.structure = None;
            Ok(served.model.prepare_chat(request)?.prompt.tokens.len())
        })
        .await?;
    Ok(json(&serde_json::json!({"object": "response.input_tokens", "input_tokens": tokens})))
}

async fn write(mut pieces: Pieces, mut running: Running, envelope: Envelope, per_token: bool) {
    let n = running.len();
    let mut ids: Vec<CallIds> = (0..n).map(|_| CallIds::default()).collect();
    let mut begun = vec![false; n];
    let mut finished: Vec<Option<ChatFinish>> = vec![None; n];
    while let Some(step) = running.next().await {
        let (index, step) = match step {
            Ok(step) => step,
            Err(problem) => {
                pieces.event(&error(&problem)).await;
                return;
            }
        };
        if !std::mem::replace(&mut begun[index], true) {
            pieces.event(&envelope.first(index)).await;
        }
        match step {
            Step::Event(ChatEvent { prompt: Some(now), .. }) => {
                for (progress, timings) in running.note_progress(index, now) {
                    pieces.event(&envelope.progress(index, progress, per_token.then_some(timings))).await;
                }
            }
            Step::Event(event) => {
                let mut chunks = envelope.event(index, &event, &mut ids[index]);
                if let Some(last) = chunks.last_mut().filter(|_| per_token) {
                    last["timings"] = so_far(&running, index);
                }
                for chunk in &chunks {
                    pieces.event(chunk).await;
                }
            }
            Step::End(finish) => {
                pieces.event(&envelope.last(index, &finish)).await;
                finished[index] = Some(finish);
            }
        }
    }
    let finished: Vec<ChatFinish> = finished.into_iter().flatten().collect();
    if let Some(usage) = envelope.usage(&finished) {
        pieces.event(&usage).await;
    }
    pieces.write("data: [DONE]\n\n").await;
}

/// llama.cpp's `timings` in the middle of a text.
pub(crate) fn so_far(running: &Running, index: usize) -> serde_json::Value {
    let part = running.part(index);
    let first = part.first.unwrap_or(running.began);
    let mut timings = serde_json::json!({"cache_n": 0});
    rate(&mut timings, "prompt", part.prompt.len(), (first - running.began).as_secs_f64());
    predicted(&mut timings, part.decoded, first.elapsed().as_secs_f64());
    timings
}
