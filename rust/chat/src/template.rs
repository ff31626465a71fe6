//! A chat template and its rendering.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::adapt;
use crate::builtin;
use crate::capabilities::Capabilities;
use crate::conversation::Conversation;
use crate::error::{ChatTemplateError, Fault};
use crate::format::OutputFormat;
use crate::interrupt::Interrupt;
use crate::jinja::{self, Ast, Input, Moment, Origin, Rendered};
use crate::message::Message;
use crate::prefill;
use crate::rendering::Rendering;

/// The names under which reasoning comes, the template's own first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A model's chat template, parsed. Cheap to share between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    text: String,
    bos_token: String,
    eos_token: String,
    ast: Ast,
    capabilities: OnceLock<Capabilities>,
    format: OnceLock<Arc<OutputFormat>>,
}

impl ChatTemplate {
    /// Parses a template. `bos_token` and `eos_token` are the texts that it finds under these names.
    ///
    /// # Errors
    ///
    /// [`ChatTemplateError::Template`] if the text is no template.
    pub fn new(text: impl Into<String>, bos_token: &str, eos_token: &str) -> Result<Self, ChatTemplateError> {
        let text = text.into();
        let ast = jinja::parse(&text)?;
        Ok(Self {
            text,
            bos_token: bos_token.into(),
            eos_token: eos_token.into(),
            ast,
            capabilities: OnceLock::new(),
            format: OnceLock::new(),
        })
    }

    /// The template for a format that llama.cpp knows by `name`, such as `chatml`.
    ///
    /// # Errors
    ///
    /// [`ChatTemplateError::UnknownName`].
    pub fn named(name: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatTemplateError> {
        let Some((_, text)) = builtin::TEMPLATES.iter().find(|(known, _)| *known == name) else {
            let known = Self::names().collect::<Vec<_>>().join(", ");
            return Err(ChatTemplateError::UnknownName { name: name.into(), known });
        };
        Self::new(*text, bos_token, eos_token)
    }

    /// The names that [`Self::named`] takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        builtin::TEMPLATES.iter().map(|(name, _)| *name)
    }

    /// The template's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the template finds as `bos_token`.
    pub fn bos_token(&self) -> &str {
        &self.bos_token
    }

    /// What the template finds as `eos_token`.
    pub fn eos_token(&self) -> &str {
        &self.eos_token
    }

    /// Whether the template reads the variable `name` anywhere.
    pub fn reads(&self, name: &str) -> bool {
        self.ast.symbol(name).is_some()
    }

    /// How the model writes its answers: found when it is first asked for, by rendering a few, and kept.
    pub fn output_format(&self) -> Arc<OutputFormat> {
        Arc::clone(self.format.get_or_init(|| Arc::new(OutputFormat::of(self))))
    }

    /// The prompt of a conversation.
    ///
    /// # Errors
    ///
    /// [`ChatTemplateError::Template`] if the template fails or refuses the conversation, [`ChatTemplateError::Continue`] if the last message
    /// cannot be continued.
    pub fn render(&self, conversation: &Conversation) -> Result<String, ChatTemplateError> {
        Ok(self.render_segments(conversation)?.into_text())
    }

    /// The prompt of a conversation, with the origin of its parts.
    ///
    /// # Errors
    ///
    /// As [`Self::render`].
    pub fn render_segments(&self, conversation: &Conversation) -> Result<Rendering, ChatTemplateError> {
        if !conversation.adapt {
            return self.render_plain(conversation);
        }
        self.render_plain(&adapt::adapted(self, conversation)?)
    }

    /// What the template can write, found by rendering probes the first time that it is asked.
    pub fn capabilities(&self) -> &Capabilities {
        self.capabilities.get_or_init(|| Capabilities::of(self, None))
    }

    /// As [`capabilities`](Self::capabilities), unless it is interrupted: then nothing is kept.
    pub(crate) fn capabilities_unless(
        &self,
        interrupt: Option<&Interrupt>,
    ) -> Result<&Capabilities, ChatTemplateError> {
        if let Some(known) = self.capabilities.get() {
            return Ok(known);
        }
        let found = Capabilities::of(self, interrupt);
        if interrupt.is_some_and(Interrupt::came) {
            let message = "the render was interrupted".to_owned();
            return Err(ChatTemplateError::Template { line: 1, message, fault: Fault::Limit });
        }
        Ok(self.capabilities.get_or_init(|| found))
    }

    /// Renders the conversation as it is.
    pub(crate) fn render_plain(&self, conversation: &Conversation) -> Result<Rendering, ChatTemplateError> {
        let mut messages: Vec<Message> = conversation.messages.iter().map(normalized).collect();
        let continued = match &conversation.continue_final_message {
            Some(field) => Some(prefill::mark(&mut messages, field, &self.text)?),
            None => None,
        };
        let messages = Value::Array(messages.into_iter().map(Value::from).collect());
        let list = |values: &Option<Vec<Value>>| values.clone().map_or(Value::Null, Value::Array);
        let tools =
            list(&conversation.tools.as_ref().map(|tools| tools.iter().cloned().map(Value::from).collect()));
        let documents = list(&conversation.documents);
        let mut rendering = self.run(conversation, &messages, &tools, &documents)?;
        if let Some(text) = continued {
            prefill::cut(&mut rendering, &text)?;
        }
        Ok(rendering)
    }

    fn run(
        &self,
        conversation: &Conversation,
        messages: &Value,
        tools: &Value,
        documents: &Value,
    ) -> Result<Rendering, ChatTemplateError> {
        let add_generation_prompt = Value::Bool(conversation.add_generation_prompt);
        let (bos, eos) = (Value::from(self.bos_token.as_str()), Value::from(self.eos_token.as_str()));
        let variables = &conversation.variables;
        let mut inputs = Vec::with_capacity(6 + variables.len());
        for (name, value) in [("bos_token", &bos), ("eos_token", &eos)] {
            let text = value.as_str().unwrap_or_default();
            if !text.is_empty() && !variables.contains_key(name) {
                inputs.push(Input { name, value, origin: Origin::Template });
            }
        }
        inputs.extend(variables.iter().map(|(name, value)| Input {
            name,
            value,
            origin: if is_token(name) { Origin::Template } else { Origin::Setting },
        }));
        inputs.push(Input { name: "messages", value: messages, origin: Origin::Messages });
        inputs.push(Input { name: "tools", value: tools, origin: Origin::User });
        inputs.push(Input { name: "documents", value: documents, origin: Origin::User });
        inputs.push(Input {
            name: "add_generation_prompt",
            value: &add_generation_prompt,
            origin: Origin::User,
        });
        let now = conversation.now.unwrap_or_else(Moment::now_utc);
        Ok(self.ast.render(&inputs, conversation.limits, conversation.interrupt.clone(), now)?.into())
    }
}

/// Whether a variable holds one of the tokenizer's own tokens.
fn is_token(name: &str) -> bool {
    matches!(
        name,
        "bos_token" | "eos_token" | "unk_token" | "sep_token" | "pad_token" | "cls_token" | "mask_token"
    )
}

/// The message as transformers hands it to templates: without fields that are null, and with its reasoning under the names that templates read.
fn normalized(message: &Message) -> Message {
    let fields: Map<String, Value> = message
        .fields()
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let Some(reasoning) = REASONING.into_iter().find_map(|name| fields.get(name)).cloned() else {
        return Message::from_fields(fields);
    };
    let mut aliased = Map::with_capacity(fields.len() + 2);
    aliased.insert("thinking".into(), reasoning.clone());
    aliased.extend(fields);
    aliased.insert("reasoning_content".into(), reasoning);
    Message::from_fields(aliased)
}

impl From<Rendered> for Rendering {
    fn from(rendered: Rendered) -> Self {
        Self {
            ends: rendered.runs.iter().map(|run| (run.end, !run.user)).collect(),
            generated: rendered.generated.into_iter().map(|(begin, end)| begin..end).collect(),
            text: rendered.text,
        }
    }
}
