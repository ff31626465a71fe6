//! What is checked of a model file before llama.cpp sees it.

use crate::model_error::ModelError;
use crate::overrides::MetadataOverride;
use std::path::{Path, PathBuf};
use tabagent_gguf::{GgufFile, OwnedValue, check_model_with, check_parts, split_paths};

/// Checks that the model at `path`, any part of it, cannot make llama.cpp abort, with the values that `overrides` put in place of its own,
/// and returns all its parts in order.
pub(crate) fn check(
    path: &Path,
    overrides: &[(String, MetadataOverride)],
) -> Result<Vec<PathBuf>, ModelError> {
    let overrides: Vec<_> =
        overrides.iter().map(|(key, value)| (key.clone(), value.to_owned_value())).collect();
    let file = GgufFile::open(path)?;
    let is_split = file.split().is_some_and(|s| s.count > 1);
    if !is_split {
        check_model_with(&file, &overrides)?;
        return Ok(vec![path.to_owned()]);
    }
    let paths = split_paths(path)?;
    let files = paths.iter().map(|p| GgufFile::open(p)).collect::<Result<Vec<_>, _>>()?;
    check_parts(&files)?;
    if let Some(first) = files.first() {
        check_model_with(first, &overrides)?;
    }
    Ok(paths)
}

impl MetadataOverride {
    fn to_owned_value(&self) -> OwnedValue {
        match self {
            Self::Int(int) => OwnedValue::I64(*int),
            Self::Float(float) => OwnedValue::F64(*float),
            Self::Bool(flag) => OwnedValue::Bool(*flag),
            Self::Str(text) => OwnedValue::from(text.as_str()),
        }
    }
}
