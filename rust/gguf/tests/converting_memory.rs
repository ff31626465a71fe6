//! Converting takes memory for a piece of a tensor, however large the checkpoint.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs::File;
use std::io::Write;

use peak_alloc::PeakAlloc;
use serde_json::json;
use tabagent_gguf::{ConvertOptions, GgmlType, GgufFile, OutType, convert, no_progress};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Rows of 64 numbers of the one large matrix: 128 MiB of F32.
const ROWS: usize = 1 << 19;

#[test]
fn memory_does_not_grow_with_the_checkpoint() {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, content: serde_json::Value| {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    };
    write(
        "config.json",
        json!({
            "architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "intermediate_size": ROWS, "num_attention_heads": 4,
            "num_hidden_layers": 1, "max_position_embeddings": 64,
        }),
    );
    write(
        "tokenizer.json",
        json!({
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        }),
    );
    let n_bytes = ROWS * 64 * 4;
    let header = json!({
        "model.layers.0.mlp.up_proj.weight": {"dtype": "F32", "shape": [ROWS, 64], "data_offsets": [0, n_bytes]},
    })
    .to_string();
    let mut file = File::create(folder.path().join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // All zeros, which take no space on the disk.
    file.set_len((8 + header.len() + n_bytes) as u64).unwrap();
    drop(file);

    let out = folder.path().join("out.gguf");
    let options = ConvertOptions::default().with_out_type(OutType::Q8_0);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    convert(folder.path(), &out, &options, &no_progress).unwrap();
    let peak = MEMORY.peak_usage() - before;
    assert!(peak < 8 << 20, "{peak} bytes");
    let written = GgufFile::open(&out).unwrap();
    assert_eq!(written.tensor("blk.0.ffn_up.weight").unwrap().ggml_type, GgmlType::Q8_0);
}
