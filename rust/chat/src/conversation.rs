//! What a template is rendered with.

use serde_json::{Map, Value};

use crate::interrupt::Interrupt;
use crate::jinja::{Limits, Moment};
use crate::message::Message;
use crate::tool::ToolDefinition;

/// Messages and everything else that a template is given.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    /// The tools that the model may call; templates tell no tools from an empty list.
    pub tools: Option<Vec<ToolDefinition>>,
    /// Documents to answer from, with `title` and `text`.
    pub documents: Option<Vec<Value>>,
    /// Whether the prompt ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// The field of the last message that the model goes on with: `content` or the reasoning.
    pub continue_final_message: Option<String>,
    /// Whether roles that the template lacks are made up for; without it the template gets the conversation as it is.
    pub adapt: bool,
    /// The date that the template sees.
    pub now: Option<Moment>,
    /// Further variables: `enable_thinking`, `reasoning_effort` and whatever else the template reads.
    pub variables: Map<String, Value>,
    /// What the render may use.
    pub limits: Limits,
    /// Who may end the render before it has come to its end.
    pub interrupt: Option<Interrupt>,
}

impl Conversation {
    /// A conversation that waits for an answer.
    pub fn new(messages: Vec<Message>) -> Self {
        Self {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: true,
            continue_final_message: None,
            adapt: true,
            now: None,
            variables: Map::new(),
            limits: Limits::default(),
            interrupt: None,
        }
    }

    /// The same conversation with tools.
    #[must_use]
    pub fn with_tools(mut self, tools: Vec<ToolDefinition>) -> Self {
        self.tools = Some(tools);
        self
    }

    /// The same conversation with one more variable for the template.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The same conversation with or without the beginning of an answer at its end.
    #[must_use]
    pub fn with_generation_prompt(mut self, add: bool) -> Self {
        self.add_generation_prompt = add;
        self
    }

    /// The same conversation, adapted to the template or not.
    #[must_use]
    pub fn with_adapt(mut self, adapt: bool) -> Self {
        self.adapt = adapt;
        self
    }

    /// The same conversation at another time.
    #[must_use]
    pub fn with_now(mut self, now: Moment) -> Self {
        self.now = Some(now);
        self
    }
}
