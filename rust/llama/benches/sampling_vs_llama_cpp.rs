//! One sampling step of `tabagent-sampling` and of llama.cpp's own chain over the same logits, on one thread.
//!
//! Guards: no setting is slower than llama.cpp's. Needs `TABAGENT_LIBRARY_PATH` (the pinned library) and, for rows of real models,
//! `TABAGENT_TEST_MODELS`; without them the figures that need them are left out.

#![allow(clippy::unwrap_used, reason = "a bench stops where its material is broken")]

#[path = "../tests/common/theirs.rs"]
mod theirs;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tabagent_llama::{Library, Model, ModelConfig};
use tabagent_sampling::{Sampler, SamplerConfig, Stage};
use theirs::{Handle, Theirs, TokenData, TokenDataArray};

impl Theirs {
    /// A chain with the stages of `config` that are on, in its order, and the choice.
    fn chain(&self, config: &SamplerConfig) -> Handle {
        type Init<T> = unsafe extern "C" fn(T) -> Handle;
        let init: Init<bool> = self.function("llama_sampler_chain_init");
        let add: unsafe extern "C" fn(Handle, Handle) = self.function("llama_sampler_chain_add");
        let temperature: Init<f32> = self.function("llama_sampler_init_temp");
        let top_k: Init<i32> = self.function("llama_sampler_init_top_k");
        let dynamic: unsafe extern "C" fn(f32, f32, f32) -> Handle =
            self.function("llama_sampler_init_temp_ext");
        let sigma: Init<f32> = self.function("llama_sampler_init_top_n_sigma");
        let share: [unsafe extern "C" fn(f32, usize) -> Handle; 3] =
            ["llama_sampler_init_top_p", "llama_sampler_init_min_p", "llama_sampler_init_typical"]
                .map(|name| self.function(name));
        let dist: Init<u32> = self.function("llama_sampler_init_dist");
        let greedy: unsafe extern "C" fn() -> Handle = self.function("llama_sampler_init_greedy");
        // SAFETY: `llama_sampler_chain_params` is one bool.
        let chain = unsafe { init(true) };
        let mut parts = Vec::new();
        if config.temperature == 0.0 {
            // SAFETY: it takes nothing.
            parts.push(unsafe { greedy() });
        } else {
            for stage in &config.order {
                parts.push(match stage {
                    Stage::Temperature if config.dynatemp_range > 0.0 => {
                        let (range, exponent) = (config.dynatemp_range, config.dynatemp_exponent);
                        // SAFETY: any numbers are allowed.
                        unsafe { dynamic(config.temperature, range, exponent) }
                    }
                    // SAFETY: any number is allowed.
                    Stage::Temperature => unsafe { temperature(config.temperature) },
                    // SAFETY: any number is allowed.
                    Stage::TopNSigma => unsafe { sigma(config.top_n_sigma) },
                    // SAFETY: any number is allowed.
                    Stage::TopK => unsafe { top_k(config.top_k as i32) },
                    // SAFETY: any numbers are allowed.
                    Stage::TopP => unsafe { share[0](config.top_p, 1) },
                    // SAFETY: any numbers are allowed.
                    Stage::MinP => unsafe { share[1](config.min_p, 1) },
                    // SAFETY: any numbers are allowed.
                    Stage::Typical => unsafe { share[2](config.typical_p, 1) },
                    _ => continue,
                });
            }
            // SAFETY: any number is allowed.
            parts.push(unsafe { dist(1) });
        }
        for part in parts {
            // SAFETY: both were made above; the chain takes the part over.
            unsafe { add(chain, part) };
        }
        chain
    }
}

/// Settings, and whether `Theirs::chain` knows all of their stages.
fn configs() -> [(&'static str, SamplerConfig, bool); 14] {
    let default = SamplerConfig { seed: Some(1), ..SamplerConfig::llama_cpp() };
    let order = |order: &[Stage]| SamplerConfig { order: order.to_vec(), ..default.clone() };
    [
        ("greedy", SamplerConfig::greedy(), true),
        ("default", default.clone(), true),
        ("default_penalties", SamplerConfig { repeat_penalty: 1.1, ..default.clone() }, false),
        ("default_dry", SamplerConfig { dry_multiplier: 0.8, ..default.clone() }, false),
        ("default_xtc", SamplerConfig { xtc_probability: 0.5, ..default.clone() }, false),
        ("temperature", order(&[Stage::Temperature]), true),
        ("temperature_top_p", order(&[Stage::Temperature, Stage::TopP]), true),
        ("temperature_min_p", order(&[Stage::Temperature, Stage::MinP]), true),
        (
            "temperature_typical",
            SamplerConfig { typical_p: 0.9, ..order(&[Stage::Temperature, Stage::Typical]) },
            true,
        ),
        ("dynamic", SamplerConfig { dynatemp_range: 0.5, ..order(&[Stage::Temperature]) }, true),
        ("top_n_sigma", SamplerConfig { top_n_sigma: 1.0, ..order(&[Stage::TopNSigma]) }, true),
        ("mirostat_1", SamplerConfig { mirostat: 1, ..order(&[Stage::Temperature]) }, false),
        ("mirostat_2", SamplerConfig { mirostat: 2, ..order(&[Stage::Temperature]) }, false),
        ("adaptive_p", SamplerConfig { adaptive_target: 0.5, ..order(&[Stage::AdaptiveP]) }, false),
    ]
}

/// Normal logits: sums of twelve uniform numbers.
fn normal(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| 2.5 * (0..12).map(|_| uniform()).sum::<f32>()).collect()
}

/// The logits after a prompt.
fn real(library: &Library, file: &str) -> Option<Vec<f32>> {
    let path = tabagent_material::model(file)?;
    let model = Model::load(library, ModelConfig::new(path).ok()?.with_gpu_layers(0)).ok()?;
    let mut context = model.create_context().ok()?;
    let prompt = context.tokenize("Once upon a time there was a", true, false).ok()?;
    let mut row = None;
    context
        .generate(&prompt, 1, |logits| {
            row = Some(logits.to_vec());
            None
        })
        .ok()?;
    row
}

fn steps(criterion: &mut Criterion) {
    let library = tabagent_material::library().and_then(|path| Library::open(path).ok());
    let peer = library.as_ref().map(|library| Theirs::open(&library.info().directory));
    let mut rows = vec![("normal", normal(49_152)), ("normal", normal(262_144))];
    if let Some(library) = &library {
        let files = [("smollm2", "smollm2-135m-instruct-q4_1.gguf"), ("gemma", "gemma-3-270m-q4_k_m.gguf")];
        rows.extend(files.into_iter().filter_map(|(name, file)| Some((name, real(library, file)?))));
    }
    for (kind, logits) in &rows {
        let n = logits.len();
        for (name, config, has_peer) in configs() {
            let mut sampler = Sampler::new(&config, n).unwrap();
            for token in 0..64 {
                sampler.accept(token * token % 50 * 997);
            }
            criterion.bench_function(&format!("{name}/{kind}/{n}/ours"), |bencher| {
                bencher.iter(|| black_box(sampler.sample(black_box(logits))));
            });
            let Some(peer) = peer.as_ref().filter(|_| has_peer) else { continue };
            let chain = peer.chain(&config);
            let mut data = vec![TokenData { id: 0, logit: 0.0, p: 0.0 }; n];
            criterion.bench_function(&format!("{name}/{kind}/{n}/llama.cpp"), |bencher| {
                bencher.iter(|| {
                    // As `llama_sampler_sample` in `src/llama-sampler.cpp` does for each token.
                    for (id, (item, &logit)) in data.iter_mut().zip(black_box(logits)).enumerate() {
                        *item = TokenData { id: id as i32, logit, p: 0.0 };
                    }
                    let mut array = TokenDataArray::of(&mut data);
                    peer.apply(chain, &mut array);
                    black_box(array.selected)
                });
            });
            peer.free(chain);
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
