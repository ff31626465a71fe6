//! Control vectors of a model.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use tabagent_model::{ControlVector, Model};

use crate::adapters::told;
use crate::error::ApiError;

/// Files with control vectors, which change the model for all requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlFiles {
    /// The files, each with how much of it counts.
    pub files: Vec<(PathBuf, f32)>,
    /// The first and the last layer that they change; `None` for all that they have.
    pub layers: Option<RangeInclusive<u32>>,
}

/// Control vectors that are loaded.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) vectors: Vec<(ControlVector, f32)>,
    pub(crate) layers: Option<RangeInclusive<u32>>,
}

impl ControlFiles {
    /// Loads them. Blocks.
    pub(crate) fn load(&self, model: &Model) -> Result<Control, ApiError> {
        let load = |(path, scale): &(PathBuf, f32)| {
            let vector = model.load_control_vector(path).map_err(|error| told(&error, path))?;
            Ok((vector, *scale))
        };
        let vectors = self.files.iter().map(load).collect::<Result<_, ApiError>>()?;
        Ok(Control { vectors, layers: self.layers.clone() })
    }
}
