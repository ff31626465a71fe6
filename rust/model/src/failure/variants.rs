//! The kinds of errors of the choice of a library.

use tabagent_variants::SelectError;

use super::Failure;
use crate::error_kind::ErrorKind;
use crate::library::VariantError;

impl Failure for SelectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyRequest
            | Self::NoLibrary
            | Self::NoneUsable { .. }
            | Self::UnknownVariant { .. }
            | Self::UnknownPath { .. }
            | Self::Unusable { .. } => ErrorKind::Variant,
        }
    }
}

impl Failure for VariantError {
    fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}
