//! Errors of adapters and control vectors.

use std::path::PathBuf;

use tabagent_gguf::{GgufError, LoraError};

use crate::context_error::ContextError;
use crate::elsewhere::ElsewhereError;

/// An adapter could not be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The adapter breaks a rule, is for another model, or cannot be read or written.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The model's own file cannot be read again.
    #[error("the tensors of the model, which the adapter must fit, cannot be read: {0}")]
    ModelFile(#[source] GgufError),
    /// The model's own file is another one now.
    #[error(
        "`{}` is no longer the file that the model was loaded from, so that the adapter cannot be compared with its tensors; load the model again",
        .0.display()
    )]
    ModelFileChanged(PathBuf),
    /// The model has no weights.
    #[error(
        "llama.cpp has the vocabulary of this model alone, which was loaded with `vocab_only` or `engine='rust'`; load it with its weights to use adapters"
    )]
    VocabOnly,
    /// llama.cpp would pass over some of the adapter.
    #[error(
        "cannot use adapter `{}`: llama.cpp computes without adapters from {}, which it changes; merge the adapter into the model",
        path.display(), listed(tensors)
    )]
    Unused {
        /// The adapter.
        path: PathBuf,
        /// The model's tensors.
        tensors: Vec<String>,
    },
    /// A token of an activated adapter that does not exist.
    #[error(
        "cannot use adapter `{}`: its invocation token `{token}` is none of the model, whose ids go from 0 to {}; it is for another model",
        path.display(), vocab_size.saturating_sub(1)
    )]
    InvocationToken {
        /// The adapter.
        path: PathBuf,
        /// The token.
        token: i32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// The adapter does not fit in memory.
    #[error(
        "adapter `{}` needs about {} MiB and {} MiB are available; close other adapters, contexts or models",
        path.display(), needed >> 20, available >> 20
    )]
    OutOfMemory {
        /// The adapter.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// llama.cpp refused the adapter.
    #[error("llama.cpp cannot load adapter `{}`: {}", path.display(), crate::model_error::reason(log))]
    Refused {
        /// The adapter.
        path: PathBuf,
        /// The errors it logged.
        log: Vec<String>,
    },
    /// There is no place for the file that llama.cpp reads.
    #[error("cannot make a temporary folder in `{}`: {source}; name another place in `TMPDIR`", path.display())]
    NoFolder {
        /// The place.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The model cannot be run for a token, which shows what of the adapter llama.cpp uses.
    #[error(transparent)]
    Trial(ContextError),
    /// The process that has the model refused it.
    #[error(transparent)]
    Elsewhere(ElsewhereError),
    /// The adapter is of another model.
    #[error(
        "adapter `{name}` belongs to another model in memory, even if that is of the same file; load it with this model's `load_adapter`"
    )]
    OtherModel {
        /// The adapter.
        name: String,
    },
    /// An activated adapter for a whole request.
    #[error(
        "adapter `{name}` is an activated one (aLoRA), which works from its invocation tokens on, but a request is computed with its adapters from its first token on; decode with `create_context`, and set it at these tokens"
    )]
    Activated {
        /// The adapter.
        name: String,
    },
    /// The adapter is there more than once.
    #[error("adapter `{name}` is given twice; give it once, with the sum of both scales")]
    Twice {
        /// The adapter.
        name: String,
    },
    /// A scale with which nothing finite can be computed.
    #[error(
        "scale `{scale}` of adapter `{name}` times the strength of its matrices, `{strength}`, must be finite"
    )]
    Scale {
        /// The adapter.
        name: String,
        /// What was given.
        scale: f32,
        /// What the product of its matrices is multiplied with otherwise.
        strength: f64,
    },
    /// More adapters than llama.cpp has room for in a graph.
    #[error(
        "adapters that change {changes} tensors together are more than llama.cpp has room for in the graph of a model of architecture `{architecture}`, at most {most}; use fewer at a time"
    )]
    TooMany {
        /// The model's architecture.
        architecture: String,
        /// Tensors changed, counted once for each adapter.
        changes: usize,
        /// The limit.
        most: usize,
    },
}

/// A control vector could not be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum ControlVectorError {
    /// The file is damaged, or no control vector.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The vector is for another model.
    #[error("cannot use control vector `{name}`: {problem}")]
    Unfit {
        /// The vector's file, or what it was made of.
        name: String,
        /// What does not fit, with found and expected values.
        problem: String,
    },
    /// Layers that the model does not have.
    #[error("layers {first} to {last} are no range of the layers that control vectors move, 1 to {most}")]
    Layers {
        /// The first one.
        first: u32,
        /// The last one.
        last: u32,
        /// The last one that can be moved.
        most: u32,
    },
    /// A scale with which nothing finite can be computed.
    #[error("scale `{scale}` of control vector `{name}` makes numbers that are not finite")]
    Scale {
        /// The vector.
        name: String,
        /// What was given.
        scale: f32,
    },
    /// llama.cpp does not apply control vectors to such models.
    #[error("llama.cpp applies no control vectors to models of architecture `{architecture}`")]
    Architecture {
        /// The model's architecture.
        architecture: String,
    },
    /// llama.cpp refused the vector.
    #[error("llama.cpp cannot set the control vector: {}", crate::model_error::reason(log))]
    Refused {
        /// The errors it logged.
        log: Vec<String>,
    },
}

/// At most four names.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}
