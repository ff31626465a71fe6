//! The greedy continuation of a prompt is the same on every platform, up to a place where two tokens are about as probable.
//!
//! Needs `TABAGENT_LIBRARY_PATH` and `TABAGENT_TEST_MODELS`, which `make test` provides.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tabagent_model::{GenerateOptions, LoadOptions, Model, Poll, PromptInput};

/// Log-probabilities of two tokens that may change places differ by less (`tests/near_ties.py`).
const NEAR: f64 = 0.6;

/// What `tests/support/continuation.py` wrote.
#[derive(Deserialize)]
struct Continuation {
    prompt: String,
    text: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    token: i32,
    /// Log-probabilities of the best tokens.
    top: BTreeMap<i32, f64>,
}

#[test]
fn the_greedy_text_is_that_of_x86_64() {
    let (Some(library), Some(path)) =
        (tabagent_material::library(), tabagent_material::model("smollm2-135m-instruct-q4_1.gguf"))
    else {
        return;
    };
    let want: Continuation = serde_json::from_str(include_str!("data/continuation.json")).unwrap();
    let options = LoadOptions::read(json!({"context_size": 512}).into()).unwrap();
    let model = Model::load(path, &library, None, &options, |_| true).unwrap();
    let prompt = model.prompt(PromptInput::Text(&want.prompt), true, true).unwrap().tokens;
    let asked = json!({"max_tokens": want.steps.len(), "sampling": {"temperature": 0}, "ignore_eos": true});
    let options = GenerateOptions::read(asked.into()).unwrap();
    let stream = model.generate(prompt, options, None, false).unwrap().0;
    let (mut tokens, mut text) = (Vec::new(), String::new());
    loop {
        match stream.next_timeout(Duration::from_mins(5)) {
            Poll::Event(event) => {
                tokens.extend(event.token_ids);
                text += &event.text;
            }
            Poll::Finished => break,
            Poll::Pending => panic!("no progress"),
        }
    }
    assert_eq!(tokens.len(), want.steps.len());
    let differing = tokens.iter().zip(&want.steps).enumerate().find(|(_, (got, step))| **got != step.token);
    let Some((place, (got, step))) = differing else {
        assert_eq!(text, want.text);
        return;
    };
    let Some(probability) = step.top.get(got) else {
        panic!("token {place} is {got}, which is far from {}", step.token);
    };
    let distance = step.top[&step.token] - probability;
    assert!(distance < NEAR, "token {place} is {got} instead of {}, {distance} before it", step.token);
}
