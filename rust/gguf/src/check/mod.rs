//! The rules on which llama.cpp would abort, crash, hang or fail with an unclear message, checked before it sees a file.
//!
//! Each rule cites the place in the pinned llama.cpp that needs it. What llama.cpp tolerates is tolerated here.

mod architecture;
mod charsmap;
mod container;
mod data;
mod graph;
mod hyperparameters;
mod rules;
mod tensors;
mod tokenizer;
mod tokens;
mod vocabulary;

use crate::error::GgufError;
use crate::file::GgufFile;
use crate::owned::OwnedValue;

pub use architecture::ARCHITECTURES;
pub use container::check_parts;
pub use data::check_data;

pub(crate) use rules::Rules;

/// Checks that llama.cpp can load `file` without aborting, crashing or hanging.
///
/// A file without tensors counts as a vocabulary: it may lack hyperparameters, but those it has must be right. Of a model in several files pass the
/// first part here and all of them to [`check_parts`]. Reads the metadata once and hashes the vocabulary: a few tens of milliseconds for 262,144
/// tokens.
///
/// # Errors
/// [`GgufError::Unusable`] with the key or tensor and the rule that is broken.
pub fn check_model(file: &GgufFile) -> Result<(), GgufError> {
    check_model_with(file, &[])
}

/// As [`check_model`] for a file with values that llama.cpp will replace by `overrides` (`llama_model_params.kv_overrides`): integers as
/// [`OwnedValue::I64`], floats as [`OwnedValue::F64`], else [`OwnedValue::Bool`] and [`OwnedValue::String`].
///
/// # Errors
/// [`GgufError::Unusable`] with the key or tensor and the rule that is broken.
pub fn check_model_with(file: &GgufFile, overrides: &[(String, OwnedValue)]) -> Result<(), GgufError> {
    check_by(&Rules::with_overrides(file, overrides))
}

/// As [`check_model_with`] for a model that is read and not loaded: its tensors may be of a fork's types.
pub(crate) fn check_source(file: &GgufFile, overrides: &[(String, OwnedValue)]) -> Result<(), GgufError> {
    let mut rules = Rules::with_overrides(file, overrides);
    rules.allows_fork_types = true;
    check_by(&rules)
}

fn check_by(rules: &Rules<'_>) -> Result<(), GgufError> {
    container::check(rules)?;
    let width = hyperparameters::check(rules)?;
    graph::check(rules)?;
    let n_tokens = vocabulary::check(rules)?;
    tensors::check(rules, width, n_tokens)
}
