//! A small model with adapters, and what merging them must give.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::PathBuf;

use tabagent_gguf::{
    GgmlType, GgufFile, GgufWriter, LoraError, LoraOptions, Merged, merge_lora, no_progress, quants,
};
use tempfile::TempDir;

pub(crate) const WIDTH: u64 = 64;
pub(crate) const VOCAB: u64 = 12;
pub(crate) const RANK: u64 = 4;

/// Numbers between −1 and 1 that look random.
pub(crate) fn noise(n: u64, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

pub(crate) fn stored(kind: GgmlType, values: &[f32], row: u64) -> Vec<u8> {
    let mut bytes = vec![0; kind.n_bytes(values.len() as u64).unwrap() as usize];
    let ones = vec![1.0; row as usize];
    quants::quantize(kind, values, row as usize, Some(&ones), &mut bytes).unwrap();
    bytes
}

/// Shapes of the model's tensors in ggml's order.
pub(crate) const SHAPES: [(&str, &[u64]); 7] = [
    ("token_embd.weight", &[WIDTH, VOCAB]),
    ("blk.0.attn_norm.weight", &[WIDTH]),
    ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
    ("blk.0.attn_k.weight", &[WIDTH, WIDTH / 2]),
    ("blk.0.attn_v.weight", &[WIDTH, WIDTH / 2]),
    ("blk.0.ffn_up_exps.weight", &[WIDTH, 8, 3]),
    ("blk.0.ffn_down.weight", &[WIDTH, WIDTH]),
];

pub(crate) fn model(kind: GgmlType) -> GgufWriter {
    let writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("general.name", "base")
        .add("general.file_type", 2_u32)
        .add("llama.block_count", 1_u32)
        .add("llama.attention.head_count", 4_u32)
        .add("llama.attention.head_count_kv", 2_u32);
    SHAPES.iter().zip(1..).fold(writer, |writer, ((name, dims), seed)| {
        let values = noise(dims.iter().product(), seed);
        let kind = if dims.len() == 1 { GgmlType::F32 } else { kind };
        writer.add_tensor(name, kind, dims, stored(kind, &values, dims[0]))
    })
}

/// A GGUF adapter for tensors of these names.
pub(crate) fn adapter(kind: GgmlType, alpha: f32, names: &[&str], seed: u64) -> GgufWriter {
    let writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("general.type", "adapter")
        .add("adapter.type", "lora")
        .add("adapter.lora.alpha", alpha);
    names.iter().fold(writer, |writer, name| {
        let dims = SHAPES.iter().find(|(known, _)| known == name).unwrap().1;
        let (row, rows) = (dims[0], dims[1]);
        let experts = dims.get(2).copied();
        let with = |a: u64, b: u64| -> Vec<u64> { [a, b].into_iter().chain(experts).collect() };
        let (a, b) = if *name == "token_embd.weight" {
            (with(RANK, rows), with(RANK, row))
        } else {
            (with(row, RANK), with(RANK, rows))
        };
        let add = |writer: GgufWriter, end: &str, dims: &[u64], seed: u64| {
            let values = noise(dims.iter().product(), seed);
            writer.add_tensor(&format!("{name}{end}"), kind, dims, stored(kind, &values, dims[0]))
        };
        let place = 100 * seed + 10 * SHAPES.iter().position(|(known, _)| known == name).unwrap() as u64;
        add(add(writer, ".lora_a", &a, place), ".lora_b", &b, place + 1)
    })
}

/// A folder with a model, an adapter and the result of merging them.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new(model: &GgufWriter, adapters: &[&GgufWriter]) -> Self {
        let folder = TempDir::new().unwrap();
        model.write_to(&folder.path().join("base.gguf")).unwrap();
        for (index, adapter) in adapters.iter().enumerate() {
            adapter.write_to(&folder.path().join(format!("adapter{index}.gguf"))).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn open(&self, name: &str) -> GgufFile {
        GgufFile::open(&self.path(name)).unwrap()
    }

    pub(crate) fn merge(&self, adapters: &[(&str, f64)], options: &LoraOptions) -> Result<Merged, LoraError> {
        let adapters: Vec<(PathBuf, f64)> =
            adapters.iter().map(|(name, scale)| (self.path(name), *scale)).collect();
        merge_lora(&self.path("base.gguf"), &adapters, &self.path("out.gguf"), options, &no_progress)
    }

    /// The error of merging `adapter0.gguf`, which must leave no file.
    #[track_caller]
    pub(crate) fn refusal(&self, options: &LoraOptions) -> String {
        let error = self.merge(&[("adapter0.gguf", 1.0)], options).unwrap_err();
        let left: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        error.to_string()
    }
}

pub(crate) fn numbers(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let mut numbers = vec![0.0; tensor.shape.n_elements() as usize];
    quants::dequantize(tensor.ggml_type, file.tensor_data(tensor), &mut numbers).unwrap();
    numbers
}

/// `W + scale · strength · B · A` in F64, as the rules of the format have it.
pub(crate) fn reference(base: &GgufFile, adapters: &[(&GgufFile, f64)], name: &str) -> Vec<f64> {
    let shape = base.tensor(name).unwrap().shape;
    let (row, rows, experts) = (shape.dim(0) as usize, shape.dim(1) as usize, shape.dim(2) as usize);
    let mut sums: Vec<f64> = numbers(base, name).into_iter().map(f64::from).collect();
    for (adapter, scale) in adapters {
        let alpha = adapter.metadata().get("adapter.lora.alpha").unwrap().as_f64().unwrap();
        let (a, b) =
            (numbers(adapter, &format!("{name}.lora_a")), numbers(adapter, &format!("{name}.lora_b")));
        let rank = adapter.tensor(&format!("{name}.lora_b")).unwrap().shape.row_len() as usize;
        let strength = if alpha == 0.0 { *scale } else { scale * alpha / rank as f64 };
        for expert in 0..experts {
            for i in 0..rows {
                for j in 0..row {
                    let product: f64 = (0..rank)
                        .map(|k| {
                            let (left, right) = if name == "token_embd.weight" {
                                (a[i * rank + k], b[j * rank + k])
                            } else {
                                (b[(expert * rows + i) * rank + k], a[(expert * rank + k) * row + j])
                            };
                            f64::from(left) * f64::from(right)
                        })
                        .sum();
                    sums[(expert * rows + i) * row + j] += strength * product;
                }
            }
        }
    }
    sums
}

#[track_caller]
pub(crate) fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= tolerance * expected.abs().max(1.0), "{index}: {found} instead of {expected}");
    }
}
