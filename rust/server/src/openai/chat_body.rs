//! The body of `/v1/chat/completions`.

use serde_json::Value;
use tabagent_chat::{Conversation, Message, ToolDefinition};
use tabagent_model::{
    ChatRequest, GrammarOptions, GrammarRequest, GrammarSource, LogprobsMode, ThinkingBudget, ToolChoice,
};

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};
use crate::models::Served;
use crate::sampler_fields::{self, schema_source};
use crate::template_variables;

/// Most tokens whose probabilities are given at each place.
const MOST_LOGPROBS: i64 = 1000;

/// What a body asks for.
#[derive(Debug)]
pub(crate) struct ChatBody {
    pub(crate) request: ChatRequest,
    pub(crate) n: usize,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) timings_per_token: bool,
    /// Tell what the prompt was, and how the text was made.
    pub(crate) verbose: bool,
}

impl ChatBody {
    /// Translates a body. `served` has what the body does not say.
    pub(crate) fn read(mut fields: JsonFields, app: &App, served: &Served) -> Result<Self, ApiError> {
        let stream = fields.flag("stream")?.unwrap_or_default();
        let stream_options = fields.object("stream_options")?;
        let include_usage =
            stream_options.map(|mut options| options.flag("include_usage")).transpose()?.flatten();
        let timings_per_token = fields.flag("timings_per_token")?.unwrap_or_default();
        let choices = i64::try_from(app.settings.max_choices).unwrap_or(i64::MAX);
        let n = fields.integer_of(&["n_cmpl", "n"], 1..=choices)?.unwrap_or(1) as usize;
        let verbose = fields.flag("verbose")?.unwrap_or(app.settings.verbose);
        let return_progress = fields.flag("return_progress")?.unwrap_or_default();
        refuse_unknown(&mut fields)?;
        let mut request = ChatRequest::new(read_conversation(&mut fields, app.settings.prefill)?);
        request.template.clone_from(&served.template);
        read_tools(&mut fields, &mut request)?;
        template_variables::supply(&mut request, served, app.settings.thinking)?;
        if !app.settings.tools && asks_for_tools(&request) {
            let message = "`tools` and `tool_choice` are off; start the server without `--no-jinja`";
            return Err(ApiError::field("tools", message));
        }
        request.structure = read_structure(&mut fields)?;
        read_budget(&mut fields, served, &mut request)?;
        let stays = app.settings.reasoning_in_content;
        // Calls have to be read.
        let has_tools = request.conversation.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        request.plain = read_reasoning_format(&mut fields)?.unwrap_or(stays) && !has_tools;
        request.options = sampler_fields::read(&mut fields, served)?;
        read_logprobs(&mut fields, &mut request)?;
        // Nobody reads before the end.
        request.options.collect = !stream;
        request.options.progress = stream && return_progress;
        let include_usage = include_usage.unwrap_or_default();
        Ok(Self { request, n, stream, include_usage, timings_per_token, verbose })
    }
}

fn asks_for_tools(request: &ChatRequest) -> bool {
    let offered = request.conversation.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    offered || request.tool_choice != ToolChoice::Auto
}

/// Refuses what would change the answer and is not there. Other fields that this server does not know change nothing: names of users, places to store answers.
fn refuse_unknown(fields: &mut JsonFields) -> Result<(), ApiError> {
    for (name, instead) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if fields.has(name) {
            return Err(ApiError::field(name, format!("`{name}` is not supported; use `{instead}`")));
        }
    }
    if fields.has("audio") {
        return Err(ApiError::field("audio", "`audio`: this server writes texts only"));
    }
    if let Some(modalities) = fields.texts("modalities")?
        && modalities.iter().any(|modality| modality != "text")
    {
        return Err(ApiError::field("modalities", "`modalities`: this server writes texts only"));
    }
    Ok(())
}

/// The conversation: messages and what the template reads besides.
pub(crate) fn read_conversation(fields: &mut JsonFields, prefill: bool) -> Result<Conversation, ApiError> {
    let messages =
        fields.list("messages")?.ok_or_else(|| ApiError::field("messages", "`messages` is missing"))?;
    let messages = messages.into_iter().enumerate().map(|(at, message)| read_message(at, message));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let mut conversation = Conversation::new(messages);
    conversation.documents = fields.list("documents")?;
    if let Some(variables) = fields.object("chat_template_kwargs")? {
        conversation.variables = variables.rest();
        if let Some(other) = conversation.variables.get("enable_thinking").filter(|value| !value.is_boolean())
        {
            return Err(mistyped("chat_template_kwargs.enable_thinking", "true or false", other));
        }
    }
    match fields.text("reasoning_effort")?.as_deref() {
        None | Some("") => {}
        Some("none") => {
            conversation.variables.insert("enable_thinking".to_owned(), false.into());
            conversation.variables.shift_remove("reasoning_effort");
        }
        Some(effort) => {
            conversation.variables.insert("reasoning_effort".to_owned(), effort.into());
        }
    }
    read_continuation(fields, &mut conversation, prefill)?;
    Ok(conversation)
}

fn read_message(at: usize, message: Value) -> Result<Message, ApiError> {
    let wrong =
        |problem: String| ApiError::field(&format!("messages[{at}]"), format!("`messages[{at}]`: {problem}"));
    let read = Message::from_json(message).map_err(|shape| wrong(shape.to_string()))?;
    let has = |name| read.get(name).is_some_and(|value| !value.is_null());
    if read.role() == "assistant" {
        if read.get("content").is_none() && !has("tool_calls") && !has("reasoning_content") {
            return Err(wrong("`content` or `tool_calls` is missing".to_owned()));
        }
    } else if read.get("content").is_none() {
        return Err(wrong("`content` is missing".to_owned()));
    }
    for part in read.get("content").and_then(Value::as_array).into_iter().flatten() {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "text" | "refusal") {
            return Err(wrong(format!("this server reads texts only, no part of the type `{kind}`")));
        }
        if kind == "text" && part.get("text").is_none_or(Value::is_null) {
            return Err(wrong("a part of the type `text` must have a `text`".to_owned()));
        }
    }
    Ok(read)
}

/// Whether the last message is continued: where it is the assistant's, or the body says so.
fn read_continuation(
    fields: &mut JsonFields,
    conversation: &mut Conversation,
    prefill: bool,
) -> Result<(), ApiError> {
    let begins = fields.flag("add_generation_prompt")?;
    let field = match fields.take("continue_final_message") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some("content".to_owned()),
        Some(Value::String(name)) => Some(if name == "auto" { "content".to_owned() } else { name }),
        Some(other) => {
            return Err(mistyped("continue_final_message", "true, false or the name of a field", &other));
        }
    };
    if field.is_some() && begins == Some(true) {
        return Err(ApiError::field(
            "continue_final_message",
            "`continue_final_message` and `add_generation_prompt` exclude each other",
        ));
    }
    let [.., last] = conversation.messages.as_slice() else {
        return Err(ApiError::field("messages", "`messages` must not be empty"));
    };
    let is_answer = last.role() == "assistant";
    let field =
        field.or_else(|| (prefill && is_answer && begins != Some(true)).then(|| "content".to_owned()));
    let Some(field) = field else {
        conversation.add_generation_prompt = begins.unwrap_or(true);
        return Ok(());
    };
    if last.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty()) {
        return Err(ApiError::field(
            "messages",
            "the last message has tool calls, so it cannot be continued; add the results of the tools",
        ));
    }
    if let [.., before, _] = conversation.messages.as_slice()
        && before.role() == "assistant"
        && is_answer
    {
        return Err(ApiError::field(
            "messages",
            "the last two messages are the assistant's, and only one can be continued; make one of them",
        ));
    }
    conversation.continue_final_message = Some(field);
    conversation.add_generation_prompt = false;
    Ok(())
}

fn read_tools(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<(), ApiError> {
    let mut tools = Vec::new();
    for (at, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let name = format!("tools[{at}]");
        if let Some(kind) = tool.get("type").and_then(Value::as_str).filter(|kind| *kind != "function") {
            return Err(ApiError::field(
                &name,
                format!("`{name}`: this server calls functions only, no tool of the type `{kind}`"),
            ));
        }
        let read = ToolDefinition::from_json(tool)
            .map_err(|shape| ApiError::field(&name, format!("`{name}`: {shape}")))?;
        tools.push(read);
    }
    request.parallel_tool_calls = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    request.tool_choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(choice) => tool_choice(choice, &mut tools)?,
    };
    // Without tools nothing is a call, whatever it looks like.
    request.conversation.tools = Some(tools);
    Ok(())
}

/// Which tools may be called. `allowed_tools` takes the others away from `tools`.
fn tool_choice(choice: Value, tools: &mut Vec<ToolDefinition>) -> Result<ToolChoice, ApiError> {
    const NAME: &str = "tool_choice";
    let mode = |mode: &str| match mode {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => Err(ApiError::field(
            NAME,
            format!("`{NAME}` must be `auto`, `none`, `required` or an object, got `{other}`"),
        )),
    };
    if let Value::String(text) = &choice {
        return mode(text);
    }
    let mut fields = JsonFields::inside(NAME, choice)?;
    if fields.text("type")?.as_deref() == Some("allowed_tools") {
        let mut allowed = match fields.object("allowed_tools")? {
            Some(inner) => inner,
            None => fields,
        };
        let named =
            |tool: &Value| Some(tool.get("function").unwrap_or(tool).get("name")?.as_str()?.to_owned());
        let listed = allowed.list("tools")?.unwrap_or_default();
        let names: Vec<String> = listed.iter().filter_map(named).collect();
        tools.retain(|tool| names.iter().any(|name| name == tool.name()));
        return mode(&allowed.text("mode")?.unwrap_or_else(|| "auto".to_owned()));
    }
    let mut function = match fields.object("function")? {
        Some(inner) => inner,
        None => fields,
    };
    let name = function.text("name")?;
    name.map(ToolChoice::Named).ok_or_else(|| {
        ApiError::field(NAME, format!("`{NAME}` must name a function as `{{\"function\": {{\"name\": …}}}}`"))
    })
}

/// What the content must look like: `response_format`, or llama.cpp's fields.
fn read_structure(fields: &mut JsonFields) -> Result<Option<GrammarRequest>, ApiError> {
    let of = |source: GrammarSource| Some(GrammarRequest { source, options: GrammarOptions::default() });
    let own = sampler_fields::structure(fields)?;
    let Some(mut format) = fields.object("response_format")? else { return Ok(own) };
    let made = match format.text("type")?.as_deref() {
        None | Some("text") => None,
        Some("json_object") => match format.take("schema") {
            Some(schema) => of(schema_source(&schema)),
            None if own.is_some() => None,
            None => of(GrammarSource::JsonObject),
        },
        Some("json_schema") => {
            let mut described = format.object("json_schema")?.unwrap_or_default();
            let schema = described.take("schema").or_else(|| format.take("schema"));
            let missing = "`response_format` of the type `json_schema` must have its schema as `{\"json_schema\": {\"schema\": …}}`";
            of(schema_source(&schema.ok_or_else(|| ApiError::field("response_format", missing))?))
        }
        Some(other) => {
            let message = format!(
                "`response_format.type` must be `text`, `json_object` or `json_schema`, got `{other}`"
            );
            return Err(ApiError::field("response_format.type", message));
        }
    };
    match (made, own) {
        (Some(_), Some(_)) => Err(ApiError::field(
            "response_format",
            "`response_format` and `json_schema` or `grammar` exclude each other; leave one of them out",
        )),
        (made, own) => Ok(made.or(own)),
    }
}

/// How many tokens the thoughts may have, in llama-server's fields; below 0 as many as they like.
fn read_budget(fields: &mut JsonFields, served: &Served, request: &mut ChatRequest) -> Result<(), ApiError> {
    let names = ["reasoning_budget_tokens", "thinking_budget_tokens"];
    let tokens = fields.integer_of(&names, -1..=i64::from(i32::MAX))?;
    let message = fields.text("reasoning_budget_message")?;
    if tokens.is_none() && message.is_none() {
        return Ok(());
    }
    let default = served.chat_defaults();
    let max_tokens = tokens.map_or(default.budget, |tokens| usize::try_from(tokens).ok());
    let message = message.unwrap_or_else(|| default.budget_message.clone());
    request.thinking = max_tokens.map(|max_tokens| ThinkingBudget { max_tokens, message });
    Ok(())
}

/// Whether the reasoning stays in the content.
fn read_reasoning_format(fields: &mut JsonFields) -> Result<Option<bool>, ApiError> {
    const NAME: &str = "reasoning_format";
    match fields.text(NAME)?.as_deref() {
        None => Ok(None),
        Some("auto" | "deepseek") => Ok(Some(false)),
        Some("none") => Ok(Some(true)),
        Some(other) => Err(ApiError::field(
            NAME,
            format!("`{NAME}` must be `auto`, `deepseek` or `none`, got `{other}`"),
        )),
    }
}

/// Probabilities: `logprobs` and `top_logprobs`, or llama.cpp's `n_probs`.
fn read_logprobs(fields: &mut JsonFields, request: &mut ChatRequest) -> Result<(), ApiError> {
    let top = fields.integer("top_logprobs", 0..=MOST_LOGPROBS)?;
    let wanted = match fields.take("logprobs") {
        None => None,
        Some(Value::Bool(wanted)) => Some(wanted),
        Some(other) => return Err(mistyped("logprobs", "true or false", &other)),
    };
    if top.is_some() && wanted != Some(true) {
        return Err(ApiError::field("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
    }
    let own = fields.integer("n_probs", 0..=MOST_LOGPROBS)?.filter(|n| *n > 0);
    if wanted == Some(true) {
        request.options.logprobs = Some(top.unwrap_or(0) as usize);
    } else if let Some(n) = own {
        request.options.logprobs = Some(n as usize);
    }
    if fields.flag("post_sampling_probs")?.unwrap_or_default() {
        request.options.logprobs_mode = LogprobsMode::Sampled;
    }
    Ok(())
}
