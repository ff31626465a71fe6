//! Quantizing takes memory for some rows of a tensor, however large it is.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::Model;
use peak_alloc::PeakAlloc;
use tabagent_gguf::{
    FileType, GgmlType, GgufFile, QuantizeOptions, Target, TensorData, no_progress, quantize_file,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Rows of 256 numbers of the one large matrix: 128 MiB of F32.
const ROWS: u64 = 1 << 17;

#[test]
fn memory_does_not_grow_with_the_model() {
    let folder = tempfile::TempDir::new().unwrap();
    let (source, out) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    let zeros = TensorData::made(ROWS * 1024, |out| (0..ROWS).try_for_each(|_| out.write_all(&[0; 1024])));
    let mut model = Model::llama();
    model.tensors.clear();
    model
        .writer()
        .add_tensor("blk.0.ffn_up.weight", GgmlType::F32, &[256, ROWS], zeros)
        .write_to(&source)
        .unwrap();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    quantize_file(&source, &out, &QuantizeOptions::new(Target::FileType(FileType::Q8_0)), &no_progress)
        .unwrap();
    let peak = MEMORY.peak_usage() - before;
    assert!(peak < 16 << 20, "{peak} bytes");
    let written = GgufFile::open(&out).unwrap();
    assert_eq!(written.tensor("blk.0.ffn_up.weight").unwrap().ggml_type, GgmlType::Q8_0);
}
