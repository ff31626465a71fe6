//! No file, however hostile, makes its reader take more memory than a small multiple of the file's own size.
//!
//! The only test of its program: the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{Model, Raw};
use peak_alloc::PeakAlloc;
use tabagent_gguf::{GgufFile, check_model};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that may be taken for each byte of the file: the least entry has 14 bytes, and costs its key, its place and its slot in the index.
const PER_BYTE: usize = 32;

/// Bytes that may be taken for any file: error texts and the like.
const FIXED: usize = 64 * 1024;

/// Opens and checks `bytes`, reads every value, and compares the peak with the file's size.
#[track_caller]
fn assert_bounded(bytes: Vec<u8>, what: &str) {
    let size = bytes.len();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    if let Ok(file) = GgufFile::from_bytes(bytes) {
        let _ = check_model(&file);
        for (key, value) in file.metadata().iter() {
            assert!(value.as_array().is_none_or(|array| array.iter().count() == array.len()), "{key}");
        }
    }
    let taken = MEMORY.peak_usage() - before;
    assert!(taken <= FIXED + PER_BYTE * size, "{what}: {taken} bytes of memory for {size} of the file");
}

/// xorshift64*
fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize
}

#[test]
fn memory_is_bounded_by_the_size_of_the_file() {
    let mut entries = Raw::new(3, false, 0, 20_000);
    for number in 0..20_000_u32 {
        entries.string(&number.to_le_bytes().map(|byte| byte & 0x7f | 1)).u32(0).bytes.push(0);
    }
    assert_bounded(entries.bytes, "many entries");

    let mut tensors = Raw::new(3, false, 20_000, 0);
    for number in 0..20_000 {
        tensors.tensor(&format!("{number:x}"), &[0], 0, 0);
    }
    assert_bounded(tensors.data(32, 0).bytes.clone(), "many tensors");

    let mut vocabulary = Model::byte_pair();
    vocabulary.set("tokenizer.ggml.tokens", vec![""; 100_000]);
    assert_bounded(vocabulary.bytes(), "many empty tokens");
    let tokens: Vec<String> = (0..100_000).map(|number| format!("{number:x}")).collect();
    vocabulary.set("tokenizer.ggml.tokens", tokens.clone()).set("tokenizer.ggml.merges", tokens);
    assert_bounded(vocabulary.bytes(), "many tokens");

    for count in [1_u64 << 20, 1 << 32, 1 << 62, u64::MAX] {
        assert_bounded(Raw::new(3, false, count, 0).data(1, 4096).bytes.clone(), "tensors promised");
        assert_bounded(Raw::new(3, false, 0, count).data(1, 4096).bytes.clone(), "entries promised");
        let items =
            Raw::new(3, false, 0, 1).string(b"k").u32(9).u32(8).u64(count).data(1, 4096).bytes.clone();
        assert_bounded(items, "items promised");
    }

    let originals = [Model::llama().bytes(), Model::byte_pair().bytes()];
    let mut state = 0x51ED;
    for round in 0..2000 {
        let mut bytes = originals[round % 2].clone();
        for _ in 0..4 {
            let reach = bytes.len().min(if round % 3 == 0 { bytes.len() } else { 900 });
            let at = random(&mut state) % reach;
            match random(&mut state) % 3 {
                0 => bytes[at] ^= 1 << (random(&mut state) % 8),
                1 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                _ => drop(bytes.remove(at)),
            }
        }
        assert_bounded(bytes, "mutation");
    }
}
