//! Kinds of the errors of sessions.

use std::io;
use std::path::Path;

use super::Failure;
use crate::error_kind::ErrorKind;
use crate::session_error::SessionError;

impl Failure for SessionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Running | Self::TooFar { .. } => ErrorKind::Value,
            Self::NotASession { .. }
            | Self::Damaged
            | Self::OtherModel
            | Self::OtherBuild { .. }
            | Self::OtherSettings { .. }
            | Self::OtherChanges { .. }
            | Self::Cells => ErrorKind::State,
            Self::Closed => ErrorKind::Closed,
            Self::File(error) => error.kind(),
        }
    }

    fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::File(error) => error.io(),
            Self::Running
            | Self::Closed
            | Self::TooFar { .. }
            | Self::NotASession { .. }
            | Self::Damaged
            | Self::OtherModel
            | Self::OtherBuild { .. }
            | Self::OtherSettings { .. }
            | Self::OtherChanges { .. }
            | Self::Cells => None,
        }
    }
}
