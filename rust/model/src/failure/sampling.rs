//! The kinds of errors of samplers and grammars.

use tabagent_sampling::constraint::GrammarError;
use tabagent_sampling::{ConfigError, SampleError};

use super::Failure;
use crate::error_kind::ErrorKind;

impl Failure for ConfigError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Number { .. }
            | Self::Integer { .. }
            | Self::Bias { .. }
            | Self::UnknownToken { .. }
            | Self::NothingAllowed
            | Self::NeedsPieces
            | Self::WrongPieces { .. }
            | Self::Vocabulary { .. }
            | Self::Seed { .. } => ErrorKind::Value,
        }
    }
}

impl Failure for SampleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongLength { .. }
            | Self::WrongMask { .. }
            | Self::EmptyMask { .. }
            | Self::NoFiniteLogit { .. } => ErrorKind::Sampling,
        }
    }
}

impl Failure for GrammarError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Schema { .. }
            | Self::Syntax { .. }
            | Self::Token { .. }
            | Self::TooLarge { .. }
            | Self::Dead
            | Self::Unwritable { .. }
            | Self::Argument { .. }
            | Self::Internal { .. } => ErrorKind::Grammar,
        }
    }
}
