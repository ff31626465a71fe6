//! Speed of the number formats on one thread, beside the pinned ggml's functions and the machine's own memory speed.
//!
//! `TABAGENT_LIBRARY_PATH=… cargo bench -p tabagent-gguf --bench quants`; without the variable ggml is left out.
//! Bytes a second are those of the F32 side: written when decoding, read when encoding.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap ends the bench")]

#[path = "../tests/ggml/mod.rs"]
mod ggml;

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use ggml::{Ggml, ROW, importances, normal_rows};
use tabagent_gguf::{GgmlType, quants};

const DECODED: [GgmlType; 9] = [
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q4_K,
    GgmlType::Q6_K,
    GgmlType::F16,
    GgmlType::BF16,
];

const ENCODED: [GgmlType; 9] = [
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_XS,
];

fn group<'a>(criterion: &'a mut Criterion, name: &str, n_weights: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Bytes(4 * n_weights as u64))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    group
}

fn decoding(criterion: &mut Criterion) {
    let library = Ggml::open();
    for (place, n_weights) in [("cache", 64 * 1024), ("memory", 16 * 1024 * 1024)] {
        let mut group = group(criterion, &format!("dequantize into {place}"), n_weights);
        let mut out = vec![0.0_f32; n_weights];
        let source = vec![1.0_f32; n_weights];
        group.bench_function("fill", |bencher| bencher.iter(|| out.fill(black_box(1.0))));
        group.bench_function("copy", |bencher| bencher.iter(|| out.copy_from_slice(black_box(&source))));
        let values: Vec<f32> = normal_rows(1, 128).into_iter().cycle().take(n_weights).collect();
        for ty in DECODED {
            let mut bytes = vec![0; ty.n_bytes(n_weights as u64).unwrap() as usize];
            let small = &values[..values.len().min(64 * 1024)];
            let packed = ty.n_bytes(small.len() as u64).unwrap() as usize;
            quants::quantize(ty, small, ROW, None, &mut bytes[..packed]).unwrap();
            let (first, rest) = bytes.split_at_mut(packed);
            for block in rest.chunks_mut(packed) {
                block.copy_from_slice(&first[..block.len()]);
            }
            group.bench_function(format!("{ty}"), |bencher| {
                bencher.iter(|| quants::dequantize(ty, black_box(&bytes), &mut out).unwrap());
            });
            if let Some(library) = &library {
                group.bench_function(format!("{ty} ggml"), |bencher| {
                    bencher.iter(|| assert!(library.dequantize_into(ty, black_box(&bytes), &mut out)));
                });
            }
        }
        group.finish();
    }
}

fn encoding(criterion: &mut Criterion) {
    let library = Ggml::open();
    let values = normal_rows(2, 64);
    let imatrix = importances();
    for (name, imatrix) in [("quantize", None), ("quantize with importances", Some(imatrix.as_slice()))] {
        let mut group = group(criterion, name, values.len());
        for ty in ENCODED {
            let mut out = vec![0; ty.n_bytes(values.len() as u64).unwrap() as usize];
            group.bench_function(format!("{ty}"), |bencher| {
                bencher.iter(|| quants::quantize(ty, black_box(&values), ROW, imatrix, &mut out).unwrap());
            });
            if let Some(library) = &library {
                group.bench_function(format!("{ty} ggml"), |bencher| {
                    bencher.iter(|| library.quantize_into(ty, black_box(&values), ROW, imatrix, &mut out));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
