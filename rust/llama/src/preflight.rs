//! What is checked of a model file before llama.cpp sees it.

use crate::model_error::ModelError;
use std::path::{Path, PathBuf};
use tabagent_gguf::{GgufFile, check_model, check_parts, split_paths};

/// Checks that the model at `path`, any part of it, cannot make llama.cpp abort, and returns all its parts in order.
pub(crate) fn check(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let file = GgufFile::open(path)?;
    let is_split = file.split().is_some_and(|s| s.count > 1);
    if !is_split {
        check_model(&file)?;
        return Ok(vec![path.to_owned()]);
    }
    let paths = split_paths(path)?;
    let files = paths.iter().map(|p| GgufFile::open(p)).collect::<Result<Vec<_>, _>>()?;
    check_parts(&files)?;
    Ok(paths)
}
