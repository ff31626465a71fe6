//! The architectures that the engine computes, one a file: what a file's metadata say, as a [`Blueprint`].
//!
//! Each follows the file of `src/models` in llama.cpp that it names.

mod bitnet;
mod falcon;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod granite;
mod llama;
mod olmo2;
mod olmoe;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3moe;
mod smollm3;
mod stablelm;
mod starcoder2;

use tabagent_gguf::Metadata;

use crate::blueprint::Blueprint;
use crate::error::LoadError;
use crate::keys::Keys;

/// Makes a blueprint of a file's hyperparameters.
type Describe = fn(&Keys<'_>) -> Result<Blueprint, LoadError>;

/// The architectures by the name that files call them.
const ARCHITECTURES: &[(&str, Describe)] = &[
    ("bitnet", bitnet::describe),
    ("falcon", falcon::describe),
    ("gemma", gemma::describe),
    ("gemma2", gemma2::describe),
    ("gemma3", gemma3::describe),
    ("gpt2", gpt2::describe),
    ("granite", granite::describe),
    ("granitemoe", granite::describe),
    ("llama", llama::describe),
    ("olmo2", olmo2::describe),
    ("olmoe", olmoe::describe),
    ("phi3", phi3::describe),
    ("qwen2", qwen2::describe),
    ("qwen3", qwen3::describe),
    ("qwen3moe", qwen3moe::describe),
    ("smollm3", smollm3::describe),
    ("stablelm", stablelm::describe),
    ("starcoder2", starcoder2::describe),
];

/// The names of the architectures that the engine computes, as in `general.architecture`.
///
/// ```
/// assert!(tabagent_engine::architectures().any(|name| name == "llama"));
/// ```
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

impl Blueprint {
    /// What the model with these metadata computes.
    ///
    /// # Errors
    /// [`LoadError::Architecture`] if it is none of [`architectures`], [`LoadError::Key`] for a value that is missing or out of range.
    pub fn read(metadata: &Metadata) -> Result<Self, LoadError> {
        let name = metadata.get("general.architecture").and_then(|name| name.as_str()).unwrap_or_default();
        let Some((_, describe)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
            let known = architectures().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let architecture = name.chars().take(64).collect();
            return Err(LoadError::Architecture { architecture, known });
        };
        describe(&Keys::new(metadata, name))
    }
}
