//! What a model's file says about embeddings.

use std::collections::BTreeMap;

use crate::pooling::Pooling;
use serde::{Deserialize, Serialize};
use tabagent_gguf::GgufFile;

/// What a model's file says about embeddings, read once when it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingFacts {
    /// How it makes one vector of a text's; `None` where the file does not say.
    pub pooling: Option<Pooling>,
    /// Numbers in a vector.
    pub width: u32,
    /// Outputs of the classifier that ranks documents; `None` without one.
    pub classes: Option<u32>,
    /// For how many positions it has learned embeddings; `None` if positions are not embedded, so that there may be more than it was trained with.
    pub learned_positions: Option<u32>,
    /// Whether its attention looks forward, too, as far as the file says.
    pub looks_forward: bool,
    /// Numbers in a vector after the last projection, if there are projections (`build_dense_out` in `src/llama-graph.cpp`).
    pub(crate) projected: Option<u32>,
}

/// The shapes of those tensors that decide what comes out of an embedding context.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputTensors {
    positions: Option<u32>,
    classifier: Option<u32>,
    classifier_output: Option<u32>,
    projected: Option<u32>,
}

impl OutputTensors {
    /// Looks through all parts of a model.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a GgufFile>) -> Self {
        let mut found = Self::default();
        let mut first_projection = None;
        for tensor in files.into_iter().flat_map(GgufFile::tensors) {
            let rows = Some(u32::try_from(tensor.shape.dim(1)).unwrap_or(u32::MAX));
            match tensor.name.as_str() {
                "position_embd.weight" => found.positions = rows,
                "cls.weight" => found.classifier = rows,
                "cls.output.weight" => found.classifier_output = rows,
                "dense_2.weight" => first_projection = rows,
                "dense_3.weight" => found.projected = rows,
                _ => {}
            }
        }
        found.projected = found.projected.or(first_projection);
        found
    }
}

impl EmbeddingFacts {
    /// `width` and `classes` are what llama.cpp says of the loaded model.
    pub(crate) fn new(
        architecture: &str,
        metadata: &BTreeMap<String, String>,
        tensors: &OutputTensors,
        width: u32,
        classes: u32,
    ) -> Self {
        // llama.cpp reads so many outputs of each text (`llama_context::encode` in `src/llama-context.cpp`), whatever the head has. A first layer
        // without a second is a head only if it ends in that many.
        let head = tensors.classifier_output.or(tensors.classifier);
        let causal = metadata.get(&format!("{architecture}.attention.causal"));
        Self {
            pooling: Pooling::of_file(architecture, metadata),
            width,
            classes: head.filter(|outputs| *outputs == classes),
            learned_positions: tensors.positions,
            looks_forward: causal.is_some_and(|value| value == "false"),
            projected: tensors.projected,
        }
    }
}
