//! The decode thread over real llama.cpp contexts.
//!
//! Needs `TABAGENT_LIBRARY_PATH` and `TABAGENT_TEST_MODELS`, which `make test` provides.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use tabagent_llama::{ContextConfig, Library, Model, ModelConfig};
use tabagent_model::LlamaDecoder;
use tabagent_runtime::{Engine, EngineConfig, FinishReason, Poll, Request, TokenStream};
use tabagent_sampling::{Sampler, SamplerConfig};

fn model(file: &str) -> Option<Model> {
    let (library, path) = (tabagent_material::library()?, tabagent_material::model(file)?);
    Some(Model::load(&Library::open(library).unwrap(), ModelConfig::new(path).unwrap()).unwrap())
}

fn engine(model: &Model, context_size: u32, max_sequences: u32) -> Engine {
    spawn(model, context_size, max_sequences, &EngineConfig::default())
}

fn spawn(model: &Model, context_size: u32, max_sequences: u32, engine: &EngineConfig) -> Engine {
    let config = ContextConfig {
        max_sequences,
        max_outputs: Some(8),
        ..ContextConfig::new().with_context_size(context_size).with_threads(1)
    };
    Engine::spawn(LlamaDecoder::new(model.create_context_with(&config).unwrap()), "test", engine).unwrap()
}

fn request(model: &Model, prompt: &str, max_tokens: usize) -> Request {
    let prompt = model.vocab().tokenize(prompt, true, false).unwrap();
    let sampler = Sampler::new(&SamplerConfig::greedy(), model.vocab().len()).unwrap();
    Request { max_tokens: Some(max_tokens), ..Request::new(prompt, Box::new(sampler)) }
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

const PROMPTS: [&str; 3] = ["The capital of France is", "Once upon a time", "Water boils at"];

#[test]
fn streams_give_the_same_text_alone_and_among_others() {
    for file in ["smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let Some(model) = model(file) else { return };
        let engine = spawn(&model, 512, 2, &EngineConfig { deterministic: true, ..EngineConfig::default() });
        let alone: Vec<_> =
            PROMPTS.iter().map(|p| text_of(&engine.submit(request(&model, p, 24)).unwrap())).collect();
        assert!(alone.iter().all(|t| !t.is_empty()));
        let streams: Vec<_> =
            PROMPTS.iter().chain(&PROMPTS).map(|p| engine.submit(request(&model, p, 24)).unwrap()).collect();
        for (i, stream) in streams.iter().enumerate() {
            assert_eq!(text_of(stream), alone[i % PROMPTS.len()], "{file}");
        }
    }
}

/// More open streams than slots, none of them read, and a context that holds only one at a time: parking must keep all going.
#[test]
fn unread_streams_are_parked_and_go_on() {
    let Some(model) = model("smollm2-135m-instruct-q4_1.gguf") else { return };
    let engine = engine(&model, 512, 2);
    let ask = |i: usize| {
        let mut request = request(&model, PROMPTS[i % 3], 300);
        request.ignore_eos = true;
        engine.submit(request).unwrap()
    };
    let expected: Vec<_> = (0..3).map(|i| text_of(&ask(i))).collect();
    let streams: Vec<_> = (0..5).map(ask).collect();
    for i in (0..5).rev() {
        let text = text_of(&streams[i]);
        assert_eq!(text.is_empty(), expected[i % 3].is_empty());
        assert_eq!(streams[i].finish().unwrap().reason, FinishReason::Length);
        assert_eq!(streams[i].finish().unwrap().usage.completion_tokens, 300);
    }
}

#[test]
fn a_cancelled_prompt_ends_soon_and_frees_its_slot() {
    let Some(model) = model("smollm2-135m-instruct-q4_1.gguf") else { return };
    let engine = engine(&model, 4096, 1);
    let long = engine.submit(request(&model, &"word ".repeat(4000), 10)).unwrap();
    let next = engine.submit(request(&model, PROMPTS[0], 4)).unwrap();
    let asked = std::time::Instant::now();
    while engine.stats().active == 0 {
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", engine.stats());
        assert!(matches!(long.next_timeout(Duration::from_millis(1)), Poll::Pending));
    }
    let cancelled = std::time::Instant::now();
    long.cancel();
    assert_eq!(text_of(&long), "");
    assert_eq!(long.finish().unwrap().reason, FinishReason::Cancelled);
    assert!(cancelled.elapsed() < Duration::from_secs(1), "{:?}", cancelled.elapsed());
    assert!(!text_of(&next).is_empty());
}

#[test]
fn closing_stops_running_streams() {
    let Some(model) = model("smollm2-135m-instruct-q4_1.gguf") else { return };
    let engine = engine(&model, 4096, 1);
    let stream = engine.submit(request(&model, &"word ".repeat(4000), 10)).unwrap();
    engine.close();
    text_of(&stream);
    assert!(matches!(stream.finish().unwrap().reason, FinishReason::Error(_)));
    assert!(engine.submit(request(&model, PROMPTS[0], 4)).is_err());
}
