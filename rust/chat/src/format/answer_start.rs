//! Where in a message a model begins to write.

use crate::Conversation;

/// What the model goes on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerStart {
    /// A new message.
    #[default]
    Message,
    /// The content of the conversation's last message.
    Content,
    /// The reasoning of the conversation's last message.
    Reasoning,
}

impl AnswerStart {
    /// By the name of the field that is continued, if one is.
    pub fn of_field(field: Option<&str>) -> Self {
        match field {
            None => Self::Message,
            Some("reasoning_content" | "thinking" | "reasoning") => Self::Reasoning,
            Some(_) => Self::Content,
        }
    }

    /// That of the answer to a conversation.
    pub fn of(conversation: &Conversation) -> Self {
        Self::of_field(conversation.continue_final_message.as_deref())
    }
}
