//! Checks of a model file before llama.cpp sees it.

use crate::embedding_facts::OutputTensors;
use crate::model_error::ModelError;
use crate::outline::ModelOutline;
use crate::overrides;
use std::path::{Path, PathBuf};
use tabagent_gguf::{GgufFile, MetadataOverride, OwnedValue, check_model_with, check_parts, split_paths};

/// A model that passed the checks.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// All its parts in order.
    pub(crate) paths: Vec<PathBuf>,
    /// The values that replace those of the file, each of the type that it replaces.
    pub(crate) overrides: Vec<(String, MetadataOverride)>,
    /// What the header tells of the model's size.
    pub(crate) outline: ModelOutline,
    /// What decides which vectors it gives.
    pub(crate) outputs: OutputTensors,
    /// Whether it has no tensors at all.
    pub(crate) is_vocabulary: bool,
    /// Of each part, how long its header is and how long it is altogether.
    pub(crate) lengths: Vec<(u64, u64)>,
}

/// Checks that the model at `path` (any part of it), with `overrides` in place of its own values, cannot make llama.cpp abort.
pub(crate) fn check(path: &Path, overrides: &[(String, MetadataOverride)]) -> Result<Checked, ModelError> {
    let file = GgufFile::open(path)?;
    let is_split = file.split().is_some_and(|s| s.count > 1);
    if !is_split {
        let outputs = OutputTensors::of([&file]);
        let lengths = vec![(file.data_offset(), file.file_size())];
        return check_one(&file, vec![path.to_owned()], lengths, overrides, outputs);
    }
    let paths = split_paths(path)?;
    let files = paths.iter().map(|p| GgufFile::open(p)).collect::<Result<Vec<_>, _>>()?;
    check_parts(&files)?;
    let lengths = files.iter().map(|file| (file.data_offset(), file.file_size())).collect();
    let outputs = OutputTensors::of(&files);
    check_one(files.first().unwrap_or(&file), paths, lengths, overrides, outputs)
}

/// Checks the metadata, which are in the first part.
fn check_one(
    file: &GgufFile,
    paths: Vec<PathBuf>,
    lengths: Vec<(u64, u64)>,
    overrides: &[(String, MetadataOverride)],
    outputs: OutputTensors,
) -> Result<Checked, ModelError> {
    let overrides = overrides::fitted(file, overrides)?;
    let values: Vec<_> =
        overrides.iter().map(|(key, value)| (key.clone(), OwnedValue::from(value.clone()))).collect();
    check_model_with(file, &values)?;
    let bytes = lengths.iter().map(|(_, size)| size).sum();
    let is_vocabulary = file.tensors().is_empty() && file.split().is_none();
    Ok(Checked { paths, overrides, outline: ModelOutline::of(file, bytes), outputs, is_vocabulary, lengths })
}
