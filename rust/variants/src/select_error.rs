//! Why a request leads to no variant.

use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use crate::feature::CpuFeature;
use crate::text::serialize_path;

/// Why no variant could be chosen.
///
/// ```
/// use tabagent_variants::{SelectError, VariantRequest};
/// assert_eq!("".parse::<VariantRequest>(), Err(SelectError::EmptyRequest));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectError {
    /// The request is an empty text.
    #[error("the variant is empty; ask for `auto`, a name such as `haswell`, or a path")]
    EmptyRequest,
    /// No library directory was found at all.
    #[error(
        "no llama.cpp library was found; install a wheel with libraries or set `TABAGENT_LIBRARY_PATH` to a directory that holds one"
    )]
    NoLibrary,
    /// Libraries were found, and none of them runs here.
    #[error("none of the {found} variants found runs on this machine; the closest one, `{name}`, {reason}")]
    NoneUsable {
        /// How many variants were found.
        found: usize,
        /// The one that misses least.
        name: String,
        /// Why it does not run.
        reason: String,
    },
    /// No variant has the name.
    #[error("unknown variant `{name}`; known here, closest first: {}", backticked(known))]
    UnknownVariant {
        /// The name asked for.
        name: String,
        /// The names there are, closest first.
        known: Vec<String>,
    },
    /// No variant is at the path.
    #[error("no llama.cpp library was found at `{}`; known here: {}", path.display(), backticked(known))]
    UnknownPath {
        /// The path asked for.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
        /// The directories there are.
        known: Vec<String>,
    },
    /// The variant asked for does not run here.
    #[error("variant `{name}` cannot run on this machine: {reason}; ask for `auto` or another variant")]
    Unusable {
        /// The variant.
        name: String,
        /// Why it does not run.
        reason: String,
        /// The features missing.
        missing: Vec<CpuFeature>,
    },
}

fn backticked(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
