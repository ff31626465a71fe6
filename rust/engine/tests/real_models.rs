//! Real models beside llama.cpp.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{best, context, decoder, distance, lead, library, our_logits, ours, their_logits, their_logits_singly, theirs};

fn compare(file: &str, text: &str) {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(file)) else { return };
    let model = theirs(&library, &path);
    let tokens = model.vocab().tokenize(text, true, false).unwrap();
    let mut context = context(&model, 512);
    let expected = their_logits(&mut context, &tokens);
    let noise = distance(&their_logits_singly(&mut context, &tokens), &expected);
    let mut decoder = decoder(&ours(&path), 512);
    let found = our_logits(&mut decoder, 0, &tokens);
    let error = distance(&found, &expected);
    eprintln!("{file}: noise {noise:?} error {error:?}");
    for (ours, theirs) in found.iter().zip(&expected) {
        let (ours, theirs_best) = (best(ours), best(theirs));
        eprintln!("{ours} {theirs_best} {}", lead(theirs, ours));
    }
}

const TEXT: &str = "The history of the small town began when a group of fishermen settled at the mouth of the river. They built";

#[test]
fn smollm2() {
    compare("smollm2-135m-instruct-q4_1.gguf", TEXT);
}

#[test]
fn gemma() {
    compare("gemma-3-270m-q4_k_m.gguf", TEXT);
}

#[test]
fn qwen() {
    compare("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", TEXT);
}
