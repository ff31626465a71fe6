//! One sampling step on a whole vocabulary, on one thread. Guards: a default step on 262,144 logits takes at most 150 µs.
//!
//! `TABAGENT_TEST_MODELS` and `TABAGENT_LIBRARY_PATH` add rows of real models and llama.cpp's own chain to the same figures in
//! `rust/llama/benches/sampling_vs_llama_cpp.rs`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tabagent_sampling::{Sampler, SamplerConfig, Stage, sample_batch};

/// The vocabularies of SmolLM2 and Gemma 3.
const LENGTHS: [usize; 2] = [49_152, 262_144];

/// Logits about 0 with this standard deviation: sums of twelve uniform numbers.
fn normal(n: usize, deviation: f32) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| deviation * (0..12).map(|_| uniform()).sum::<f32>()).collect()
}

/// A row like a language model's: a few tokens far above the others.
fn peaked(n: usize) -> Vec<f32> {
    let mut logits = normal(n, 2.5);
    (0..20).for_each(|i| logits[(i * 7919 + 13) % n] = 18.0 - 0.4 * i as f32);
    logits
}

fn configs() -> Vec<(&'static str, SamplerConfig)> {
    let default = SamplerConfig { seed: Some(1), ..SamplerConfig::default() };
    let order = |order: &[Stage]| SamplerConfig { order: order.to_vec(), ..default.clone() };
    vec![
        ("greedy", SamplerConfig::greedy()),
        ("default", default.clone()),
        ("default_penalties", SamplerConfig { repeat_penalty: 1.1, ..default.clone() }),
        ("temperature", order(&[Stage::Temperature])),
        ("temperature_top_p", order(&[Stage::Temperature, Stage::TopP])),
        ("temperature_min_p", order(&[Stage::Temperature, Stage::MinP])),
    ]
}

fn steps(criterion: &mut Criterion) {
    for n in LENGTHS {
        for (kind, logits) in [("normal", normal(n, 2.5)), ("flat", normal(n, 1.0)), ("peaked", peaked(n))] {
            criterion.bench_function(&format!("read/{kind}/{n}"), |bencher| {
                bencher.iter(|| highest(black_box(&logits)));
            });
            for (name, config) in configs() {
                let Ok(mut sampler) = Sampler::new(&config, n) else { continue };
                (0..64).for_each(|i| sampler.accept(i * 601));
                criterion.bench_function(&format!("{name}/{kind}/{n}"), |bencher| {
                    bencher.iter(|| black_box(sampler.sample(black_box(&logits))));
                });
            }
        }
    }
}

/// A plain reduction: how fast this machine reads a row.
fn highest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 64];
    for chunk in logits.as_chunks::<64>().0 {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// One step of eight sequences at once.
fn batches(criterion: &mut Criterion) {
    let n = LENGTHS[1];
    let rows: Vec<Vec<f32>> = (0..8).map(|i| normal(n, 2.5 + i as f32 * 0.01)).collect();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let config = SamplerConfig { seed: Some(1), ..SamplerConfig::default() };
    let mut samplers: Vec<Sampler> = rows.iter().filter_map(|_| Sampler::new(&config, n).ok()).collect();
    let Ok(pool) = rayon::ThreadPoolBuilder::new().build() else { return };
    criterion.bench_function("default/batch_of_8/262144", |bencher| {
        pool.install(|| bencher.iter(|| black_box(sample_batch(&mut samplers, black_box(&rows)))));
    });
    criterion.bench_function("default/8_one_by_one/262144", |bencher| {
        bencher.iter(|| {
            for (sampler, row) in samplers.iter_mut().zip(&rows) {
                let _ = black_box(sampler.sample(black_box(row)));
            }
        });
    });
}

criterion_group!(benches, steps, batches);
criterion_main!(benches);
