//! A step allocates nothing once the scratch memory has grown.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use allocation_counter::measure;
use tabagent_sampling::{Sampler, SamplerConfig, Stage};

/// Rows whose stages keep few and many tokens in turn.
fn rows(n: usize) -> Vec<Vec<f32>> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    let mut rows: Vec<Vec<f32>> =
        [1.0, 6.0, 30.0].iter().map(|spread| (0..n).map(|_| spread * next()).collect()).collect();
    rows[1][n / 2] = 40.0;
    rows
}

fn configs() -> Vec<SamplerConfig> {
    let default = SamplerConfig { seed: Some(3), ..SamplerConfig::default() };
    let order = |order: &[Stage]| SamplerConfig { order: order.to_vec(), ..default.clone() };
    vec![
        SamplerConfig::greedy(),
        default.clone(),
        SamplerConfig { repeat_penalty: 1.2, presence_penalty: 0.5, ..default.clone() },
        SamplerConfig { logit_bias: vec![(5, 2.0), (900, f32::NEG_INFINITY)], ..default.clone() },
        SamplerConfig { typical_p: 0.8, ..default.clone() },
        order(&[Stage::Temperature]),
        order(&[Stage::Temperature, Stage::TopP]),
        order(&[Stage::Temperature, Stage::TopP, Stage::MinP]),
        order(&[Stage::Temperature, Stage::MinP]),
        SamplerConfig { mirostat: 1, ..default.clone() },
        SamplerConfig { mirostat: 2, ..default },
    ]
}

#[test]
fn steps_allocate_nothing_once_warm() {
    let n = 20_001;
    let rows = rows(n);
    for config in configs() {
        let mut sampler = Sampler::new(&config, n).unwrap();
        let mut run = |n_rounds: i32| {
            for round in 0..n_rounds {
                for row in &rows {
                    let token = sampler.sample(row).unwrap();
                    // Always other tokens, so that the window keeps moving.
                    sampler.accept((token + round) % n as i32);
                }
            }
        };
        run(300);
        let allocated = measure(|| run(50));
        assert_eq!(allocated.count_total, 0, "{config:?}");
    }
}

#[test]
fn the_counter_sees_allocations() {
    let allocated = measure(|| drop(std::hint::black_box(vec![0u8; 100])));
    assert_eq!(allocated.count_total, 1);
}
