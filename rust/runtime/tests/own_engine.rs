//! The whole runtime over an engine that is written here alone: a small transformer with random weights and a memory of its own.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use tabagent_runtime::{
    BatchToken, Decoder, DecoderError, Engine, EngineConfig, FinishReason, Poll, Request, ScoreRequest, Stop,
    TokenEvent, TokenId, TokenStream, Vocabulary,
};
use tabagent_sampling::{Sampler, SamplerConfig};

const N_VOCAB: usize = 24;
const WIDTH: usize = 16;
const N_HEADS: usize = 2;
const N_LAYERS: usize = 2;
const HEAD: usize = WIDTH / N_HEADS;

type Row = [f32; WIDTH];
type Matrix = Vec<Row>;

struct Layer {
    query: Matrix,
    key: Matrix,
    value: Matrix,
    out: Matrix,
    up: Matrix,
    down: Matrix,
}

/// The model: embeddings, which the logits are made with, too, and layers of attention and a feed-forward part.
struct Weights {
    embeddings: Matrix,
    layers: Vec<Layer>,
}

impl Weights {
    fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut number = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * 0.9
        };
        let mut matrix =
            move |rows: usize| -> Matrix { (0..rows).map(|_| std::array::from_fn(|_| number())).collect() };
        let embeddings = matrix(N_VOCAB);
        let mut layer = || Layer {
            query: matrix(WIDTH),
            key: matrix(WIDTH),
            value: matrix(WIDTH),
            out: matrix(WIDTH),
            up: matrix(WIDTH),
            down: matrix(WIDTH),
        };
        let layers = (0..N_LAYERS).map(|_| layer()).collect();
        Self { embeddings, layers }
    }
}

fn apply(matrix: &Matrix, row: &Row) -> Row {
    std::array::from_fn(|i| matrix[i].iter().zip(row).map(|(a, b)| a * b).sum())
}

fn normalized(row: &Row) -> Row {
    let mean_square = row.iter().map(|x| x * x).sum::<f32>() / WIDTH as f32;
    row.map(|x| x / (mean_square + 1e-6).sqrt())
}

/// What the layers remember of one sequence: keys and values, a row for each token.
type Memory = Vec<Vec<(Row, Row)>>;

fn empty() -> Memory {
    vec![Vec::new(); N_LAYERS]
}

/// Takes one token into the memory; the logits after it.
fn step(weights: &Weights, memory: &mut Memory, token: TokenId) -> Vec<f32> {
    let position = memory[0].len();
    let embedding = weights.embeddings[token as usize];
    let mut row: Row = std::array::from_fn(|i| {
        let angle = position as f32 / 50_f32.powf((i / 2 * 2) as f32 / WIDTH as f32);
        embedding[i] + if i % 2 == 0 { angle.sin() } else { angle.cos() }
    });
    for (layer, seen) in weights.layers.iter().zip(memory.iter_mut()) {
        let input = normalized(&row);
        let query = apply(&layer.query, &input);
        seen.push((apply(&layer.key, &input), apply(&layer.value, &input)));
        let mut mixed = [0.0; WIDTH];
        for head in 0..N_HEADS {
            let part = head * HEAD..(head + 1) * HEAD;
            let score =
                |key: &Row| part.clone().map(|i| query[i] * key[i]).sum::<f32>() / (HEAD as f32).sqrt();
            let scores: Vec<f32> = seen.iter().map(|(key, _)| score(key)).collect();
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = scores.iter().map(|s| (s - largest).exp()).sum();
            for (score, (_, value)) in scores.iter().zip(seen.iter()) {
                let weight = (score - largest).exp() / total;
                part.clone().for_each(|i| mixed[i] += weight * value[i]);
            }
        }
        let attended = apply(&layer.out, &mixed);
        row = std::array::from_fn(|i| row[i] + attended[i]);
        let hidden = apply(&layer.up, &normalized(&row)).map(|x| x.max(0.0));
        let fed = apply(&layer.down, &hidden);
        row = std::array::from_fn(|i| row[i] + fed[i]);
    }
    let row = normalized(&row);
    weights.embeddings.iter().map(|e| e.iter().zip(&row).map(|(a, b)| a * b).sum()).collect()
}

/// A letter a token; the first one ends a text and the last two are the halves of a character.
struct Letters;

impl Vocabulary for Letters {
    fn n_tokens(&self) -> usize {
        N_VOCAB
    }

    fn push_token_bytes(&self, token: TokenId, special: bool, out: &mut Vec<u8>) {
        match token {
            0 if special => out.extend(b"<end>"),
            0 => {}
            22 => out.push(0xC3),
            23 => out.push(0xA9),
            letter => out.push(b'a' + letter as u8 - 1),
        }
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token == 0
    }
}

/// The engine: a memory for each sequence, which share a number of cells.
struct Tiny {
    weights: Arc<Weights>,
    memories: Vec<Memory>,
    rows: Vec<Vec<f32>>,
    n_ctx: usize,
}

impl Tiny {
    fn spawn(weights: &Arc<Weights>, n_ctx: usize, n_seq_max: usize) -> Engine {
        let memories = vec![empty(); n_seq_max];
        let decoder = Self { weights: Arc::clone(weights), memories, rows: Vec::new(), n_ctx };
        Engine::spawn(decoder, "tiny", &EngineConfig::default()).unwrap()
    }
}

impl Decoder for Tiny {
    type Saved = Memory;

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn n_batch(&self) -> usize {
        7
    }

    fn n_outputs_max(&self) -> usize {
        3
    }

    fn n_seq_max(&self) -> usize {
        self.memories.len()
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(Letters)
    }

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        self.rows.clear();
        for row in batch {
            if stop() {
                return Err(DecoderError::Aborted);
            }
            let memory = &mut self.memories[row.seq as usize];
            assert_eq!(memory[0].len(), row.pos);
            self.rows.push(step(&self.weights, memory, row.token));
        }
        Ok(())
    }

    fn logits(&self, index: usize) -> &[f32] {
        &self.rows[index]
    }

    fn can_cut(&self, _seq: u32, _n: usize) -> bool {
        true
    }

    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool {
        self.memories[to as usize] = self.memories[from as usize].clone();
        self.truncate(to, n)
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        self.memories[seq as usize].iter_mut().for_each(|layer| layer.truncate(from_pos));
        true
    }

    fn clear(&mut self, seq: u32) {
        self.memories[seq as usize] = empty();
    }

    fn save(&mut self, seq: u32) -> Result<Memory, DecoderError> {
        Ok(self.memories[seq as usize].clone())
    }

    fn saved_bytes(state: &Memory) -> usize {
        state.iter().map(|layer| layer.len() * size_of::<(Row, Row)>()).sum()
    }

    fn restore(&mut self, seq: u32, state: &Memory) -> Result<(), DecoderError> {
        self.memories[seq as usize].clone_from(state);
        Ok(())
    }
}

fn request(prompt: &[TokenId], max_tokens: usize) -> Request {
    let sampler = Sampler::new(&SamplerConfig::greedy(), N_VOCAB).unwrap();
    let request = Request::new(prompt.to_vec(), Box::new(sampler));
    Request { max_tokens: Some(max_tokens), ignore_eos: true, ..request }
}

/// The tokens that the model itself gives, one after another.
fn continuation(weights: &Weights, prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    let mut memory = empty();
    let mut logits = Vec::new();
    for token in prompt {
        logits = step(weights, &mut memory, *token);
    }
    let mut tokens = Vec::new();
    for _ in 0..n {
        let best = (0..N_VOCAB).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap();
        tokens.push(best as TokenId);
        logits = step(weights, &mut memory, best as TokenId);
    }
    tokens
}

fn text_of(tokens: &[TokenId]) -> String {
    let mut bytes = Vec::new();
    for token in tokens {
        Letters.push_token_bytes(*token, false, &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn drain(stream: &TokenStream) -> Vec<TokenEvent> {
    let mut events = Vec::new();
    loop {
        match stream.next_timeout(Duration::from_mins(1)) {
            Poll::Event(event) => events.push(event),
            Poll::Finished => return events,
            Poll::Pending => panic!("no progress"),
        }
    }
}

fn assert_continues(weights: &Weights, stream: &TokenStream, prompt: &[TokenId], n: usize) {
    let events = drain(stream);
    let expected = continuation(weights, prompt, n);
    assert_eq!(stream.finish().unwrap().reason, FinishReason::Length);
    assert_eq!(events.iter().flat_map(|e| e.token_ids.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(events.iter().map(|e| e.text.as_str()).collect::<String>(), text_of(&expected));
}

fn prompt(seed: usize, n: usize) -> Vec<TokenId> {
    (0..n).map(|i| ((seed * 7 + i * (seed + 3)) % N_VOCAB) as TokenId).collect()
}

#[test]
fn texts_are_those_of_the_model_alone_and_among_others() {
    let weights = Arc::new(Weights::new(1));
    let engine = Tiny::spawn(&weights, 256, 3);
    let prompts: Vec<_> = (0..8).map(|seed| prompt(seed, 1 + seed * 3)).collect();
    let different: std::collections::HashSet<_> =
        prompts.iter().map(|p| continuation(&weights, p, 30)).collect();
    assert!(different.len() > 4, "the model says the same whatever the prompt");
    for prompt in &prompts {
        assert_continues(&weights, &engine.submit(request(prompt, 30)).unwrap(), prompt, 30);
    }
    let streams: Vec<_> = prompts.iter().map(|p| engine.submit(request(p, 30)).unwrap()).collect();
    for (stream, prompt) in streams.iter().zip(&prompts) {
        assert_continues(&weights, stream, prompt, 30);
    }
}

/// More streams than sequences, none of them read until all are there, in a memory that holds one at a time.
#[test]
fn unread_streams_are_parked_and_go_on() {
    let weights = Arc::new(Weights::new(2));
    let engine = Tiny::spawn(&weights, 400, 2);
    let prompts: Vec<_> = (0..5).map(|seed| prompt(seed, 4)).collect();
    let streams: Vec<_> = prompts.iter().map(|p| engine.submit(request(p, 350)).unwrap()).collect();
    for (stream, prompt) in streams.iter().zip(&prompts).rev() {
        assert_continues(&weights, stream, prompt, 350);
    }
}

#[test]
fn prompts_that_begin_alike_are_decoded_once() {
    let weights = Arc::new(Weights::new(3));
    let engine = Tiny::spawn(&weights, 256, 2);
    let mut long = prompt(5, 40);
    for end in [1, 2] {
        long.push(end);
        let stream = engine.submit(Request { cache_prompt: true, ..request(&long, 10) }).unwrap();
        assert_continues(&weights, &stream, &long, 10);
        let cached = stream.finish().unwrap().usage.cached_tokens;
        assert_eq!(cached >= 40, end == 2, "{cached}");
        long.pop();
    }
}

#[test]
fn scores_are_the_models_own_probabilities() {
    let weights = Arc::new(Weights::new(4));
    let engine = Tiny::spawn(&weights, 128, 2);
    let prompt = prompt(3, 9);
    let continuations = vec![vec![4, 5, 6, 7, 8], vec![4], vec![1, 2]];
    let stream = engine
        .score(ScoreRequest {
            prompt: prompt.clone(),
            continuations: continuations.clone(),
            ..ScoreRequest::default()
        })
        .unwrap();
    for (event, tokens) in drain(&stream).iter().zip(&continuations) {
        let mut memory = empty();
        let mut logits = Vec::new();
        for token in &prompt {
            logits = step(&weights, &mut memory, *token);
        }
        for (entry, token) in event.logprobs.iter().zip(tokens) {
            let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            let expected = f64::from(logits[*token as usize]) - total.ln();
            assert!((f64::from(entry.logprob) - expected).abs() < 1e-5, "{} {expected}", entry.logprob);
            logits = step(&weights, &mut memory, *token);
        }
        assert_eq!(event.logprobs.len(), tokens.len());
    }
}

#[test]
fn a_cancelled_request_leaves_the_others_alone() {
    let weights = Arc::new(Weights::new(5));
    let engine = Tiny::spawn(&weights, 4096, 2);
    let endless = engine.submit(request(&prompt(1, 5), 4000)).unwrap();
    let other = engine.submit(request(&prompt(2, 5), 40)).unwrap();
    assert!(matches!(endless.next_timeout(Duration::from_mins(1)), Poll::Event(_)));
    endless.cancel();
    assert_continues(&weights, &other, &prompt(2, 5), 40);
    drain(&endless);
    assert_eq!(endless.finish().unwrap().reason, FinishReason::Cancelled);
    engine.close();
    assert!(engine.submit(request(&[1], 1)).is_err());
}
