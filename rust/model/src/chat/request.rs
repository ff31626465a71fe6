//! Requests for an answer in a conversation.

use std::sync::Arc;

use tabagent_chat::format::ToolChoice;
use tabagent_chat::{ChatTemplate, Conversation};

use crate::generate::GenerateOptions;
use crate::grammar::GrammarRequest;

/// What to answer, and how.
///
/// ```
/// use tabagent_chat::{Conversation, Message};
/// use tabagent_model::{ChatRequest, GenerateOptions};
///
/// let mut request = ChatRequest::new(Conversation::new(vec![Message::user("Hello")]));
/// request.options = GenerateOptions { max_tokens: Some(16), ..request.options };
/// assert!(request.options.cache_prompt == Some(true) && request.parallel_tool_calls);
/// ```
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The messages, the tools and everything else that the template reads. Without tools (`None`), whatever looks like a call is read as one; of an empty
    /// list, nothing is a call.
    pub conversation: Conversation,
    /// The template; `None` for the one of the model's file that suits the conversation.
    pub template: Option<Arc<ChatTemplate>>,
    /// Which tools may or must be called. With [`ToolChoice::None`] the template is not told of the tools.
    pub tool_choice: ToolChoice,
    /// Several calls may come in one message, if the template has that.
    pub parallel_tool_calls: bool,
    /// What the content must look like; without a trigger of its own it holds from the first token on, or from the end of the reasoning on where the prompt
    /// leaves the model in it.
    pub structure: Option<GrammarRequest>,
    /// The text is the content, as it comes: markers, reasoning and calls included.
    pub plain: bool,
    /// How long the model may think; `None` for as long as it likes.
    pub thinking: Option<ThinkingBudget>,
    /// How to generate. Control tokens are always shown to the reader of the answer, whatever `show_special` says.
    pub options: GenerateOptions,
}

/// How many tokens all thoughts of an answer may have together; see [`ThoughtOptions`](crate::ThoughtOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThinkingBudget {
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// What is put in front of the end of a thought whose tokens are used up.
    pub message: String,
}

impl ThinkingBudget {
    /// So many tokens, and no message.
    pub fn new(max_tokens: usize) -> Self {
        Self { max_tokens, message: String::new() }
    }
}

impl ChatRequest {
    /// A request whose tools may be called, and which begins with what is decoded of the conversation already.
    pub fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            template: None,
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            structure: None,
            plain: false,
            thinking: None,
            options: GenerateOptions { cache_prompt: Some(true), ..GenerateOptions::default() },
        }
    }
}
