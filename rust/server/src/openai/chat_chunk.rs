//! What `/v1/chat/completions` answers with: a whole message, or chunks of one.

use std::sync::Arc;

use serde_json::{Value, json};
use tabagent_model::{ChatFinish, Delta, FinishReason, ParsedMessage};

use crate::llama_cpp::Told;
use crate::numbers::{logprobs, now, timings, usage};
use crate::random;
use crate::running::{Running, Whole};

/// What all parts of a response have.
pub(crate) struct Envelope {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    sampled: bool,
    /// What is told besides at the end, where the client wants that.
    pub(crate) verbose: Option<Box<Verbose>>,
}

/// What llama-server's `__verbose` tells of texts.
pub(crate) struct Verbose {
    told: Told,
    prompts: Vec<Arc<str>>,
    slots: Vec<usize>,
}

impl Verbose {
    /// Of texts that run, with their prompts.
    pub(crate) fn new(told: Told, prompts: Vec<Arc<str>>, running: &Running) -> Self {
        let slots = (0..running.len()).map(|index| running.part(index).slot()).collect();
        Self { told, prompts, slots }
    }

    fn of(&self, index: usize, finish: &ChatFinish) -> Value {
        let content = &finish.message.content;
        self.told.last((index, self.slots[index]), &self.prompts[index], finish, content)
    }
}

/// The version of what made a response; llama-server's begins with a `b`, too, and clients check it.
pub(crate) const FINGERPRINT: &str = concat!("b-tabagent-", env!("CARGO_PKG_VERSION"));

/// The ids of one choice's calls: the model's own, or made up.
#[derive(Default)]
pub(crate) struct CallIds(Vec<String>);

impl CallIds {
    fn set(&mut self, index: usize, id: Option<&String>) -> String {
        let id = id.cloned().unwrap_or_else(|| random::id("call_"));
        self.0.truncate(index);
        self.0.push(id.clone());
        id
    }
}

/// Why a choice ended, in OpenAI's words.
pub(crate) fn finish_reason(finish: &ChatFinish) -> &'static str {
    match finish.finish.reason {
        FinishReason::Length | FinishReason::Timeout => "length",
        _ if !finish.message.tool_calls.is_empty() => "tool_calls",
        _ => "stop",
    }
}

/// A message of the assistant.
pub(crate) fn message(parsed: &ParsedMessage) -> Value {
    let mut message = json!({"role": "assistant", "content": parsed.content, "refusal": null});
    if let Some(reasoning) = parsed.reasoning.as_ref().filter(|text| !text.is_empty()) {
        message["reasoning_content"] = reasoning.as_str().into();
    }
    if !parsed.tool_calls.is_empty() {
        if parsed.content.is_empty() {
            message["content"] = Value::Null;
        }
        let call = |call: &tabagent_model::ParsedCall| {
            let id = call.id.clone().unwrap_or_else(|| random::id("call_"));
            json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        };
        message["tool_calls"] = parsed.tool_calls.iter().map(call).collect();
    }
    message
}

/// A delta; `None` where it says nothing to a client.
fn delta(delta: &Delta, ids: &mut CallIds) -> Option<Value> {
    let call = |index: &usize, rest: Value| {
        let mut call = rest;
        call["index"] = (*index).into();
        json!({"tool_calls": [call]})
    };
    match delta {
        Delta::Content(text) => Some(json!({"content": text})),
        Delta::Reasoning(text) => Some(json!({"reasoning_content": text})),
        Delta::CallBegin { index, name, id } => {
            let id = ids.set(*index, id.as_ref());
            Some(call(
                index,
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}}),
            ))
        }
        Delta::CallArguments { index, text } => Some(call(index, json!({"function": {"arguments": text}}))),
        // The id was given with the name. Calls that were dropped cannot be taken back; their text follows as content.
        Delta::CallId { .. } | Delta::CallEnd { .. } | Delta::CallsDropped { .. } => None,
    }
}

impl Envelope {
    pub(crate) fn new(model: &str, include_usage: bool, sampled: bool) -> Self {
        Self {
            id: random::id("chatcmpl-"),
            model: model.to_owned(),
            created: now(),
            include_usage,
            sampled,
            verbose: None,
        }
    }

    fn wrap(&self, object: &str, choices: Value) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        });
        response["choices"] = choices;
        response
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.wrap("chat.completion.chunk", choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn choice(index: usize, delta: Value) -> Value {
        let mut choice = json!({"index": index, "finish_reason": null});
        choice["delta"] = delta;
        Value::Array(vec![choice])
    }

    /// The first chunk of a choice.
    pub(crate) fn first(&self, index: usize) -> Value {
        self.chunk(Self::choice(index, json!({"role": "assistant", "content": null})))
    }

    /// How far the prompt of a choice has come.
    pub(crate) fn progress(&self, index: usize, progress: Value, timings: Option<Value>) -> Value {
        let mut chunk = self.chunk(Self::choice(index, json!({})));
        chunk["prompt_progress"] = progress;
        if let Some(timings) = timings {
            chunk["timings"] = timings;
        }
        chunk
    }

    /// The chunks of an event. Probabilities of tokens come with the last of them, or by themselves.
    pub(crate) fn event(
        &self,
        index: usize,
        event: &tabagent_model::ChatEvent,
        ids: &mut CallIds,
    ) -> Vec<Value> {
        let deltas = event.deltas.iter().filter_map(|part| delta(part, ids));
        let mut chunks: Vec<Value> = deltas.map(|delta| self.chunk(Self::choice(index, delta))).collect();
        if !event.logprobs.is_empty() {
            if chunks.is_empty() {
                chunks.push(self.chunk(Self::choice(index, json!({}))));
            }
            if let Some(last) = chunks.last_mut() {
                last["choices"][0]["logprobs"] = json!({"content": logprobs(&event.logprobs, self.sampled)});
            }
        }
        chunks
    }

    /// The last chunk of a choice.
    pub(crate) fn last(&self, index: usize, finish: &ChatFinish) -> Value {
        let mut chunk =
            self.chunk(json!([{"index": index, "delta": {}, "finish_reason": finish_reason(finish)}]));
        chunk["timings"] = timings(&finish.finish.usage, &finish.finish.timings);
        if let Some(verbose) = &self.verbose {
            chunk["__verbose"] = verbose.of(index, finish);
        }
        chunk
    }

    /// The chunk after the last, if the client wants it.
    pub(crate) fn usage(&self, finished: &[ChatFinish]) -> Option<Value> {
        let first = finished.first().filter(|_| self.include_usage)?;
        let mut chunk = self.wrap("chat.completion.chunk", json!([]));
        chunk["usage"] = usage_of_choices(finished);
        chunk["timings"] = timings(&first.finish.usage, &first.finish.timings);
        Some(chunk)
    }

    /// A whole response.
    pub(crate) fn whole(&self, choices: &[Whole]) -> Value {
        let choice = |(index, whole): (usize, &Whole)| {
            let mut choice = json!({
                "index": index,
                "message": message(&whole.finish.message),
                "finish_reason": finish_reason(&whole.finish),
                "logprobs": null,
            });
            if !whole.logprobs.is_empty() {
                choice["logprobs"] =
                    json!({"content": logprobs(&whole.logprobs, self.sampled), "refusal": null});
            }
            choice
        };
        let mut response = self.wrap("chat.completion", choices.iter().enumerate().map(choice).collect());
        let finished: Vec<ChatFinish> = choices.iter().map(|whole| whole.finish.clone()).collect();
        response["usage"] = usage_of_choices(&finished);
        if let Some(first) = finished.first() {
            response["timings"] = timings(&first.finish.usage, &first.finish.timings);
            if let Some(verbose) = &self.verbose {
                response["__verbose"] = verbose.of(0, first);
            }
        }
        response
    }
}

/// Tokens of all choices; their prompt counts once.
pub(crate) fn usage_of_choices(finished: &[ChatFinish]) -> Value {
    let mut counted: Vec<_> = finished.iter().map(|finish| finish.finish.usage).collect();
    for other in counted.iter_mut().skip(1) {
        (other.prompt_tokens, other.cached_tokens) = (0, 0);
    }
    usage(&counted)
}
