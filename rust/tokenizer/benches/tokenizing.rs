//! How fast texts become tokens: English text, one thread. At least 30 MB/s are wanted.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tabagent_tokenizer::Tokenizer;

/// The English documents of the pinned tree, one after another.
fn english(tree: &Path) -> String {
    let mut folders = vec![tree.join("docs"), tree.join("tools"), tree.join("examples")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

fn tokenizing(criterion: &mut Criterion) {
    let Some(tree) = tabagent_material::tree() else { return };
    let text = english(&tree);
    let mut group = criterion.benchmark_group("tokenize");
    group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(20);
    for name in ["llama-bpe", "qwen2", "gpt-2", "deepseek-llm", "llama-spm", "gemma-4", "bert-bge"] {
        let path = tree.join(format!("models/ggml-vocab-{name}.gguf"));
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(tokenizer.tokenize(&text, true, true).unwrap()));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    for name in ["llama-bpe", "llama-spm", "gemma-4"] {
        let path = tree.join(format!("models/ggml-vocab-{name}.gguf"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(Tokenizer::from_file(&path).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, tokenizing);
criterion_main!(benches);
