//! Measures products: `cargo run --release -p tabagent-kernels --example products -- [THREADS] [TYPE]`.
//!
//! For each type: gigabytes a second of packed weights for one token, with the weights in the second cache and far out of it, and billions of
//! multiplications and additions a second for 512 tokens. The first line is how fast this machine reads memory.

#![allow(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tabagent_gguf::GgmlType;
use tabagent_kernels::{Activations, Isa, Matrix, Pool, multiply_with};

const N_COLS: usize = 1536;
const KINDS: [GgmlType; 18] = [
    GgmlType::Q4_1,
    GgmlType::Q4_0,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::MXFP4,
    GgmlType::TQ2_0,
    GgmlType::I2_S,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::F32,
];

/// The least seconds that `work` takes.
fn best(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut least = f64::INFINITY;
    while begun.elapsed() < Duration::from_millis(400) {
        let begun = Instant::now();
        work();
        least = least.min(begun.elapsed().as_secs_f64());
    }
    least
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let n_threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let only = arguments.next();
    let pool = Pool::new(n_threads)?;
    let mut memory = vec![1u64; 32 << 20];
    let per_thread = memory.len() / n_threads;
    let seconds = best(|| {
        let _ = pool.each_chunk(&mut memory, per_thread, &|_, chunk| {
            black_box(chunk.iter().fold(0u64, |a, x| a ^ x));
        });
    });
    println!("{n_threads} threads; memory is read at {:.1} GB/s", memory.len() as f64 * 8.0 / seconds / 1e9);
    for kind in KINDS {
        if only.as_ref().is_some_and(|name| name != kind.name()) {
            continue;
        }
        for &isa in &Isa::available()[1..] {
            // 128 MiB, far more than any cache has.
            let many = (128 << 20) / (N_COLS * kind.block_bytes() as usize / kind.block_size() as usize);
            let [cached, far] = [512, many].map(|n_rows| {
                let n_bytes = kind.n_bytes((N_COLS * n_rows) as u64).map_or(0, |n| n as usize);
                let matrix = Matrix::pack(kind, N_COLS, n_rows, &vec![0x22; n_bytes]);
                matrix.map(|matrix| {
                    let mut input = Activations::new();
                    let values: Vec<f32> = (0..N_COLS).map(|i| (i as f32).sin()).collect();
                    let loaded = input.load(&values, N_COLS, &pool);
                    let mut out = vec![0.0; n_rows];
                    let seconds = best(|| {
                        let _ = multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool);
                    });
                    loaded.map(|()| matrix.n_bytes() as f64 / seconds / 1e9)
                })
            });
            let n_rows = 128;
            let n_bytes = kind.n_bytes((N_COLS * n_rows) as u64).map_or(0, |n| n as usize);
            let matrix = Matrix::pack(kind, N_COLS, n_rows, &vec![0x22; n_bytes])?;
            let values: Vec<f32> = (0..512 * N_COLS).map(|i| (i as f32).sin()).collect();
            let mut input = Activations::new();
            let mut out = vec![0.0; 512 * n_rows];
            let load = best(|| {
                let _ = input.load(&values, N_COLS, &pool);
            });
            let seconds = best(|| {
                let _ = multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool);
            });
            let rate = (N_COLS * n_rows * 512 * 2) as f64 / seconds / 1e9;
            let isa = format!("{isa:?}");
            println!(
                "{:8} {isa:12} {:6.1} GB/s cached {:6.1} GB/s far {rate:7.0} G/s for 512 tokens; loading them {:.2} ns a number",
                kind.name(),
                cached??,
                far??,
                load * 1e9 / values.len() as f64,
            );
        }
    }
    Ok(())
}
