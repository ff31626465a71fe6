//! What is wrong with a request, whatever the protocol.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use std::path::Path;

use tabagent_model::{EngineError, Error, ErrorKind, Failure, PoolError, RequestError};

/// The kinds of failure that clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request is wrong.
    Invalid,
    /// No key, or a wrong one.
    Authentication,
    /// A host or an origin that may not ask.
    Permission,
    /// There is no such path.
    NotFound,
    /// There is no such model.
    ModelNotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The body is larger than allowed.
    TooLarge,
    /// The prompt is longer than the context.
    ContextFull {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that the context holds.
        context: usize,
    },
    /// The server, or the model, does not do that.
    NotSupported,
    /// Too many requests wait.
    Overloaded,
    /// The server stops, or the model is not there.
    Unavailable,
    /// Something failed that the client cannot help.
    Internal,
}

impl Problem {
    /// Its status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Invalid | Self::ContextFull { .. } => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::Permission => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ModelNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::Overloaded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Seconds after which a client should try again where too many wait.
const RETRY_AFTER_S: u16 = 1;

/// A failure of a request. As a response it has no body yet: the guard has the protocol of the path write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// Its kind.
    pub(crate) problem: Problem,
    /// What is wrong, with what, and what to do.
    pub(crate) message: String,
    /// The field of the body that is wrong.
    pub(crate) field: Option<String>,
}

impl ApiError {
    /// A model that could not be had. Its file is named without its folder.
    pub(crate) fn of_pool(error: &PoolError, path: &Path) -> Self {
        let problem = match error {
            PoolError::Unknown { .. } => Problem::ModelNotFound,
            PoolError::TooLarge { .. } | PoolError::Closed => Problem::Unavailable,
            PoolError::Load { failure, .. } => problem_of_load(failure.kind),
        };
        let mut message = error.to_string();
        if let (Some(folder), false) = (path.parent(), path.as_os_str().is_empty()) {
            let folder = format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR);
            if folder.len() > 1 {
                message = message.replace(&folder, "");
            }
        }
        Self::new(problem, message)
    }

    /// A failure to load what a model needs besides itself.
    pub(crate) fn of_load(kind: ErrorKind, message: String) -> Self {
        Self::new(problem_of_load(kind), message)
    }

    /// A failure of the model in other words.
    pub(crate) fn from_parts(error: &Error, message: String) -> Self {
        Self::new(problem_of(error.kind()), message)
    }

    /// A failure of this kind.
    pub(crate) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self { problem, message: message.into(), field: None }
    }

    /// A wrong request.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Problem::Invalid, message)
    }

    /// A wrong field.
    pub(crate) fn field(name: &str, message: impl Into<String>) -> Self {
        Self { field: Some(name.to_owned()), ..Self::invalid(message) }
    }

    /// What is not done here.
    pub(crate) fn not_supported(message: impl Into<String>) -> Self {
        Self::new(Problem::NotSupported, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.problem.status().into_response();
        if matches!(self.problem, Problem::Overloaded | Problem::Unavailable) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let problem = match &error {
            Error::Request(RequestError::PromptTooLong { n_prompt, n_ctx }) => {
                Problem::ContextFull { prompt: *n_prompt, context: *n_ctx }
            }
            Error::PromptTooLong { fewest, n_ctx } => {
                Problem::ContextFull { prompt: *fewest, context: *n_ctx }
            }
            Error::TextTooLong { tokens, longest, .. } | Error::PairTooLong { tokens, longest, .. } => {
                Problem::ContextFull { prompt: *tokens, context: *longest }
            }
            other => problem_of(other.kind()),
        };
        let message = message_of(&error);
        let is_input = matches!(error, Error::TextTooLong { .. } | Error::PairTooLong { .. });
        // Clients of llama-server look for these words.
        Self::new(problem, if is_input { format!("the input is too large: {message}") } else { message })
    }
}

/// What a client is told. Prompts that do not fit are told of in llama-server's words, by which clients know them.
fn message_of(error: &Error) -> String {
    match error {
        Error::Request(RequestError::PromptTooLong { n_prompt: prompt, n_ctx })
        | Error::PromptTooLong { fewest: prompt, n_ctx } => format!(
            "the prompt ({prompt} tokens) exceeds the available context size ({n_ctx} tokens); shorten it, or start the server with more (`-c`)"
        ),
        other => other.to_string(),
    }
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
        Self::of_pool(&error, Path::new(""))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::from(Error::from(error))
    }
}

/// The kind of problem that a model which cannot be loaded is for a client.
fn problem_of_load(kind: ErrorKind) -> Problem {
    match kind {
        ErrorKind::OutOfMemory | ErrorKind::ModelLoadCancelled | ErrorKind::Closed | ErrorKind::Forked => {
            Problem::Unavailable
        }
        ErrorKind::ModelLoad
        | ErrorKind::InvalidModel
        | ErrorKind::ModelNotFound
        | ErrorKind::UnsupportedModel
        | ErrorKind::Gguf
        | ErrorKind::Io => Problem::Invalid,
        other => problem_of(other),
    }
}

/// The kind of problem that an error of the model is for a client.
fn problem_of(kind: ErrorKind) -> Problem {
    match kind {
        ErrorKind::Value
        | ErrorKind::Type
        | ErrorKind::Grammar
        | ErrorKind::ChatTemplate
        | ErrorKind::Adapter
        | ErrorKind::ContextFull => Problem::Invalid,
        ErrorKind::UnsupportedModel => Problem::NotSupported,
        ErrorKind::QueueFull => Problem::Overloaded,
        ErrorKind::Closed | ErrorKind::Forked | ErrorKind::OutOfMemory | ErrorKind::EmbeddingCancelled => {
            Problem::Unavailable
        }
        ErrorKind::ModelNotFound => Problem::ModelNotFound,
        ErrorKind::Io
        | ErrorKind::LibraryLoad
        | ErrorKind::IncompatibleLibrary
        | ErrorKind::LibraryAlreadyLoaded
        | ErrorKind::Variant
        | ErrorKind::Gguf
        | ErrorKind::GgufCancelled
        | ErrorKind::ModelLoad
        | ErrorKind::InvalidModel
        | ErrorKind::ModelLoadCancelled
        | ErrorKind::Decode
        | ErrorKind::EngineCrashed
        | ErrorKind::Sampling
        | ErrorKind::State => Problem::Internal,
    }
}
