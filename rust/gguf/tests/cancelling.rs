//! Long work ends when its progress function says so, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::Model;
use std::sync::atomic::{AtomicUsize, Ordering};
use tabagent_gguf::{
    GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, Imatrix, QuantError, diff_models_with, no_progress,
    quants,
};

/// Weights of several tasks of every parallel run.
const N: usize = 1 << 18;

/// Runs `work` with a progress function that says stop when it is asked for the `at`-th time; answers how often it was asked.
fn stopped_at<T>(at: usize, work: impl FnOnce(tabagent_gguf::Progress<'_>) -> T) -> (T, usize) {
    let asked = AtomicUsize::new(0);
    let result = work(&|_, _| asked.fetch_add(1, Ordering::Relaxed) + 1 < at);
    (result, asked.into_inner())
}

#[test]
fn decoding_and_encoding_stop_between_tasks() {
    let values: Vec<f32> = (0..N).map(|k| (k % 17) as f32 - 8.0).collect();
    let mut blocks = vec![0; GgmlType::Q8_0.n_bytes(N as u64).unwrap() as usize];
    let whole = |asked: usize| assert!(asked < 64, "asked {asked} times");
    let (result, asked) = stopped_at(2, |progress| {
        quants::quantize_with(GgmlType::Q8_0, &values, 512, None, &mut blocks, progress)
    });
    assert_eq!(result, Err(QuantError::Cancelled));
    whole(asked);
    quants::quantize(GgmlType::Q8_0, &values, 512, None, &mut blocks).unwrap();
    let mut out = vec![0.0; N];
    let (result, asked) =
        stopped_at(2, |progress| quants::dequantize_with(GgmlType::Q8_0, &blocks, &mut out, progress));
    assert_eq!(result, Err(QuantError::Cancelled));
    whole(asked);
    let mut halves = vec![0; N];
    for decode in [quants::dequantize_f16_with, quants::dequantize_bf16_with] {
        let (result, _) = stopped_at(2, |progress| decode(GgmlType::Q8_0, &blocks, &mut halves, progress));
        assert_eq!(result, Err(QuantError::Cancelled));
    }
    let mut bytes: Vec<u8> = vec![1; 4 << 20];
    let (result, asked) =
        stopped_at(2, |progress| quants::swap_bytes_with(GgmlType::F32, &mut bytes, progress));
    assert_eq!((result, asked), (Err(QuantError::Cancelled), 2));
}

#[test]
fn progress_comes_to_the_whole_and_changes_nothing() {
    let values: Vec<f32> = (0..N).map(|k| (k % 17) as f32 - 8.0).collect();
    let size = GgmlType::Q4_0.n_bytes(N as u64).unwrap() as usize;
    let (mut watched, mut plain) = (vec![0; size], vec![0; size]);
    let furthest = AtomicUsize::new(0);
    let progress = |done: u64, total: u64| {
        assert_eq!(total, size as u64);
        furthest.fetch_max(done as usize, Ordering::Relaxed);
        true
    };
    quants::quantize_with(GgmlType::Q4_0, &values, 512, None, &mut watched, &progress).unwrap();
    quants::quantize(GgmlType::Q4_0, &values, 512, None, &mut plain).unwrap();
    assert_eq!((furthest.into_inner(), watched), (size, plain));
}

#[test]
fn files_in_memory_comparisons_and_matrices_stop() {
    let big = || {
        let data = vec![1; 32 << 20];
        GgufWriter::new().add_tensor("t", GgmlType::I8, &[32 << 20], data)
    };
    let (result, asked) = stopped_at(2, |progress| big().to_bytes_with(progress));
    assert!(matches!(result, Err(GgufError::Cancelled)), "asked {asked} times");
    let model =
        || GgufModel::from_parts(vec![GgufFile::from_bytes(Model::llama().bytes()).unwrap()]).unwrap();
    let (result, _) = stopped_at(3, |progress| diff_models_with(&model(), &model(), progress));
    assert!(matches!(result, Err(GgufError::Cancelled)));
    assert_eq!(diff_models_with(&model(), &model(), &no_progress).unwrap(), []);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imatrix.gguf");
    let matrix =
        Imatrix::from_importances([("a".to_owned(), vec![1.0; 64]), ("b".to_owned(), vec![2.0; 64])])
            .unwrap();
    let (result, _) = stopped_at(1, |progress| matrix.write_with(&path, progress));
    assert!(matches!(result, Err(GgufError::Cancelled)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    matrix.write_to(&path).unwrap();
    let (result, asked) = stopped_at(2, |progress| Imatrix::open_with(&path, progress));
    assert!(matches!(result, Err(GgufError::Cancelled)));
    assert_eq!(asked, 2);
}
