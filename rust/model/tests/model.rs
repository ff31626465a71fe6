//! A model as an application in plain Rust uses it.
//!
//! Needs `TABAGENT_LIBRARY_PATH` and `TABAGENT_TEST_MODELS`, which `make test` provides.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tabagent_model::{
    AbortFlag, Changes, ContextError, DetokenizeOptions, EngineError, Error, FinishReason, GenerateOptions,
    GrammarRequest, LoadOptions, Model, ModelError, Poll, PromptInput, ScoreRequest, StopMatch, TokenStream,
};

fn load_file(
    file: &str,
    options: serde_json::Value,
    progress: impl Fn(f32) -> bool + Send + Sync + 'static,
) -> Option<Result<Model, Error>> {
    let (library, path) = (tabagent_material::library()?, tabagent_material::model(file)?);
    let options = LoadOptions::read(options.into()).unwrap();
    Some(Model::load(path, &library, None, &options, progress))
}

fn load_with(
    options: serde_json::Value,
    progress: impl Fn(f32) -> bool + Send + Sync + 'static,
) -> Option<Result<Model, Error>> {
    load_file("smollm2-135m-instruct-q4_1.gguf", options, progress)
}

fn model() -> Option<Model> {
    load_with(json!({"context_size": 512, "threads": 1}), |_| true).map(Result::unwrap)
}

fn prompt(model: &Model, text: &str) -> Vec<i32> {
    model.prompt(PromptInput::Text(text), true, true).unwrap().tokens
}

fn options(options: serde_json::Value) -> GenerateOptions {
    GenerateOptions::read(options.into()).unwrap()
}

fn text_of(stream: &TokenStream) -> String {
    let mut text = String::new();
    loop {
        match stream.next_timeout(Duration::from_mins(1)) {
            Poll::Event(event) => text += &event.text,
            Poll::Finished => return text,
            Poll::Pending => panic!("no progress"),
        }
    }
}

#[test]
fn a_model_generates_as_its_options_say() {
    let Some(model) = model() else { return };
    let tokens = prompt(&model, "The capital of France is");
    let ask =
        |given: serde_json::Value| model.generate(tokens.clone(), options(given), None, false).unwrap().0;
    let greedy = ask(json!({"max_tokens": 8, "sampling": {"temperature": 0}}));
    let text = text_of(&greedy);
    assert!(text.starts_with(" Paris"), "{text}");
    assert_eq!(greedy.finish().unwrap().usage.completion_tokens, 8);
    let stopped = ask(json!({"max_tokens": 8, "sampling": {"temperature": 0}, "stop": ["aris"]}));
    assert_eq!(text_of(&stopped), " P");
    assert_eq!(stopped.finish().unwrap().stop_match, Some(StopMatch::String("aris".to_owned())));
    let banned = ask(
        json!({"max_tokens": 1, "sampling": {"temperature": 0, "banned_tokens": prompt(&model, " Paris")}}),
    );
    assert!(!text_of(&banned).contains("Paris"));
    let broken = model.generate(tokens.clone(), options(json!({"sampling": {"top_p": 2}})), None, false);
    assert!(matches!(broken, Err(Error::Sampler(_))));
    let empty = model.generate(Vec::new(), GenerateOptions::default(), None, false);
    assert!(matches!(empty, Err(Error::Request(_))));
}

#[test]
fn grammars_are_compiled_once_and_belong_to_their_model() {
    let (Some(model), Some(other)) = (model(), model()) else { return };
    let request = GrammarRequest::read(json!({"kind": "choices", "source": ["yes", "no"]}).into()).unwrap();
    let grammar = model.compile_grammar(&request).unwrap();
    assert!(Arc::ptr_eq(&grammar, &model.compile_grammar(&request).unwrap()));
    let tokens = prompt(&model, "Is water wet? Answer:");
    let (stream, _) =
        model.generate(tokens.clone(), GenerateOptions::default(), Some(&grammar), false).unwrap();
    assert!(["yes", "no"].contains(&text_of(&stream).as_str()));
    assert_eq!(stream.finish().unwrap().constraint_complete, Some(true));
    let foreign = other.generate(tokens, GenerateOptions::default(), Some(&grammar), false);
    assert!(matches!(foreign, Err(Error::ForeignGrammar)));
}

#[test]
fn texts_and_tokens_go_both_ways() {
    let Some(model) = model() else { return };
    let texts: Vec<String> = (0..50).map(|i| format!("text {i}, 日本")).collect();
    let lists = model.tokenize_batch(&texts, false, false, &AbortFlag::new()).unwrap();
    let back = model.detokenize_batch(&lists, DetokenizeOptions::default(), &AbortFlag::new()).unwrap();
    assert_eq!(back, texts);
    assert_eq!(lists[7], model.tokenize(&texts[7], false, false).unwrap());
    let raised = AbortFlag::new();
    raised.raise();
    assert!(model.tokenize_batch(&texts, false, false, &raised).is_err());
}

#[test]
fn a_prompt_that_surely_does_not_fit_is_refused_untokenized() {
    let Some(loaded) =
        load_file("gemma-3-270m-q4_k_m.gguf", json!({"context_size": 64, "threads": 1}), |_| true)
    else {
        return;
    };
    let long = "word ".repeat(1 << 19);
    let refused = loaded.unwrap().prompt(PromptInput::Text(long.as_str()), true, false);
    assert!(matches!(refused, Err(Error::PromptTooLong { fewest, n_ctx }) if fewest > n_ctx));
}

#[test]
fn a_score_is_one_event_for_each_continuation() {
    let Some(model) = model() else { return };
    let continuations = vec![prompt(&model, " Paris"), prompt(&model, " bananas")];
    let request = ScoreRequest {
        prompt: prompt(&model, "The capital of France is"),
        continuations,
        ..ScoreRequest::default()
    };
    let stream = model.score(request, &Changes::default()).unwrap();
    let mut totals = Vec::new();
    loop {
        match stream.next_timeout(Duration::from_mins(1)) {
            Poll::Event(event) => totals.push(event.logprobs.iter().map(|entry| entry.logprob).sum::<f32>()),
            Poll::Finished => break,
            Poll::Pending => panic!("no progress"),
        }
    }
    assert!(totals.len() == 2 && totals[0] > totals[1], "{totals:?}");
}

#[test]
fn closing_ends_streams_and_refuses_what_comes_after() {
    let Some(model) = model() else { return };
    let tokens = prompt(&model, "Once upon a time");
    let endless = options(json!({"ignore_eos": true}));
    let (stream, _) = model.generate(tokens.clone(), endless, None, false).unwrap();
    let clone = model.clone();
    model.close();
    model.close();
    assert!(clone.is_closed());
    text_of(&stream);
    assert!(matches!(stream.finish().unwrap().reason, FinishReason::Error(EngineError::Closed)));
    let refused = clone.generate(tokens, GenerateOptions::default(), None, false);
    assert!(matches!(refused, Err(Error::Engine(EngineError::Closed))));
}

#[test]
fn a_load_reports_its_progress_and_can_be_stopped() {
    let most = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&most);
    let watched = move |part: f32| {
        seen.fetch_max(part.to_bits(), Ordering::Relaxed);
        true
    };
    let Some(loaded) = load_with(json!({"context_size": 64, "threads": 1}), watched) else { return };
    loaded.unwrap();
    assert_eq!(f32::from_bits(most.load(Ordering::Relaxed)).to_bits(), 1.0_f32.to_bits());
    let stopped = load_with(json!({"context_size": 64}), |_| false).unwrap();
    assert!(matches!(stopped, Err(Error::Load(ModelError::Cancelled(_)))));
    let vocabulary = load_with(json!({"vocab_only": true}), |_| true).unwrap().unwrap();
    assert_eq!(vocabulary.tokenize("a", false, false).unwrap().len(), 1);
    let refused = vocabulary.generate(vec![1], GenerateOptions::default(), None, false);
    assert!(matches!(refused, Err(Error::Context(ContextError::VocabOnly))));
}
