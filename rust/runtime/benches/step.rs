//! What a step costs beside the decode: planning, choosing tokens, making text, handing it over. The engine decodes nothing and always has the same
//! logits, so all the time is the runtime's. Prints microseconds a step for each number of requests; the bound is 50 for eight.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tabagent_runtime::{
    BatchToken, Decoder, DecoderError, Engine, EngineConfig, Poll, Request, Stop, TokenId, Vocabulary,
};
use tabagent_sampling::{Sampler, SamplerConfig};

const N_STEPS: usize = 2000;

struct Words(usize);

impl Vocabulary for Words {
    fn n_tokens(&self) -> usize {
        self.0
    }

    fn push_token_bytes(&self, token: TokenId, _special: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if token % 2 == 0 { b" the" } else { b"ing" });
    }

    fn is_eog(&self, _token: TokenId) -> bool {
        false
    }
}

struct Nothing {
    logits: Vec<f32>,
}

impl Decoder for Nothing {
    type Saved = ();

    fn n_ctx(&self) -> usize {
        1 << 20
    }

    fn n_batch(&self) -> usize {
        2048
    }

    fn n_outputs_max(&self) -> usize {
        64
    }

    fn n_seq_max(&self) -> usize {
        64
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(Words(self.logits.len()))
    }

    fn decode(&mut self, _batch: &[BatchToken], _stop: Stop<'_>) -> Result<(), DecoderError> {
        Ok(())
    }

    fn logits(&self, _index: usize) -> &[f32] {
        &self.logits
    }

    fn can_cut(&self, _seq: u32, _n: usize) -> bool {
        true
    }

    fn truncate(&mut self, _seq: u32, _from_pos: usize) -> bool {
        true
    }

    fn copy(&mut self, _from: u32, _to: u32, _n: usize) -> bool {
        true
    }

    fn clear(&mut self, _seq: u32) {}

    fn save(&mut self, _seq: u32) -> Result<(), DecoderError> {
        Ok(())
    }

    fn saved_bytes((): &()) -> usize {
        0
    }

    fn restore(&mut self, _seq: u32, (): &()) -> Result<(), DecoderError> {
        Ok(())
    }
}

/// Microseconds a step with so many requests, the median of five runs.
fn measure(n_vocab: usize, n_requests: usize, config: &SamplerConfig) -> f64 {
    let logits = (0..n_vocab).map(|i| ((i * 7919) % 10_007) as f32 / 900.0).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let engine_config = EngineConfig { threads, ..EngineConfig::default() };
    let engine = Engine::spawn(Nothing { logits }, "bench", &engine_config).unwrap();
    let mut runs: Vec<f64> = (0..5)
        .map(|_| {
            let before = engine.metrics();
            let streams: Vec<_> = (0..n_requests)
                .map(|seed| {
                    let config = SamplerConfig { seed: Some(seed as u64), ..config.clone() };
                    let sampler = Sampler::new(&config, n_vocab).unwrap();
                    let request = Request::new(vec![1, 2, 3], Box::new(sampler));
                    Request { max_tokens: Some(N_STEPS), collect: true, ..request }
                })
                .map(|request| engine.submit(request).unwrap())
                .collect();
            let started = Instant::now();
            for stream in &streams {
                while !matches!(stream.next_timeout(Duration::from_mins(1)), Poll::Finished) {}
            }
            let steps = engine.metrics().steps - before.steps;
            started.elapsed().as_secs_f64() * 1e6 / steps as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[2]
}

fn main() {
    for (name, n_vocab, config) in [
        ("8 tokens, greedy", 8, SamplerConfig::greedy()),
        ("49,152 tokens, greedy", 49_152, SamplerConfig::greedy()),
        ("49,152 tokens, default sampling", 49_152, SamplerConfig::default()),
        ("262,144 tokens, default sampling", 262_144, SamplerConfig::default()),
    ] {
        let [one, eight, many] = [1, 8, 32].map(|n_requests| measure(n_vocab, n_requests, &config));
        println!(
            "vocabulary of {name}: {one:.1} us a step for 1 request, {eight:.1} for 8, {many:.1} for 32"
        );
    }
}
