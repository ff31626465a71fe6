//! The families of llama.cpp builds.

use serde::Serialize;

/// Which family of llama.cpp a build belongs to. Their GGUF type numbers collide, so one must not read the other's files.
///
/// ```
/// use tabagent_variants::{BitnetVariant, BuildFamily};
/// assert_eq!(BitnetVariant::named("standard").unwrap().family, BuildFamily::LlamaCpp);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildFamily {
    /// llama.cpp itself.
    LlamaCpp,
    /// The fork with BitNet's own block types.
    BitNet,
}
