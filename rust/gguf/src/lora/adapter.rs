//! What an adapter adds to a model, whatever form it came in.

use std::collections::BTreeMap;
use std::path::Path;

use super::low_rank::LowRank;

/// The tensor whose two matrices are stored the other way round, because its rows are looked up and not multiplied
/// (`build_inp_embd` in `src/llama-graph.cpp`).
const LOOKED_UP: &str = "token_embd.weight";

/// What an adapter adds to a model's tensors.
#[derive(Debug)]
pub(super) struct Adapter {
    /// The name of the file or folder.
    pub(super) name: String,
    /// By the tensor's name in GGUF.
    pub(super) changes: BTreeMap<String, LowRank>,
    /// Tensors that llama.cpp passes over.
    pub(super) ignored: Vec<String>,
    /// The alpha of all tensors without one of their own; `None` where it equals each tensor's rank.
    pub(super) alpha: Option<f64>,
    /// The tokens from which on it works (activated `LoRA`: <https://arxiv.org/abs/2504.12397>); empty for an adapter that always works.
    pub(super) invocation_tokens: Vec<i32>,
}

impl Adapter {
    /// An adapter without changes yet.
    pub(super) fn new(path: &Path) -> Self {
        let full = std::fs::canonicalize(path).ok();
        let name = full.as_deref().unwrap_or(path).file_name();
        let name =
            name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Self {
            name,
            changes: BTreeMap::new(),
            ignored: Vec::new(),
            alpha: None,
            invocation_tokens: Vec::new(),
        }
    }
}

/// True if the matrices of the tensor called `name` are stored the other way round in GGUF.
pub(super) fn is_looked_up(name: &str) -> bool {
    name.ends_with(LOOKED_UP)
}
