//! Kinds of the errors of the project's own engine.

use tabagent_engine::LoadError;
use tabagent_gguf::GgufError;

use crate::error_kind::ErrorKind;
use crate::failure::Failure;
use crate::own_engine::OwnEngineError;

impl Failure for OwnEngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Option { .. } => ErrorKind::Value,
            Self::Load { source, .. } => match &**source {
                LoadError::Gguf(_) | LoadError::Adapter(_) | LoadError::Numbers { .. } => {
                    ErrorKind::InvalidModel
                }
                LoadError::Architecture { .. }
                | LoadError::Key { .. }
                | LoadError::Tensor { .. }
                | LoadError::Type { .. } => ErrorKind::UnsupportedModel,
                LoadError::Option { .. } => ErrorKind::Value,
                LoadError::Cancelled => ErrorKind::ModelLoadCancelled,
                LoadError::System(_) => ErrorKind::ModelLoad,
            },
        }
    }

    fn gguf(&self) -> Option<&GgufError> {
        match self {
            Self::Load { source, .. } => match &**source {
                LoadError::Gguf(error) => Some(error),
                LoadError::Adapter(_)
                | LoadError::Architecture { .. }
                | LoadError::Key { .. }
                | LoadError::Tensor { .. }
                | LoadError::Numbers { .. }
                | LoadError::Type { .. }
                | LoadError::Option { .. }
                | LoadError::Cancelled
                | LoadError::System(_) => None,
            },
            Self::Option { .. } => None,
        }
    }
}
