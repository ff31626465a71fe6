//! One sampling step on a whole vocabulary. Guards: a default step on 262,144 logits takes at most 150 µs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tabagent_sampling::{Sampler, SamplerConfig, Stage};

/// Logits with a spread like a language model's: a sum of uniform numbers with standard deviation 2.5, and a few tokens far above.
fn row(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut logits: Vec<f32> = (0..n).map(|_| 2.5 * (0..12).map(|_| uniform()).sum::<f32>()).collect();
    (0..20).for_each(|i| logits[(i * 7919 + 13) % n] = 18.0 - 0.4 * i as f32);
    logits
}

fn steps(criterion: &mut Criterion) {
    let no_top_k = vec![Stage::Temperature, Stage::TopP];
    let configs = [
        ("greedy", SamplerConfig::greedy()),
        ("default", SamplerConfig::default()),
        ("default_penalties", SamplerConfig { repeat_penalty: 1.1, ..SamplerConfig::default() }),
        ("temperature_top_p", SamplerConfig { order: no_top_k, ..SamplerConfig::default() }),
    ];
    for n in [49_152, 262_144] {
        let logits = row(n);
        for (name, config) in &configs {
            let config = SamplerConfig { seed: Some(1), ..config.clone() };
            let Ok(mut sampler) = Sampler::new(&config, n) else { continue };
            (0..64).for_each(|i| sampler.accept(i * 601));
            criterion.bench_function(&format!("{name}/{n}"), |bencher| {
                bencher.iter(|| black_box(sampler.sample(black_box(&logits))));
            });
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
