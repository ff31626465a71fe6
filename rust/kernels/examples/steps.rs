//! Measures what is not a product: `cargo run --release -p tabagent-kernels --example steps -- [THREADS]`.

#![allow(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tabagent_gguf::GgmlType;
use tabagent_kernels::{
    Activations, Attention, KvPage, KvShape, Matrix, Pool, Query, Rope, RopeKind, RopeOptions, attention,
    multiply, rms_norm, silu_mul,
};

/// The least microseconds that `work` takes.
fn least(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < Duration::from_millis(500) {
        let begun = Instant::now();
        work();
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times[0]
}

fn main() -> Result<(), Box<dyn Error>> {
    let n_threads = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let pool = Pool::new(n_threads)?;
    println!("{n_threads} threads");
    let empty = least(|| drop(pool.run(8, &|at| assert!(black_box(at) < 8))));
    println!("a parallel step of nothing: {empty:.2} µs");

    let values: Vec<f32> = (0..512 * 576).map(|i| (i as f32).sin()).collect();
    let weight = vec![1.0; 576];
    let mut out = values.clone();
    let time = least(|| rms_norm(&values[..576], 576, Some(&weight), 1e-5, &mut out[..576]));
    println!("rms_norm of 576: {time:.3} µs");
    let mut gate = values.clone();
    let time = least(|| silu_mul(&mut gate[..1536], &values[..1536]));
    println!("silu_mul of 1,536: {time:.3} µs");
    let angles = Rope::new(&RopeOptions::new(RopeKind::Normal, 64, 1e5))?.angles(&[5]);
    let mut heads = values[..576].to_vec();
    println!("rotation of 9 heads of 64: {:.3} µs", least(|| angles.apply(&mut heads, 9, 64)));
    let mut input = Activations::new();
    let time = least(|| drop(input.load(&values[..576], 576, &pool)));
    println!("loading 576 activations: {time:.3} µs");

    for (n_cols, n_rows) in [(576, 576), (576, 1536), (1536, 576), (576, 49152)] {
        let kind = GgmlType::Q4_1;
        let n_bytes = kind.n_bytes((n_cols * n_rows) as u64).map_or(0, |n| n as usize);
        let bytes = vec![0x22; n_bytes];
        let begun = Instant::now();
        let matrix = Matrix::pack(kind, n_cols, n_rows, &bytes)?;
        let packing = begun.elapsed().as_secs_f64();
        input.load(&values[..n_cols], n_cols, &pool)?;
        let mut out = vec![0.0; n_rows];
        let time = least(|| drop(multiply(&matrix, &input, &mut out, &pool)));
        println!(
            "Q4_1 {n_cols} x {n_rows}: {time:.2} µs, {:.1} GB/s; packed at {:.2} GB/s",
            matrix.n_bytes() as f64 / time / 1e3,
            n_bytes as f64 / packing / 1e9
        );
    }

    let kv = KvShape { n_kv_heads: 3, k_dim: 64, v_dim: 64 };
    let options = Attention { n_heads: 9, kv, scale: 0.125, soft_cap: None };
    let n_tokens = 1024;
    let mut pages = vec![KvPage::new(kv); n_tokens / KvPage::N_TOKENS];
    let write = least(|| {
        for at in 0..n_tokens {
            let row = &values[at * 192..][..192];
            pages[at / KvPage::N_TOKENS].write(at % KvPage::N_TOKENS, row, row);
        }
    });
    println!("writing a token to a page: {:.3} µs", write / n_tokens as f64);
    let pages: Vec<&KvPage> = pages.iter().collect();
    for visible in [64, 256, 1024] {
        let queries = [Query { pages: &pages, visible: 0..visible }];
        let mut out = vec![0.0; 576];
        let time = least(|| drop(attention(&options, &values[..576], &queries, &mut out, &pool)));
        println!("one token that sees {visible}: {time:.2} µs");
    }
    let queries: Vec<Query<'_>> = (0..512).map(|at| Query { pages: &pages, visible: 0..at + 1 }).collect();
    let mut out = vec![0.0; 512 * 576];
    let time = least(|| drop(attention(&options, &values, &queries, &mut out, &pool)));
    let rate = 512.0 * 512.0 / 2.0 * 9.0 * 64.0 * 2.0 * 2.0 / time / 1e3;
    println!("a prompt of 512: {:.2} ms, {rate:.0} G/s", time / 1e3);
    Ok(())
}
