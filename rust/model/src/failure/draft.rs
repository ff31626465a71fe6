//! Kinds of the errors of draft models.

use super::Failure;
use crate::draft::DraftError;
use crate::error_kind::ErrorKind;

impl Failure for DraftError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Vocabulary { .. } | Self::Recurrent => ErrorKind::Value,
        }
    }
}
