//! The kinds of errors of tokenizers without an engine.

use std::io;
use std::path::Path;

use tabagent_gguf::GgufError;
use tabagent_tokenizer::TokenizerError;

use super::Failure;
use crate::error_kind::ErrorKind;

impl Failure for TokenizerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => error.kind(),
            Self::Json(error) => error.kind(),
            Self::NoTokenizer => ErrorKind::UnsupportedModel,
            Self::Unknown { .. } | Self::Missing { .. } | Self::Invalid { .. } => ErrorKind::Gguf,
            Self::TextTooLong { .. } | Self::TokenOutOfRange { .. } => ErrorKind::Value,
            Self::Stopped => ErrorKind::Decode,
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Gguf(error) => error.io(),
            Self::Json(error) => error.io(),
            _ => None,
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Gguf(error) => Some(error),
            Self::Json(error) => error.gguf(),
            _ => None,
        }
    }
}
