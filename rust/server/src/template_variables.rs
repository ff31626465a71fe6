//! Variables that chat templates read and requests do not give.

use std::sync::Arc;

use tabagent_chat::Moment;
use tabagent_model::{ChatRequest, ChatTemplateError, Error};

use crate::error::ApiError;
use crate::models::Served;

/// Gives a conversation what the server was told to give all, and the template what llama-server gives it, unless the request did: whether to think, which is yes for templates that can be told and where the server was not told
/// otherwise, and the date (`common_chat_templates_apply_jinja` and `common_params_parse_chat_template` of the pinned tree). Has the request use the template that was asked.
pub(crate) fn supply(
    request: &mut ChatRequest,
    served: &Served,
    thinking: Option<bool>,
) -> Result<(), ApiError> {
    served.chat_defaults().supply(request);
    if request.thinking.is_none() {
        request.thinking = served.chat_defaults().thinking();
    }
    let has_tools = request.conversation.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    let template = match &request.template {
        Some(template) => Arc::clone(template),
        None => match served.model.chat_template_for(has_tools, request.conversation.documents.is_some()) {
            Ok(template) => template,
            // Who renders the prompt says so, too, after what is wrong with the request itself.
            Err(Error::Chat(ChatTemplateError::Missing)) => return Ok(()),
            Err(error) => return Err(error.into()),
        },
    };
    let variables = &mut request.conversation.variables;
    if thinking.is_some() || template.reads("enable_thinking") {
        variables.entry("enable_thinking").or_insert_with(|| thinking.unwrap_or(true).into());
    }
    if template.reads("date_string") {
        let now = request.conversation.now.unwrap_or_else(Moment::now_utc);
        variables.entry("date_string").or_insert_with(|| now.format("%d %b %Y").into());
    }
    Ok(())
}
