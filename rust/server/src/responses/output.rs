//! The items of a response while they are written, and the events that tell of them.

use serde_json::{Value, json};
use tabagent_model::{ChatEvent, ChatFinish, Delta, FinishReason, TokenLogprob};

use crate::numbers::finite;
use crate::random;

/// An event: its name, and its data.
pub(crate) type Event = (&'static str, Value);

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call,
}

/// An item that is being written.
#[derive(Debug)]
struct Open {
    kind: Kind,
    id: String,
    text: String,
    logprobs: Vec<Value>,
}

/// The output so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    items: Vec<Value>,
    open: Option<Open>,
    sequence: u64,
}

impl Output {
    /// The items, the one that is open left out.
    pub(crate) fn items(&self) -> &[Value] {
        &self.items[..self.items.len() - usize::from(self.open.is_some())]
    }

    /// An event's data, with its name and number.
    pub(crate) fn numbered(&mut self, name: &str, mut data: Value) -> Value {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        data
    }

    /// What an event of the model adds.
    pub(crate) fn event(&mut self, event: &ChatEvent) -> Vec<Event> {
        let mut made = Vec::new();
        let mut probabilities: Vec<Value> = event.logprobs.iter().map(logprob).collect();
        for delta in &event.deltas {
            match delta {
                Delta::Content(text) => {
                    self.grow(Kind::Message, text, &std::mem::take(&mut probabilities), &mut made);
                }
                Delta::Reasoning(text) => self.grow(Kind::Reasoning, text, &[], &mut made),
                Delta::CallBegin { name, id, .. } => {
                    self.close("completed", &mut made);
                    let call = id.clone().unwrap_or_else(|| random::id("call_"));
                    self.begin(
                        Kind::Call,
                        json!({"call_id": call, "name": name, "arguments": ""}),
                        &mut made,
                    );
                }
                Delta::CallArguments { text, .. } => self.grow(Kind::Call, text, &[], &mut made),
                Delta::CallEnd { .. } => self.close("completed", &mut made),
                // It cannot be taken back; its text follows as a message.
                Delta::CallsDropped { .. } => self.close("incomplete", &mut made),
                // The id was given when the item began.
                Delta::CallId { .. } => {}
            }
        }
        made
    }

    /// What comes last.
    pub(crate) fn end(&mut self, finish: &ChatFinish) -> Vec<Event> {
        let mut made = Vec::new();
        let cut = matches!(finish.finish.reason, FinishReason::Length | FinishReason::Timeout);
        self.close(if cut { "incomplete" } else { "completed" }, &mut made);
        made
    }

    fn place(&self) -> usize {
        self.items.len() - 1
    }

    fn push(&mut self, name: &'static str, mut data: Value, made: &mut Vec<Event>) {
        data["output_index"] = self.place().into();
        let data = self.numbered(name, data);
        made.push((name, data));
    }

    fn begin(&mut self, kind: Kind, facts: Value, made: &mut Vec<Event>) {
        let (prefix, mut item) = match kind {
            Kind::Message => ("msg_", json!({"type": "message", "role": "assistant", "content": []})),
            Kind::Reasoning => ("rs_", json!({"type": "reasoning", "summary": [], "content": []})),
            Kind::Call => ("fc_", json!({"type": "function_call"})),
        };
        let id = random::id(prefix);
        item["id"] = id.as_str().into();
        item["status"] = "in_progress".into();
        if let (Value::Object(item), Value::Object(facts)) = (&mut item, facts) {
            item.extend(facts);
        }
        self.items.push(item.clone());
        self.push("response.output_item.added", json!({"item": item}), made);
        if let Some(part) = part(kind, "", &[]) {
            self.push(
                "response.content_part.added",
                json!({"item_id": id, "content_index": 0, "part": part}),
                made,
            );
        }
        self.open = Some(Open { kind, id, text: String::new(), logprobs: Vec::new() });
    }

    fn grow(&mut self, kind: Kind, text: &str, logprobs: &[Value], made: &mut Vec<Event>) {
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.close("completed", made);
            if kind == Kind::Call {
                return;
            }
            self.begin(kind, json!({}), made);
        }
        let Some(open) = &mut self.open else { return };
        open.text.push_str(text);
        open.logprobs.extend_from_slice(logprobs);
        let id = open.id.clone();
        match kind {
            Kind::Message => {
                let data = json!({"item_id": id, "content_index": 0, "delta": text, "logprobs": logprobs});
                self.push("response.output_text.delta", data, made);
            }
            Kind::Reasoning => {
                let data = json!({"item_id": id, "content_index": 0, "delta": text});
                self.push("response.reasoning_text.delta", data, made);
            }
            Kind::Call => {
                self.push(
                    "response.function_call_arguments.delta",
                    json!({"item_id": id, "delta": text}),
                    made,
                );
            }
        }
    }

    fn close(&mut self, status: &str, made: &mut Vec<Event>) {
        let Some(open) = self.open.take() else { return };
        let place = self.place();
        let Open { kind, id, text, logprobs } = open;
        let part = part(kind, &text, &logprobs);
        match kind {
            Kind::Message => {
                let data = json!({"item_id": id, "content_index": 0, "text": text, "logprobs": logprobs});
                self.push("response.output_text.done", data, made);
            }
            Kind::Reasoning => {
                let data = json!({"item_id": id, "content_index": 0, "text": text});
                self.push("response.reasoning_text.done", data, made);
            }
            Kind::Call => {
                let name = self.items[place]["name"].clone();
                let data = json!({"item_id": id, "name": name, "arguments": text});
                self.push("response.function_call_arguments.done", data, made);
                self.items[place]["arguments"] = text.into();
            }
        }
        if let Some(part) = part {
            let data = json!({"item_id": id, "content_index": 0, "part": part});
            self.push("response.content_part.done", data, made);
            self.items[place]["content"] = json!([part]);
        }
        self.items[place]["status"] = status.into();
        let item = self.items[place].clone();
        self.push("response.output_item.done", json!({"item": item}), made);
    }
}

/// The part that an item consists of; calls have none.
fn part(kind: Kind, text: &str, logprobs: &[Value]) -> Option<Value> {
    match kind {
        Kind::Message => {
            Some(json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}))
        }
        Kind::Reasoning => Some(json!({"type": "reasoning_text", "text": text})),
        Kind::Call => None,
    }
}

fn logprob(token: &TokenLogprob) -> Value {
    let entry = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": finite(logprob)});
    let mut written = entry(&token.bytes, token.logprob);
    written["top_logprobs"] = token.top.iter().map(|top| entry(&top.bytes, top.logprob)).collect();
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(deltas: Vec<Delta>) -> ChatEvent {
        ChatEvent { deltas, ..ChatEvent::default() }
    }

    #[test]
    fn items_begin_grow_and_end() {
        let mut output = Output::default();
        let mut made = output.event(&event(vec![Delta::Reasoning("hm".into()), Delta::Content("a".into())]));
        made.extend(output.event(&event(vec![
            Delta::Content("b".into()),
            Delta::CallBegin { index: 0, name: "f".into(), id: None },
            Delta::CallArguments { index: 0, text: "{}".into() },
            Delta::CallEnd { index: 0 },
        ])));
        let names: Vec<&str> = made.iter().map(|(name, _)| name.trim_start_matches("response.")).collect();
        assert_eq!(
            names,
            [
                "output_item.added",
                "content_part.added",
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
            ]
        );
        for (number, (name, data)) in made.iter().enumerate() {
            assert_eq!(
                (data["sequence_number"].as_u64(), data["type"].as_str()),
                (Some(number as u64), Some(*name))
            );
        }
        let items = output.items();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0]["content"][0]["text"], "hm");
        assert_eq!(items[1]["content"][0]["text"], "ab");
        assert_eq!(
            (&items[2]["name"], &items[2]["arguments"], &items[2]["status"]),
            (&json!("f"), &json!("{}"), &json!("completed"))
        );
    }
}
