//! The events of a message that is being written.

use serde_json::{Value, json};
use tabagent_model::{ChatEvent, ChatFinish, Delta};

use super::message::{Envelope, SIGNATURE, call_id, usage};

/// An event: its name, and its data.
pub(crate) type Event = (&'static str, Value);

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call,
}

/// Makes events of deltas: every block begins, grows and ends.
#[derive(Debug)]
pub(crate) struct Events {
    envelope: Envelope,
    open: Option<Block>,
    /// The place of the block that is open, or that comes next.
    index: usize,
}

impl Events {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self { envelope, open: None, index: 0 }
    }

    /// What comes first.
    pub(crate) fn start(&self, prompt_tokens: usize) -> Vec<Event> {
        let usage = json!({
            "input_tokens": prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        let message = self.envelope.message(&json!([]), &usage);
        vec![
            ("message_start", json!({"type": "message_start", "message": message})),
            ("ping", json!({"type": "ping"})),
        ]
    }

    /// What an event of the model adds.
    pub(crate) fn event(&mut self, event: &ChatEvent) -> Vec<Event> {
        let mut made = Vec::new();
        for delta in &event.deltas {
            self.delta(delta, &mut made);
        }
        made
    }

    /// What comes last.
    pub(crate) fn end(&mut self, finish: &ChatFinish) -> Vec<Event> {
        let mut made = Vec::new();
        self.close(&mut made);
        let (reason, sequence) = self.envelope.stop(finish);
        made.push((
            "message_delta",
            json!({
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": sequence},
                "usage": usage(&finish.finish.usage),
            }),
        ));
        made.push(("message_stop", json!({"type": "message_stop"})));
        made
    }

    fn delta(&mut self, delta: &Delta, made: &mut Vec<Event>) {
        match delta {
            Delta::Content(text) => {
                self.open(Block::Text, || json!({"type": "text", "text": ""}), made);
                self.grow(&json!({"type": "text_delta", "text": text}), made);
            }
            Delta::Reasoning(text) => {
                let begin = || json!({"type": "thinking", "thinking": "", "signature": ""});
                self.open(Block::Thinking, begin, made);
                if !self.envelope.hides_thoughts {
                    self.grow(&json!({"type": "thinking_delta", "thinking": text}), made);
                }
            }
            Delta::CallBegin { name, id, .. } => {
                self.close(made);
                let begin =
                    || json!({"type": "tool_use", "id": call_id(id.as_ref()), "name": name, "input": {}});
                self.open(Block::Call, begin, made);
            }
            Delta::CallArguments { text, .. } => {
                self.grow(&json!({"type": "input_json_delta", "partial_json": text}), made);
            }
            // Calls that were dropped cannot be taken back; their text follows as a block of its own.
            Delta::CallEnd { .. } | Delta::CallsDropped { .. } => self.close(made),
            // The id was given when the block began.
            Delta::CallId { .. } => {}
        }
    }

    fn open(&mut self, block: Block, begin: impl FnOnce() -> Value, made: &mut Vec<Event>) {
        if self.open == Some(block) && block != Block::Call {
            return;
        }
        self.close(made);
        self.open = Some(block);
        made.push((
            "content_block_start",
            json!({"type": "content_block_start", "index": self.index, "content_block": begin()}),
        ));
    }

    fn grow(&self, delta: &Value, made: &mut Vec<Event>) {
        let data = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        made.push(("content_block_delta", data));
    }

    fn close(&mut self, made: &mut Vec<Event>) {
        let Some(block) = self.open.take() else { return };
        if block == Block::Thinking {
            self.grow(&json!({"type": "signature_delta", "signature": SIGNATURE}), made);
        }
        made.push(("content_block_stop", json!({"type": "content_block_stop", "index": self.index})));
        self.index += 1;
    }
}
