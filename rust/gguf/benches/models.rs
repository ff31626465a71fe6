//! Speed of decoding whole models to F32, on one thread and on all, beside copying as many bytes from memory to memory.
//!
//! `TABAGENT_TEST_MODELS=… cargo bench -p tabagent-gguf --bench models`. Every tensor is decoded from the mapped file into the same
//! buffer, which is as large as the largest tensor and has been written to before; the copy goes between two such buffers. Bytes a
//! second are those of the F32 numbers written. `into fresh memory` decodes each tensor into memory that nobody has touched, as a new
//! array is: there the system's clearing of pages is counted, too.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap ends the bench")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use tabagent_gguf::{GgufModel, quants};

/// Numbers that one task of the copy moves.
const TASK: usize = 16 * 1024;

fn models(criterion: &mut Criterion) {
    let Some(dir) = tabagent_material::models() else { return };
    for name in ["smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let model = GgufModel::open(&dir.join(name)).unwrap();
        let sizes: Vec<usize> =
            model.tensors().map(|tensor| tensor.info.shape.n_elements() as usize).collect();
        let largest = sizes.iter().copied().max().unwrap();
        let mut group = criterion.benchmark_group(name);
        group
            .throughput(Throughput::Bytes(4 * sizes.iter().sum::<usize>() as u64))
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(3));
        let (source, mut out) = (vec![1.0_f32; largest], vec![1.0_f32; largest]);
        for n_threads in [1, std::thread::available_parallelism().unwrap().get()] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            group.bench_function(format!("copy, {n_threads} threads"), |bencher| {
                bencher.iter(|| {
                    for &size in &sizes {
                        let (to, from) = (&mut out[..size], black_box(&source[..size]));
                        pool.install(|| {
                            to.par_chunks_mut(TASK)
                                .zip(from.par_chunks(TASK))
                                .for_each(|(to, from)| to.copy_from_slice(from));
                        });
                    }
                });
            });
            group.bench_function(format!("decode, {n_threads} threads"), |bencher| {
                bencher.iter(|| {
                    for (tensor, &size) in model.tensors().zip(&sizes) {
                        let (ty, bytes) = (tensor.info.ggml_type, tensor.data());
                        pool.install(|| quants::dequantize_parallel(ty, bytes, &mut out[..size])).unwrap();
                    }
                });
            });
            group.bench_function(format!("decode into fresh memory, {n_threads} threads"), |bencher| {
                bencher.iter(|| {
                    for (tensor, &size) in model.tensors().zip(&sizes) {
                        let (ty, bytes) = (tensor.info.ggml_type, tensor.data());
                        let mut fresh = vec![0.0_f32; size];
                        pool.install(|| quants::dequantize_parallel(ty, bytes, &mut fresh)).unwrap();
                        black_box(fresh);
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, models);
criterion_main!(benches);
