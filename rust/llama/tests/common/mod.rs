//! The library and models that `make test` provides through the environment.
#![allow(dead_code)]

use std::path::PathBuf;
use tabagent_llama::{Context, ContextConfig, Library, Model, ModelConfig};

/// The library built from the pinned tree.
pub(crate) fn library() -> Option<Library> {
    Some(Library::open(tabagent_material::library()?).unwrap())
}

pub(crate) const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
pub(crate) const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

pub(crate) fn load(file: &str) -> Option<Model> {
    Some(Model::load(&library()?, ModelConfig::new(tabagent_material::model(file)?).unwrap()).unwrap())
}

/// The pinned tree's vocabulary files with their test vectors.
pub(crate) fn vocab_dir() -> Option<PathBuf> {
    Some(tabagent_material::tree()?.join("models"))
}

pub(crate) fn context(model: &Model) -> Context {
    let config =
        ContextConfig { max_sequences: 4, ..ContextConfig::new().with_context_size(256).with_threads(1) };
    model.create_context_with(&config).unwrap()
}

pub(crate) fn greedy(logits: &[f32]) -> i32 {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    best as i32
}
