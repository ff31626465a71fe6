//! A whole message as Anthropic's clients read it.

use serde_json::{Value, json};
use tabagent_model::{ChatFinish, FinishReason, ParsedMessage, StopMatch, Usage};

use super::body::MessagesBody;
use crate::random;

/// Stands where Anthropic proves that a thought is the model's own.
pub(crate) const SIGNATURE: &str = "tabagent";

/// What all parts of a response have.
#[derive(Debug)]
pub(crate) struct Envelope {
    id: String,
    model: String,
    pub(crate) hides_thoughts: bool,
    stop_sequences: Vec<String>,
    max_tokens: usize,
}

/// The id of a call: the model's own, or made up.
pub(crate) fn call_id(id: Option<&String>) -> String {
    id.cloned().unwrap_or_else(|| random::id("toolu_"))
}

impl Envelope {
    pub(crate) fn new(model: &str, body: &MessagesBody) -> Self {
        Self {
            id: random::id("msg_"),
            model: model.to_owned(),
            hides_thoughts: body.hides_thoughts,
            stop_sequences: body.stop_sequences.clone(),
            max_tokens: body.max_tokens,
        }
    }

    /// A message with this content, of which nothing is known yet but its prompt's tokens.
    pub(crate) fn message(&self, content: &Value, usage: &Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    /// The whole response.
    pub(crate) fn whole(&self, finish: &ChatFinish) -> Value {
        let mut message = self.message(&self.content(&finish.message), &usage(&finish.finish.usage));
        let (reason, sequence) = self.stop(finish);
        message["stop_reason"] = reason.into();
        message["stop_sequence"] = sequence;
        message
    }

    fn content(&self, message: &ParsedMessage) -> Value {
        let mut blocks = Vec::new();
        if let Some(thought) = message.reasoning.as_ref().filter(|thought| !thought.is_empty()) {
            let thought = if self.hides_thoughts { "" } else { thought.as_str() };
            blocks.push(json!({"type": "thinking", "thinking": thought, "signature": SIGNATURE}));
        }
        if !message.content.is_empty() {
            blocks.push(json!({"type": "text", "text": message.content}));
        }
        for call in &message.tool_calls {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
            blocks.push(json!({
                "type": "tool_use", "id": call_id(call.id.as_ref()), "name": call.name, "input": input,
            }));
        }
        blocks.into()
    }

    /// Why it ended, and the sequence that ended it.
    pub(crate) fn stop(&self, finish: &ChatFinish) -> (&'static str, Value) {
        match (&finish.finish.reason, &finish.finish.stop_match) {
            (FinishReason::Length, _) if finish.finish.usage.completion_tokens < self.max_tokens => {
                ("model_context_window_exceeded", Value::Null)
            }
            (FinishReason::Length | FinishReason::Timeout, _) => ("max_tokens", Value::Null),
            _ if !finish.message.tool_calls.is_empty() => ("tool_use", Value::Null),
            (_, Some(StopMatch::String(text))) if self.stop_sequences.contains(text) => {
                ("stop_sequence", text.as_str().into())
            }
            _ => ("end_turn", Value::Null),
        }
    }
}

/// Tokens; those that were decoded before count apart.
pub(crate) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}
