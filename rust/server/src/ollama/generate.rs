//! `/api/generate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use tabagent_chat::{Conversation, Message};
use tabagent_model::{
    ChatRequest, ChatTemplate, ChatTemplateError, Error, GenerateOptions, GrammarRequest, InfillRequest,
    PromptInput, Stay, TokenId,
};

use super::lines::{Envelope, Shape};
use super::options::{read_format, read_options, read_stay, read_stream, read_think};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};
use crate::models::Served;
use crate::place::Place;
use crate::running::Running;
use crate::stream_body::json as json_response;
use crate::template_variables;

/// Continues or answers a text.
pub(crate) async fn generate(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let began = Instant::now();
    let name = fields.text("model")?.ok_or_else(|| ApiError::field("model", "model is required"))?;
    let stream = read_stream(&mut fields)?;
    let stay = read_stay(&mut fields)?;
    let raw = fields.flag("raw")?.unwrap_or_default();
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let suffix = fields.text("suffix")?.filter(|suffix| !suffix.is_empty());
    let shape = Shape::Generate { gives_context: !raw };
    let is_empty = prompt.is_empty() && suffix.is_none();
    if is_empty && stay == Some(Stay::For(Duration::ZERO)) {
        return Envelope { model: name, shape, began, load: Duration::ZERO }.unload(&app);
    }
    let served = app.model_for(Some(&name), stay).await?;
    let envelope = Envelope { model: name, shape, began, load: began.elapsed() };
    if is_empty {
        return Ok(json_response(&envelope.empty("load")));
    }
    let shared = app.clone();
    let running = app
        .work(move || {
            refuse(&mut fields)?;
            let asked = Asked { prompt, suffix, raw, stream };
            asked.begin(fields, &shared, &served)
        })
        .await?;
    envelope.respond(running, stream).await
}

/// Refuses what would change the answer and is not there.
fn refuse(fields: &mut JsonFields) -> Result<(), ApiError> {
    if fields.list("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(ApiError::field("images", "`images`: this server reads texts only"));
    }
    if fields.text("template")?.is_some_and(|template| !template.is_empty()) {
        let message = "`template` is one of Go's, which this server does not run; it uses the chat template of the model's file";
        return Err(ApiError::field("template", message));
    }
    Ok(())
}

/// What to continue or to answer.
struct Asked {
    prompt: String,
    suffix: Option<String>,
    raw: bool,
    stream: bool,
}

impl Asked {
    /// Begins the answer. Blocks.
    fn begin(self, mut fields: JsonFields, app: &App, served: &Arc<Served>) -> Result<Running, ApiError> {
        let structure = read_format(&mut fields)?;
        let options = GenerateOptions { collect: !self.stream, ..read_options(&mut fields, served)? };
        let context = context(&mut fields)?;
        let system = fields.text("system")?.filter(|system| !system.is_empty());
        if let Some(suffix) = self.suffix {
            let request = InfillRequest {
                prefix: self.prompt,
                suffix,
                max_tokens: options.max_tokens,
                ..InfillRequest::default()
            };
            let tokens = served.model.infill_prompt(&request)?;
            return continued(app, served, tokens, options, structure.as_ref());
        }
        let template = if self.raw { None } else { template(served)? };
        let Some(template) = template else {
            let text = match &system {
                Some(system) if !self.raw => format!("{system} {}", self.prompt),
                _ => self.prompt,
            };
            let mut tokens = context;
            let rest = served.model.prompt(PromptInput::Text(text.as_str()), tokens.is_empty(), true)?.tokens;
            tokens.extend(rest);
            return continued(app, served, tokens, options, structure.as_ref());
        };
        let mut messages: Vec<Message> = system.into_iter().map(Message::system).collect();
        messages.push(Message::user(self.prompt));
        let mut request = ChatRequest::new(Conversation::new(messages));
        request.conversation.tools = Some(Vec::new());
        request.thinking =
            read_think(&mut fields, &template, &served.name, &mut request.conversation.variables)?;
        request.template = Some(template);
        template_variables::supply(&mut request, served, app.settings.thinking)?;
        request.structure = structure;
        request.options = options;
        let mut prepared = served.model.prepare_chat(request)?;
        prepared.prompt.tokens.splice(0..0, context);
        Running::prepared_chat(app, served, &prepared, 1, Place::default())
    }
}

/// The tokens of an earlier answer, which come first.
fn context(fields: &mut JsonFields) -> Result<Vec<TokenId>, ApiError> {
    let items = fields.list("context")?.unwrap_or_default();
    let token = |(at, item): (usize, Value)| {
        let token = crate::fields::whole(&item).and_then(|token| TokenId::try_from(token).ok());
        token.ok_or_else(|| mistyped(&format!("context[{at}]"), "a token", &item))
    };
    items.into_iter().enumerate().map(token).collect()
}

/// The model's chat template; `None` for a model that has none, whose prompts are plain texts.
fn template(served: &Arc<Served>) -> Result<Option<Arc<ChatTemplate>>, ApiError> {
    if let Some(template) = &served.template {
        return Ok(Some(Arc::clone(template)));
    }
    match served.model.chat_template_for(false, false) {
        Ok(template) => Ok(Some(template)),
        Err(Error::Chat(ChatTemplateError::Missing)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Continues tokens. Blocks.
fn continued(
    app: &App,
    served: &Arc<Served>,
    tokens: Vec<TokenId>,
    options: GenerateOptions,
    structure: Option<&GrammarRequest>,
) -> Result<Running, ApiError> {
    let grammar = structure.map(|structure| served.model.compile_grammar(structure)).transpose()?;
    let prompt: Arc<[TokenId]> = tokens.as_slice().into();
    let most = options.max_tokens;
    let (stream, _) = served.model.generate(tokens, options, grammar.as_ref(), false)?;
    let mut running = Running::new(app, served, 1);
    running.push(stream.into(), &prompt, most, Place::default());
    Ok(running)
}
