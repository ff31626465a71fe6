//! The kinds of errors of the decode thread and of its requests.

use tabagent_runtime::{EngineError, RequestError};

use super::Failure;
use crate::error_kind::ErrorKind;

impl Failure for EngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Closed,
            Self::Forked => ErrorKind::Forked,
            Self::Panicked { .. } | Self::Decode { .. } | Self::Hung { .. } | Self::Spawn { .. } => {
                ErrorKind::Decode
            }
            Self::Crashed { .. } => ErrorKind::EngineCrashed,
            Self::NoSpace { .. } => ErrorKind::ContextFull,
            Self::NoCells { .. } => ErrorKind::State,
            Self::Sampler { .. } | Self::Banned { .. } | Self::Hook { .. } => ErrorKind::Sampling,
            Self::Constraint { .. } => ErrorKind::Grammar,
        }
    }
}

impl Failure for RequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PromptTooLong { .. } | Self::ContinuationTooLong { .. } => ErrorKind::ContextFull,
            Self::EmptyPrompt
            | Self::TokenOutOfRange { .. }
            | Self::NoContinuations
            | Self::EmptyContinuation { .. }
            | Self::EmptyStop { .. }
            | Self::EmptyBan { .. }
            | Self::ForkWithBan
            | Self::KeepsTooMuch { .. }
            | Self::ShiftWith { .. }
            | Self::CannotShift
            | Self::BanNeedsSnapshots => ErrorKind::Value,
        }
    }
}
