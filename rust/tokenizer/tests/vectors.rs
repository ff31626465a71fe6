//! The vectors of the pinned tree's vocabularies.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use tabagent_tokenizer::Tokenizer;

fn vocabularies() -> Vec<PathBuf> {
    let Some(tree) = tabagent_material::tree() else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(tree.join("models")).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    assert!(files.len() >= 19, "{}", files.len());
    files
}

#[test]
fn all_vectors_match_exactly() {
    let files = vocabularies();
    let mut n_vectors = 0;
    for path in &files {
        let tokenizer = Tokenizer::from_file(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let Ok(inputs) = std::fs::read_to_string(with(".inp")) else { continue };
        let outputs = std::fs::read_to_string(with(".out")).unwrap();
        for (text, line) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
            let expected: Vec<i32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let tokens = tokenizer.tokenize(text, false, false).unwrap();
            assert_eq!(tokens, expected, "{} {text:?}", path.display());
            n_vectors += 1;
        }
    }
    assert!(n_vectors >= 693 || files.is_empty(), "{n_vectors}");
}
