//! The body of `/v1/messages`.

use serde_json::{Value, json};
use tabagent_chat::ToolDefinition;
use tabagent_model::{
    ChatRequest, GenerateOptions, GrammarOptions, GrammarRequest, GrammarSource, ThinkingBudget, ToolChoice,
};

use super::conversation::read_conversation;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::models::Served;
use crate::sampler_fields;
use crate::template_variables;

/// What a body asks for.
#[derive(Debug)]
pub(crate) struct MessagesBody {
    pub(crate) request: ChatRequest,
    pub(crate) stream: bool,
    /// Thoughts come without their text.
    pub(crate) hides_thoughts: bool,
    /// The sequences that end the answer, in the client's words.
    pub(crate) stop_sequences: Vec<String>,
    pub(crate) max_tokens: usize,
}

/// A field that must be there.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::field(name, format!("{name}: Field required"))
}

impl MessagesBody {
    /// Translates a body. `served` has what the body does not say.
    pub(crate) fn read(mut fields: JsonFields, app: &App, served: &Served) -> Result<Self, ApiError> {
        let stream = fields.flag("stream")?.unwrap_or_default();
        let stop_sequences = match fields.list("stop_sequences")? {
            None => Vec::new(),
            Some(items) => texts("stop_sequences", items)?,
        };
        if !fields.has("max_tokens") {
            return Err(missing("max_tokens"));
        }
        let (mut request, hides_thoughts) = Self::read_prompt(&mut fields, app, served)?;
        let options = sampler_fields::read(&mut fields, served)?;
        let max_tokens = options.max_tokens.ok_or_else(|| {
            ApiError::field("max_tokens", "`max_tokens` must be a whole number of at least 0")
        })?;
        request.options = GenerateOptions {
            stop: if stop_sequences.is_empty() { options.stop.clone() } else { stop_sequences.clone() },
            // Nobody reads before the end.
            collect: !stream,
            ..options
        };
        Ok(Self { request, stream, hides_thoughts, stop_sequences, max_tokens })
    }

    /// What the prompt depends on: messages, tools and thinking; and whether thoughts come without their text.
    pub(crate) fn read_prompt(
        fields: &mut JsonFields,
        app: &App,
        served: &Served,
    ) -> Result<(ChatRequest, bool), ApiError> {
        let mut request = ChatRequest::new(read_conversation(fields, app.settings.prefill)?);
        request.template.clone_from(&served.template);
        read_tools(fields, &mut request)?;
        let hides_thoughts = read_thinking(fields, &mut request)?;
        if let Some(mut config) = fields.object("output_config")? {
            if let Some(effort) = config.text("effort")? {
                request.conversation.variables.insert("reasoning_effort".to_owned(), effort.into());
            }
            request.structure = read_format(&mut config)?;
        }
        template_variables::supply(&mut request, served, app.settings.thinking)?;
        Ok((request, hides_thoughts))
    }
}

/// Texts of a list.
fn texts(name: &str, items: Vec<Value>) -> Result<Vec<String>, ApiError> {
    let text = |(at, item): (usize, Value)| match item {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(ApiError::field(name, format!("`{name}[{at}]` must be a string that is not empty"))),
    };
    items.into_iter().enumerate().map(text).collect()
}

fn read_tools(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<(), ApiError> {
    let mut tools = Vec::new();
    for (at, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let name = format!("tools[{at}]");
        let mut tool = JsonFields::inside(&name, tool)?;
        if let Some(kind) = tool.text("type")?.filter(|kind| kind != "custom") {
            let message = format!(
                "`{name}`: tools of the type `{kind}` run on Anthropic's servers; this server has only tools that the client runs"
            );
            return Err(ApiError::field(&name, message));
        }
        let mut function = json!({
            "name": tool.text("name")?.ok_or_else(|| missing(&format!("{name}.name")))?,
            "parameters": tool.take("input_schema").ok_or_else(|| missing(&format!("{name}.input_schema")))?,
        });
        if let Some(description) = tool.text("description")? {
            function["description"] = description.into();
        }
        let read = ToolDefinition::from_json(json!({"type": "function", "function": function}));
        tools.push(read.map_err(|shape| ApiError::field(&name, format!("`{name}`: {shape}")))?);
    }
    if let Some(mut choice) = fields.object("tool_choice")? {
        request.parallel_tool_calls = !choice.flag("disable_parallel_tool_use")?.unwrap_or_default();
        request.tool_choice = match choice.text("type")?.as_deref() {
            Some("auto") => ToolChoice::Auto,
            Some("any") => ToolChoice::Required,
            Some("none") => ToolChoice::None,
            Some("tool") => {
                ToolChoice::Named(choice.text("name")?.ok_or_else(|| missing("tool_choice.name"))?)
            }
            other => {
                let message = format!(
                    "`tool_choice.type` must be `auto`, `any`, `tool` or `none`, got `{}`",
                    other.unwrap_or_default()
                );
                return Err(ApiError::field("tool_choice.type", message));
            }
        };
    }
    // Without tools nothing is a call, whatever it looks like.
    request.conversation.tools = Some(tools);
    Ok(())
}

/// Whether and how long to think, which without `thinking` is left to the template. Returns whether thoughts come without their text.
fn read_thinking(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<bool, ApiError> {
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(false) };
    let thinks = match thinking.text("type")?.as_deref() {
        Some("enabled") => {
            let budget = thinking.integer("budget_tokens", 1..=i64::from(i32::MAX))?;
            let budget = budget.ok_or_else(|| missing("thinking.enabled.budget_tokens"))?;
            request.thinking = Some(ThinkingBudget::new(usize::try_from(budget).unwrap_or_default()));
            true
        }
        Some("adaptive" | "between_tools") => true,
        Some("disabled") => {
            request.thinking = Some(ThinkingBudget::new(0));
            false
        }
        other => {
            let message = format!(
                "`thinking.type` must be `enabled`, `adaptive`, `between_tools` or `disabled`, got `{}`",
                other.unwrap_or_default()
            );
            return Err(ApiError::field("thinking.type", message));
        }
    };
    request.conversation.variables.insert("enable_thinking".to_owned(), thinks.into());
    Ok(thinking.text("display")?.as_deref() == Some("omitted"))
}

/// What the text must look like.
fn read_format(config: &mut JsonFields) -> Result<Option<GrammarRequest>, ApiError> {
    let Some(mut format) = config.object("format")? else { return Ok(None) };
    match format.text("type")?.as_deref() {
        Some("json_schema") => {
            let schema = format.take("schema").ok_or_else(|| missing("output_config.format.schema"))?;
            let source = GrammarSource::JsonSchema(schema.to_string());
            Ok(Some(GrammarRequest { source, options: GrammarOptions::default() }))
        }
        other => {
            let message = format!(
                "`output_config.format.type` must be `json_schema`, got `{}`",
                other.unwrap_or_default()
            );
            Err(ApiError::field("output_config.format.type", message))
        }
    }
}
