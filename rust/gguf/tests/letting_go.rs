//! Tensors that are let go of leave memory, and are what they were when they are read again.
//!
//! The only test of its program: it looks at the memory of the whole process, as Linux tells it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use tabagent_gguf::{GgmlType, GgufFile, GgufWriter};

const N: usize = 48 << 20;

/// Pages of files in this process's memory, in bytes.
fn mapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Rss:"));
    1024 * lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

#[test]
fn a_tensor_that_is_let_go_of_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.gguf");
    let data: Vec<u8> = (0..N).map(|i| (i / 4096 % 251) as u8).collect();
    let expected = sum(&data);
    let written = GgufWriter::new().add_tensor("t", GgmlType::I8, &[N as u64], data).to_bytes().unwrap();
    std::fs::write(&path, &written).unwrap();
    let owned = GgufFile::from_bytes(written).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let tensor = &file.tensors()[0];
    assert_eq!(sum(file.tensor_data(tensor)), expected);
    let read = mapped();
    file.let_go(tensor, 0..N / 2);
    let half = mapped();
    assert!(half + (N as u64 * 2 / 5) < read, "{half} of {read}");
    file.let_go(tensor, 0..usize::MAX);
    let nothing = mapped();
    assert!(nothing + (N as u64 * 4 / 5) < read, "{nothing} of {read}");
    assert_eq!(sum(file.tensor_data(tensor)), expected);
    // What lies outside, and what is in memory anyway, stays.
    file.let_go(tensor, N..N);
    file.let_go(tensor, usize::MAX..usize::MAX);
    owned.let_go(&owned.tensors()[0], 0..N);
    assert_eq!(sum(owned.tensor_data(&owned.tensors()[0])), expected);
}
