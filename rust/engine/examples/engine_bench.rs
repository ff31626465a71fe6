//! Prints how many tokens of a prompt and of a generation a GGUF model computes in a second.
//!
//! ```text
//! cargo run --release -p tabagent-engine --example engine_bench -- model.gguf [threads] [prompt tokens] [generated tokens] [rounds]
//! ```
//!
//! The counterpart of `llama-bench -m model.gguf -t threads -p … -n …`: a prompt into an empty memory, and single tokens after one, without sampling.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder, LoadedModel};
use tabagent_runtime::{BatchToken, Decoder, TokenId, Vocabulary};

/// Tokens without texts.
struct Numbers(usize);

impl Vocabulary for Numbers {
    fn n_tokens(&self) -> usize {
        self.0
    }

    fn push_token_bytes(&self, _token: TokenId, _special: bool, _out: &mut Vec<u8>) {}

    fn is_eog(&self, _token: TokenId) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("name a GGUF file")?);
    let mut number = |default: usize| -> Result<usize, Box<dyn Error>> {
        let Some(text) = arguments.next() else { return Ok(default) };
        Ok(text.to_str().ok_or("numbers are digits")?.parse()?)
    };
    let (n_threads, n_prompt, n_generated, n_rounds) = (number(1)?, number(512)?, number(128)?, number(3)?);
    let cpu = Cpu::new(n_threads)?;
    let start = Instant::now();
    let model = Arc::new(LoadedModel::open(&path, &cpu, &|_, _| true)?);
    println!(
        "load: {:.2} s, {:.1} MB of matrices",
        start.elapsed().as_secs_f64(),
        model.n_bytes() as f64 / 1e6
    );
    let n_vocab = model.n_vocab();
    let options = DecoderOptions::new(n_prompt.max(n_generated) + 1);
    let mut decoder = EngineDecoder::new(model, cpu, Arc::new(Numbers(n_vocab)), options)?;
    let (mut prompts, mut generations) = (Vec::new(), Vec::new());
    for _ in 0..=n_rounds {
        prompts.push(n_prompt as f64 / seconds(&mut decoder, n_prompt, options.n_batch)?);
        generations.push(n_generated as f64 / seconds(&mut decoder, n_generated, 1)?);
    }
    // The first round warms up.
    for (name, n, mut speeds) in [("prompt", n_prompt, prompts), ("generation", n_generated, generations)] {
        speeds.remove(0);
        speeds.sort_by(f64::total_cmp);
        let median = speeds.get(speeds.len() / 2).copied().unwrap_or_default();
        println!("{name}: {median:.1} tokens/s ({n} tokens, {n_threads} threads, median of {n_rounds})");
    }
    Ok(())
}

/// How long tokens take in batches of `n_batch`, in an empty memory.
fn seconds(decoder: &mut EngineDecoder<Cpu>, n: usize, n_batch: usize) -> Result<f64, Box<dyn Error>> {
    decoder.clear(0);
    let n_vocab = decoder.model().n_vocab();
    let tokens: Vec<BatchToken> = (0..n)
        .map(|pos| BatchToken {
            seq: 0,
            pos,
            token: (pos * 7919 % n_vocab) as TokenId,
            logits: n_batch == 1 || pos + 1 == n,
        })
        .collect();
    let start = Instant::now();
    for batch in tokens.chunks(n_batch) {
        decoder.decode(batch, &|| false)?;
    }
    Ok(start.elapsed().as_secs_f64())
}
