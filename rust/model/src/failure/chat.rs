//! The kinds of errors of chat templates and conversations.

use tabagent_chat::ChatTemplateError;
use tabagent_chat::format::ToolChoiceError;

use super::Failure;
use crate::error_kind::ErrorKind;

impl Failure for ChatTemplateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Template { .. } | Self::Missing | Self::Continue { .. } => ErrorKind::ChatTemplate,
            Self::Message { shape, .. } | Self::Tool { shape, .. } if shape.is_mistyped() => ErrorKind::Type,
            Self::Message { .. } | Self::Tool { .. } | Self::UnknownName { .. } => ErrorKind::Value,
        }
    }

    fn chat(&self) -> Option<&ChatTemplateError> {
        Some(self)
    }
}

impl Failure for ToolChoiceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTools | Self::Unknown { .. } | Self::ContentGrammar => ErrorKind::Value,
            Self::NoCalls => ErrorKind::ChatTemplate,
        }
    }
}
