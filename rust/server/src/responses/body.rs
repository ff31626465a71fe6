//! The body of `/v1/responses`.

use serde_json::{Value, json};
use tabagent_chat::{Conversation, ToolDefinition};
use tabagent_model::{
    ChatRequest, GrammarOptions, GrammarRequest, GrammarSource, ThinkingBudget, ToolChoice,
};

use super::input::{messages, read_input};
use super::store::Store;
use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::fields::{JsonFields, mistyped};
use crate::models::Served;
use crate::sampler_fields;
use crate::template_variables;

/// Most tokens whose probabilities are given at each place.
const MOST_LOGPROBS: i64 = 20;
/// Fields that ask for what is not here, with what asks for nothing.
const UNSUPPORTED: [(&str, Value); 4] = [
    ("background", Value::Bool(false)),
    ("conversation", Value::Null),
    ("prompt", Value::Null),
    ("max_tool_calls", Value::Null),
];
/// Fields that responses repeat.
const ECHOED: [&str; 13] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

/// What a body asks for.
#[derive(Debug)]
pub(crate) struct ResponsesBody {
    pub(crate) request: ChatRequest,
    pub(crate) stream: bool,
    pub(crate) stores: bool,
    /// All items of the conversation.
    pub(crate) items: Vec<Value>,
    /// Those that came with this request.
    pub(crate) given: Vec<Value>,
    /// Fields as they were given.
    pub(crate) echoed: Vec<(&'static str, Value)>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) timings_per_token: bool,
}

impl ResponsesBody {
    /// Translates a body. `served` has what the body does not say, `store` earlier responses.
    pub(crate) fn read(
        mut fields: JsonFields,
        app: &App,
        served: &Served,
        store: &Store,
    ) -> Result<Self, ApiError> {
        for (name, nothing) in UNSUPPORTED {
            if fields.take(name).is_some_and(|value| value != nothing) {
                return Err(ApiError::field(
                    name,
                    format!("`{name}` is not supported by this server; leave it out"),
                ));
            }
        }
        let echoed: Vec<(&str, Value)> =
            ECHOED.into_iter().filter_map(|name| Some((name, fields.peek(name)?.clone()))).collect();
        let stream = fields.flag("stream")?.unwrap_or_default();
        let timings_per_token = fields.flag("timings_per_token")?.unwrap_or_default();
        let return_progress = fields.flag("return_progress")?.unwrap_or_default();
        let stores = fields.flag("store")?.unwrap_or(true);
        let given = match fields.take("input") {
            Some(input) => read_input(input)?,
            None => Vec::new(),
        };
        let mut items = Vec::new();
        if let Some(id) = fields.text("previous_response_id")? {
            let kept = store.find(&id).ok_or_else(|| {
                let message = format!("Previous response with id '{id}' not found.");
                ApiError {
                    field: Some("previous_response_id".to_owned()),
                    ..ApiError::new(Problem::Invalid, message)
                }
            })?;
            items = kept.items;
        }
        items.extend(given.iter().cloned());
        let instructions = fields.text("instructions")?.filter(|text| !text.is_empty());
        let mut request = ChatRequest::new(Conversation::new(messages(instructions, &items)?));
        request.template.clone_from(&served.template);
        read_tools(&mut fields, &mut request)?;
        read_reasoning(&mut fields, &mut request)?;
        template_variables::supply(&mut request, served, app.settings.thinking)?;
        request.structure = read_text(&mut fields)?;
        let most = fields.integer("max_output_tokens", 1..=i64::from(i32::MAX))?;
        let top = fields.integer("top_logprobs", 0..=MOST_LOGPROBS)?;
        let included = fields.texts("include")?.unwrap_or_default();
        let mut options = sampler_fields::read(&mut fields, served)?;
        if let Some(most) = most {
            options.max_tokens = Some(most as usize);
        }
        if top.is_some_and(|top| top > 0)
            || included.iter().any(|name| name == "message.output_text.logprobs")
        {
            options.logprobs = Some(top.unwrap_or(0) as usize);
        }
        // Nobody reads before the end.
        options.collect = !stream;
        options.progress = stream && return_progress;
        let max_tokens = options.max_tokens;
        request.options = options;
        Ok(Self { request, stream, stores, items, given, echoed, max_tokens, timings_per_token })
    }
}

fn read_tools(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<(), ApiError> {
    let mut tools = Vec::new();
    for (at, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let name = format!("tools[{at}]");
        let mut tool = JsonFields::inside(&name, tool)?;
        let kind = tool.text("type")?.unwrap_or_default();
        if kind != "function" {
            let message = format!("`{name}`: this server calls functions only, no tool of the type `{kind}`");
            return Err(ApiError::field(&name, message));
        }
        // Chat completions have the function in a field of its own; some clients send that here, too.
        let mut function = match tool.object("function")? {
            Some(inner) => inner,
            None => tool,
        };
        let missing = || ApiError::field(&name, format!("`{name}.name` is missing"));
        let mut made = json!({"name": function.text("name")?.ok_or_else(missing)?});
        if let Some(description) = function.text("description")? {
            made["description"] = description.into();
        }
        if let Some(parameters) = function.take("parameters") {
            made["parameters"] = parameters;
        }
        let read = ToolDefinition::from_json(json!({"type": "function", "function": made}));
        tools.push(read.map_err(|shape| ApiError::field(&name, format!("`{name}`: {shape}")))?);
    }
    request.parallel_tool_calls = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    request.tool_choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(mode)) => choice(&mode)?,
        Some(other) => {
            let mut given = JsonFields::inside("tool_choice", other)?;
            match given.text("type")?.as_deref() {
                Some("function") => {
                    let name = given.text("name")?;
                    let missing = || ApiError::field("tool_choice", "`tool_choice.name` is missing");
                    ToolChoice::Named(name.ok_or_else(missing)?)
                }
                Some("allowed_tools") => {
                    let listed = given.list("tools")?.unwrap_or_default();
                    let names: Vec<&str> =
                        listed.iter().filter_map(|tool| tool.get("name")?.as_str()).collect();
                    tools.retain(|tool| names.contains(&tool.name()));
                    choice(&given.text("mode")?.unwrap_or_else(|| "auto".to_owned()))?
                }
                other => {
                    let message = format!(
                        "`tool_choice.type` must be `function` or `allowed_tools`, got `{}`",
                        other.unwrap_or_default()
                    );
                    return Err(ApiError::field("tool_choice.type", message));
                }
            }
        }
    };
    // Without tools nothing is a call, whatever it looks like.
    request.conversation.tools = Some(tools);
    Ok(())
}

fn choice(mode: &str) -> Result<ToolChoice, ApiError> {
    match mode {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => {
            let message =
                format!("`tool_choice` must be `auto`, `none`, `required` or an object, got `{other}`");
            Err(ApiError::field("tool_choice", message))
        }
    }
}

fn read_reasoning(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<(), ApiError> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(()) };
    match reasoning.text("effort")?.as_deref() {
        None => {}
        Some("none") => {
            request.conversation.variables.insert("enable_thinking".to_owned(), false.into());
            request.thinking = Some(ThinkingBudget::new(0));
        }
        Some(effort) => {
            request.conversation.variables.insert("reasoning_effort".to_owned(), effort.into());
        }
    }
    Ok(())
}

/// What the text must look like.
fn read_text(fields: &mut JsonFields) -> Result<Option<GrammarRequest>, ApiError> {
    let Some(mut text) = fields.object("text")? else { return Ok(None) };
    let Some(mut format) = text.object("format")? else { return Ok(None) };
    let source = match format.text("type")?.as_deref() {
        None | Some("text") => return Ok(None),
        Some("json_object") => GrammarSource::JsonObject,
        Some("json_schema") => match format.take("schema") {
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
                GrammarSource::JsonSchema(schema.to_string())
            }
            Some(other) => return Err(mistyped("text.format.schema", "a schema", &other)),
            None => return Err(ApiError::field("text.format.schema", "`text.format.schema` is missing")),
        },
        Some(other) => {
            let message =
                format!("`text.format.type` must be `text`, `json_object` or `json_schema`, got `{other}`");
            return Err(ApiError::field("text.format.type", message));
        }
    };
    Ok(Some(GrammarRequest { source, options: GrammarOptions::default() }))
}
