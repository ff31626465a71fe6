//! Answers in Ollama's shape: a line for each piece, and a last one with counts and times, or all of it as one object.

use std::time::{Duration, Instant, SystemTime};

use axum::response::Response;
use serde_json::{Map, Value, json};
use tabagent_model::{ChatEvent, ChatFinish, Delta, FinishReason, ParsedCall, TokenId, TokenLogprob};

use super::error;
use super::moment::{nanoseconds, rfc3339};
use crate::app::App;
use crate::error::ApiError;
use crate::numbers::finite;
use crate::running::{Running, Step};
use crate::stream_body::{Kind, Pieces, json as json_response, streamed};

/// What asks: `/api/generate` has texts, `/api/chat` messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Generate {
        /// The tokens of prompt and answer come at the end.
        gives_context: bool,
    },
    Chat,
}

/// What all lines have.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) model: String,
    pub(crate) shape: Shape,
    pub(crate) began: Instant,
    /// How long the model took to be there.
    pub(crate) load: Duration,
}

/// A call that is being written.
#[derive(Debug, Default)]
struct Call {
    name: String,
    id: Option<String>,
    arguments: String,
}

impl Envelope {
    fn line(&self) -> Value {
        json!({"model": self.model, "created_at": rfc3339(SystemTime::now())})
    }

    /// A line with more of the text.
    fn piece(&self, content: &str, thinking: &str, calls: &[Value]) -> Value {
        let mut line = self.line();
        match self.shape {
            Shape::Generate { .. } => {
                line["response"] = content.into();
                if !thinking.is_empty() {
                    line["thinking"] = thinking.into();
                }
            }
            Shape::Chat => {
                let mut message = json!({"role": "assistant", "content": content});
                if !thinking.is_empty() {
                    message["thinking"] = thinking.into();
                }
                if !calls.is_empty() {
                    message["tool_calls"] = calls.into();
                }
                line["message"] = message;
            }
        }
        line["done"] = false.into();
        line
    }

    /// An answer without a text: the model is there, or need not be.
    pub(crate) fn empty(&self, reason: &str) -> Value {
        let mut line = self.piece("", "", &[]);
        line["done"] = true.into();
        line["done_reason"] = reason.into();
        line
    }

    /// Has the model closed once it is idle. One that stays for others' sake is there all the same.
    pub(crate) fn unload(&self, app: &App) -> Result<Response, ApiError> {
        let entry = app.models.find(Some(&self.model))?;
        app.models.unload(&entry.name);
        Ok(json_response(&self.empty("unload")))
    }

    /// Adds how it ended.
    fn finish(&self, line: &mut Value, finish: &ChatFinish, prompt: &[TokenId], tokens: &[TokenId]) {
        let (usage, timings) = (&finish.finish.usage, &finish.finish.timings);
        line["done"] = true.into();
        line["done_reason"] = match finish.finish.reason {
            FinishReason::Length | FinishReason::Timeout => "length",
            _ => "stop",
        }
        .into();
        if self.shape == (Shape::Generate { gives_context: true }) {
            line["context"] = prompt.iter().chain(tokens).copied().collect();
        }
        line["total_duration"] = nanoseconds(self.began.elapsed()).into();
        line["load_duration"] = nanoseconds(self.load).into();
        line["prompt_eval_count"] = usage.prompt_tokens.into();
        line["prompt_eval_duration"] = nanoseconds(timings.prompt).into();
        line["eval_count"] = usage.completion_tokens.into();
        line["eval_duration"] = nanoseconds(timings.decode).into();
    }

    /// The response to a request that runs.
    pub(crate) async fn respond(self, running: Running, stream: bool) -> Result<Response, ApiError> {
        if stream {
            return Ok(streamed(Kind::Lines, move |pieces| write(pieces, running, self)));
        }
        let prompt = std::sync::Arc::clone(&running.part(0).prompt);
        let whole = running.collect().await?;
        let Some(whole) = whole.first() else { return Ok(json_response(&self.empty("stop"))) };
        let message = &whole.finish.message;
        let calls: Vec<Value> =
            message.tool_calls.iter().enumerate().map(|(at, call)| written(at, call)).collect();
        let mut line = self.piece(&message.content, message.reasoning.as_deref().unwrap_or_default(), &calls);
        if !whole.logprobs.is_empty() {
            line["logprobs"] = logprobs(&whole.logprobs);
        }
        self.finish(&mut line, &whole.finish, &prompt, &whole.tokens);
        Ok(json_response(&line))
    }
}

async fn write(mut pieces: Pieces, mut running: Running, envelope: Envelope) {
    let prompt = std::sync::Arc::clone(&running.part(0).prompt);
    let (mut tokens, mut given, mut call) = (Vec::new(), 0, Call::default());
    while let Some(step) = running.next().await {
        match step {
            Ok((_, Step::Event(event))) => {
                tokens.extend(&event.token_ids);
                if let Some(line) = event_line(&envelope, &event, &mut given, &mut call) {
                    pieces.line(&line).await;
                }
            }
            Ok((_, Step::End(finish))) => {
                let mut line = envelope.piece("", "", &[]);
                envelope.finish(&mut line, &finish, &prompt, &tokens);
                pieces.line(&line).await;
            }
            Err(problem) => {
                pieces.line(&error(&problem)).await;
                return;
            }
        }
    }
}

/// The line of an event; `None` if it says nothing. Calls come whole.
fn event_line(envelope: &Envelope, event: &ChatEvent, given: &mut usize, call: &mut Call) -> Option<Value> {
    let (mut content, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for delta in &event.deltas {
        match delta {
            Delta::Content(text) => content.push_str(text),
            Delta::Reasoning(text) => thinking.push_str(text),
            Delta::CallBegin { name, id, .. } => {
                *call = Call { name: name.clone(), id: id.clone(), arguments: String::new() };
            }
            Delta::CallId { id, .. } => call.id = Some(id.clone()),
            Delta::CallArguments { text, .. } => call.arguments.push_str(text),
            Delta::CallEnd { .. } => {
                let Call { name, id, arguments } = std::mem::take(call);
                calls.push(written(*given, &ParsedCall { id, name, arguments }));
                *given += 1;
            }
            // Only whole calls were given.
            Delta::CallsDropped { .. } => *call = Call::default(),
        }
    }
    if content.is_empty() && thinking.is_empty() && calls.is_empty() && event.logprobs.is_empty() {
        return None;
    }
    let mut line = envelope.piece(&content, &thinking, &calls);
    if !event.logprobs.is_empty() {
        line["logprobs"] = logprobs(&event.logprobs);
    }
    Some(line)
}

fn written(index: usize, call: &ParsedCall) -> Value {
    let arguments: Value =
        serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::Object(Map::new()));
    let mut written = json!({"function": {"index": index, "name": call.name, "arguments": arguments}});
    if let Some(id) = &call.id {
        written["id"] = id.as_str().into();
    }
    written
}

fn logprobs(tokens: &[TokenLogprob]) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entry = |token: &TokenLogprob| {
        let mut entry =
            json!({"token": text(&token.bytes), "logprob": finite(token.logprob), "bytes": token.bytes});
        if !token.top.is_empty() {
            let top = token.top.iter().map(
                |top| json!({"token": text(&top.bytes), "logprob": finite(top.logprob), "bytes": top.bytes}),
            );
            entry["top_logprobs"] = top.collect();
        }
        entry
    };
    tokens.iter().map(entry).collect()
}
