//! A response as OpenAI's clients read it.

use serde_json::{Value, json};
use tabagent_model::{ChatFinish, FinishReason};

use super::body::ResponsesBody;
use crate::numbers::now;
use crate::random;

/// What a response has beside its output.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    model: String,
    created: u64,
    /// All items that it was given, those of earlier responses included.
    pub(crate) input: Vec<Value>,
    /// Those that came with the request.
    pub(crate) given: Vec<Value>,
    pub(crate) stores: bool,
    echoed: Vec<(&'static str, Value)>,
    max_tokens: Option<usize>,
    pub(crate) timings_per_token: bool,
}

impl Envelope {
    pub(crate) fn new(model: &str, body: &ResponsesBody) -> Self {
        Self {
            id: random::id("resp_"),
            model: model.to_owned(),
            created: now(),
            input: body.items.clone(),
            given: body.given.clone(),
            stores: body.stores,
            echoed: body.echoed.clone(),
            max_tokens: body.max_tokens,
            timings_per_token: body.timings_per_token,
        }
    }

    /// The response with these items, running or at its end.
    pub(crate) fn response(&self, output: &[Value], finish: Option<&ChatFinish>) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": self.max_tokens,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": self.stores,
            "temperature": null,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": null,
            "user": null,
        });
        for (name, value) in &self.echoed {
            response[*name] = value.clone();
        }
        let Some(finish) = finish else { return response };
        let cut = matches!(finish.finish.reason, FinishReason::Length | FinishReason::Timeout);
        response["status"] = if cut { "incomplete" } else { "completed" }.into();
        if cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        } else {
            response["completed_at"] = now().into();
        }
        let usage = &finish.finish.usage;
        response["usage"] = json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        });
        response
    }
}
