//! What can go wrong between a conversation and its prompt.

use crate::jinja;
use crate::shape::ShapeError;

/// Why a template or a conversation cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatTemplateError {
    /// The text is not a template, or the template failed while it ran.
    #[error("the chat template failed in line {line}: {message}")]
    Template {
        /// The line of the template, from 1.
        line: u32,
        /// What failed: the template's own words where it refuses the conversation.
        message: String,
        /// The kind of failure.
        fault: Fault,
    },
    /// A message has another shape than messages have.
    #[error("message {index}: {shape}")]
    Message {
        /// The number of the message, from 0.
        index: usize,
        /// The field and what is wrong with it.
        shape: ShapeError,
    },
    /// A tool has another shape than tools have.
    #[error("tool {index}: {shape}")]
    Tool {
        /// The number of the tool, from 0.
        index: usize,
        /// The field and what is wrong with it.
        shape: ShapeError,
    },
    /// There is no template.
    #[error(
        "the model's file has no chat template; give one as `chat_template`: a text, a file, or a name such as `chatml`"
    )]
    Missing,
    /// There is no template of this name.
    #[error("there is no chat template `{name}`; there are {known}")]
    UnknownName {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The last message cannot be continued.
    #[error("cannot continue the last message: {problem}")]
    Continue {
        /// Why not.
        problem: String,
    },
}

/// The kinds of failure of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The text is no template.
    Syntax,
    /// The template refused the conversation with `raise_exception`.
    Refused,
    /// The template used what is undefined.
    Undefined,
    /// The template did what its values cannot do.
    Operation,
    /// The template did what the sandbox forbids.
    Security,
    /// The template needed more time, memory or output than a render may use.
    Limit,
}

impl Fault {
    /// Its name, such as `refused`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Refused => "refused",
            Self::Undefined => "undefined",
            Self::Operation => "operation",
            Self::Security => "security",
            Self::Limit => "limit",
        }
    }
}

impl From<jinja::Fault> for ChatTemplateError {
    fn from(fault: jinja::Fault) -> Self {
        let fault = fault.into_body();
        let kind = match fault.kind {
            jinja::FaultKind::Syntax => Fault::Syntax,
            jinja::FaultKind::Raised => Fault::Refused,
            jinja::FaultKind::Undefined => Fault::Undefined,
            jinja::FaultKind::Type | jinja::FaultKind::Value => Fault::Operation,
            jinja::FaultKind::Security => Fault::Security,
            jinja::FaultKind::Limit => Fault::Limit,
        };
        Self::Template { line: fault.line.unwrap_or(1), message: fault.message, fault: kind }
    }
}
