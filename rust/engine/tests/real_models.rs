//! Real models beside llama.cpp: logits of a text, and what each says next.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    batch, best, context, decoder, distance, lead, library, our_logits, ours, their_logits,
    their_logits_singly, theirs,
};
use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder};
use tabagent_llama::Model;
use tabagent_runtime::{Decoder, Engine, EngineConfig, Poll, Request, TokenId, Vocabulary};
use tabagent_sampling::{Sampler, SamplerConfig};

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";
const QWEN: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

const TEXT: &str = "The history of the small town began when a group of fishermen settled at the mouth of the river. They built";

/// How far logits may be apart, by the root of the mean square relative to their deviation. Both engines round activations to 8 bits, each in blocks of
/// its own; llama.cpp's own logits of Gemma and Qwen differ by 0.04 and 0.03 between a batch and single tokens, for which it has other kernels.
const MOST: f32 = 0.06;

/// How far another token may be behind llama.cpp's best to count as tied, by the root of the mean square of errors. Of the differences of two logits with
/// such errors, one in 15,000 is larger.
const TIE: f32 = 5.7;

fn compare(file: &str) {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(file)) else { return };
    let model = theirs(&library, &path);
    let tokens = model.vocab().tokenize(TEXT, true, false).unwrap();
    let mut context = context(&model, 512);
    let expected = their_logits(&mut context, &tokens);
    let loaded = ours(&path);
    let mut decoder = decoder(&loaded, 512);
    let found = our_logits(&mut decoder, 0, &tokens);
    let error = distance(&found, &expected);
    let noise = distance(&their_logits_singly(&mut context, &tokens), &expected);
    assert!(error.relative < MOST, "{file}: {error:?}, llama.cpp's own noise {noise:?}");
    // What each says next, a token at a time; both read what llama.cpp says.
    let n_prompt = tokens.len();
    let mut text = tokens;
    let mut logits = expected.last().unwrap().clone();
    let mut ties = Vec::new();
    let mut ours = found.last().unwrap().clone();
    for position in n_prompt..n_prompt + 200 {
        let (said, other) = (best(&logits), best(&ours));
        if said != other {
            let behind = lead(&logits, other);
            let limit = TIE * rms(&ours, &logits);
            assert!(
                behind < limit,
                "{file}: token {other} at {position} is {behind} behind {said}, limit {limit}"
            );
            ties.push((position - n_prompt, said, other, behind));
        }
        let token = TokenId::try_from(said).unwrap();
        text.push(token);
        context.decode(&tabagent_llama::Batch::prompt(0, position as u32, &[token])).unwrap();
        logits = context.logits(0).unwrap().to_vec();
        decoder.decode(&batch(0, position, &[token]), &|| false).unwrap();
        ours = decoder.logits(0).to_vec();
    }
    assert!(ties.len() < 30, "{file}: too many near ties for chance: {ties:?}");
    let _ = text;
}

/// The root of the mean square of differences.
fn rms(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn smollm2_says_what_it_says_in_llama_cpp() {
    compare(SMOLLM2);
}

#[test]
fn gemma_says_what_it_says_in_llama_cpp() {
    compare(GEMMA);
}

#[test]
fn qwen_says_what_it_says_in_llama_cpp() {
    compare(QWEN);
}

/// llama.cpp's vocabulary for this engine.
struct Words(Model);

impl Vocabulary for Words {
    fn n_tokens(&self) -> usize {
        self.0.vocab().len()
    }

    fn push_token_bytes(&self, token: TokenId, special: bool, out: &mut Vec<u8>) {
        self.0.vocab().push_token_bytes(token, special, out).unwrap();
    }

    fn is_eog(&self, token: TokenId) -> bool {
        self.0.vocab().is_eog(token)
    }
}

#[test]
fn texts_stream_through_the_runtime() {
    let (Some(library), Some(path)) = (library(), tabagent_material::model(SMOLLM2)) else { return };
    let model = theirs(&library, &path);
    let prompts = ["The capital of France is", "The opposite of hot is", "1, 2, 3, 4,"];
    let prompts = prompts.map(|text| model.vocab().tokenize(text, true, false).unwrap());
    let n_tokens = model.vocab().len();
    let vocabulary = Arc::new(Words(model));
    let options = DecoderOptions::new(256);
    let decoder = EngineDecoder::new(ours(&path), Cpu::new(2).unwrap(), vocabulary, options).unwrap();
    let engine = Engine::spawn(decoder, "smollm2", &EngineConfig::default()).unwrap();
    let streams = prompts.map(|prompt| {
        let sampler = Sampler::new(&SamplerConfig::greedy(), n_tokens).unwrap();
        let request = Request { max_tokens: Some(8), ..Request::new(prompt, Box::new(sampler)) };
        engine.submit(request).unwrap()
    });
    for (stream, word) in streams.iter().zip(["Paris", "cold", "5"]) {
        let mut text = String::new();
        loop {
            match stream.next_timeout(Duration::from_mins(1)) {
                Poll::Event(event) => text += &event.text,
                Poll::Finished => break,
                Poll::Pending => panic!("no progress"),
            }
        }
        assert!(text.contains(word), "{text}");
    }
}
