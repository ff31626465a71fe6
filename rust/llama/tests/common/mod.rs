//! The library and models that `make test` provides through the environment.
#![allow(dead_code)]

use std::path::PathBuf;
use tabagent_llama::{Context, ContextConfig, Library, Model, ModelConfig};

fn from_env(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must set `{name}`");
        eprintln!("skipped: `{name}` is not set");
    }
    path
}

/// The library built from the pinned tree.
pub(crate) fn library() -> Option<Library> {
    Some(Library::open(from_env("TABAGENT_LIBRARY_PATH")?).unwrap())
}

pub(crate) fn model_path(file: &str) -> Option<PathBuf> {
    Some(from_env("TABAGENT_TEST_MODELS")?.join(file))
}

pub(crate) const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
pub(crate) const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

pub(crate) fn load(file: &str) -> Option<Model> {
    Some(Model::load(&library()?, ModelConfig::new(model_path(file)?).unwrap()).unwrap())
}

/// The pinned tree's vocabulary files with their test vectors.
pub(crate) fn vocab_dir() -> Option<PathBuf> {
    Some(from_env("TABAGENT_LLAMA_CPP_TREE")?.join("models"))
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
