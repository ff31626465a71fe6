//! Conversations whose rendering shows how a template writes messages.

use crate::capabilities::LIMITS;
use crate::{ChatTemplate, Conversation, Message, ToolDefinition};
use serde_json::{Map, Value, json};

pub(super) const USER: &str = "USERTEXT";
/// What the user says next.
const NEXT: &str = "NEXTTEXT";
pub(super) const CONTENT: &str = "CONTENTTEXT";
pub(super) const REASONING: &str = "REASONINGTEXT";
pub(super) const NAMES: [&str; 2] = ["fnalpha", "fnbravo"];
pub(super) const KEYS: [&str; 3] = ["keyone", "keytwo", "keythree"];
pub(super) const VALUES: [&str; 3] = ["valone", "valtwo", "valthree"];
/// Nine characters, as Mistral's templates ask for.
pub(super) const IDS: [&str; 2] = ["callid001", "callid002"];

/// A template that is asked how it writes.
pub(super) struct Probe<'t> {
    pub(super) template: &'t ChatTemplate,
    /// The prompt without an answer.
    base: String,
    /// What the template adds for an answer to begin.
    pub(super) generation: String,
    /// Variables that have the template write reasoning.
    variables: Map<String, Value>,
}

/// What an answer in a probe has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    pub(super) has_content: bool,
    pub(super) has_reasoning: bool,
    pub(super) calls: usize,
    /// Whether arguments are given as text.
    pub(super) arguments_text: bool,
    /// Whether the values are numbers.
    pub(super) numbers: bool,
}

impl<'t> Probe<'t> {
    pub(super) fn new(template: &'t ChatTemplate, thinks: bool) -> Self {
        let mut variables = Map::new();
        if thinks {
            for name in ["enable_thinking", "thinking", "keep_past_thinking", "preserve_thinking"] {
                variables.insert(name.to_owned(), true.into());
            }
        }
        let mut probe = Self { template, base: String::new(), generation: String::new(), variables };
        let user = vec![Message::user(USER)];
        probe.base = probe.render(user.clone(), false).unwrap_or_default();
        let prompt = probe.render(user, true).unwrap_or_default();
        after_base(&probe.base, &prompt).clone_into(&mut probe.generation);
        probe
    }

    /// What the template writes for an answer; `None` if it refuses.
    pub(super) fn answer(&self, answer: Answer) -> Option<String> {
        let whole = self.render(vec![Message::user(USER), message(answer)], false)?;
        Some(after_base(&self.base, &whole).to_owned())
    }

    /// As [`answer`](Self::answer), with the next turn of the user behind it.
    pub(super) fn followed(&self, answer: Answer) -> Option<String> {
        let messages = vec![Message::user(USER), message(answer), Message::user(NEXT)];
        Some(after_base(&self.base, self.render(messages, false)?.split(NEXT).next()?).to_owned())
    }

    fn render(&self, messages: Vec<Message>, adds_prompt: bool) -> Option<String> {
        let mut conversation = Conversation::new(messages)
            .with_tools(tools())
            .with_generation_prompt(adds_prompt)
            .with_adapt(false);
        conversation.variables.clone_from(&self.variables);
        conversation.limits = LIMITS;
        self.template.render(&conversation).ok()
    }
}

fn message(answer: Answer) -> Message {
    let mut message = Message::assistant(if answer.has_content { CONTENT } else { "" });
    if answer.has_reasoning {
        message = message.with_reasoning(REASONING);
        message.set("reasoning", REASONING);
    }
    if answer.calls > 0 {
        let calls: Vec<Value> = (0..answer.calls).map(|index| call(index, answer)).collect();
        message.set("tool_calls", calls);
    }
    message
}

/// What a prompt has after the one without an answer.
fn after_base<'a>(base: &str, whole: &'a str) -> &'a str {
    if let Some(rest) = whole.strip_prefix(base) {
        return rest;
    }
    // The template wrote something else before: at least everything up to the user's text is the same.
    let from = whole.rfind(USER).map_or(0, |place| place + USER.len());
    let base_from = base.rfind(USER).map_or(base.len(), |place| place + USER.len());
    &whole[from + super::pieces::common_prefix(&base[base_from..], &whole[from..])..]
}

fn call(index: usize, answer: Answer) -> Value {
    let value =
        |place: usize| if answer.numbers { Value::from(7001 + place) } else { Value::from(VALUES[place]) };
    let mut arguments = Map::new();
    let places: &[usize] = if index == 0 { &[0, 1] } else { &[2] };
    for place in places {
        arguments.insert(KEYS[*place].to_owned(), value(*place));
    }
    let arguments = Value::Object(arguments);
    let arguments = if answer.arguments_text { Value::from(arguments.to_string()) } else { arguments };
    json!({"type": "function", "function": {"name": NAMES[index], "arguments": arguments}, "id": IDS[index]})
}

fn tools() -> Vec<ToolDefinition> {
    let parameters = |keys: &[&str]| {
        let properties: Map<String, Value> = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!({"type": "string", "description": "A text."})))
            .collect();
        json!({"type": "object", "properties": properties, "required": keys, "additionalProperties": false})
    };
    vec![
        ToolDefinition::new(NAMES[0], "Does something.", parameters(&KEYS[..2])),
        ToolDefinition::new(NAMES[1], "Does something else.", parameters(&KEYS[2..])),
    ]
}
