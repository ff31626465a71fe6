//! Adapters of both forms merged into models, against sums in F64, and hostile adapters.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tabagent_gguf::{
    GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, Imatrix, LoraError, LoraOptions, MergeType, Merged,
    OwnedArray, OwnedValue, SplitBy, convert_adapter, is_adapter_folder, merge_lora, no_progress, quants,
};
use tempfile::TempDir;

const WIDTH: u64 = 64;
const VOCAB: u64 = 12;
const RANK: u64 = 4;

/// Numbers between −1 and 1 that look random.
fn noise(n: u64, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn stored(kind: GgmlType, values: &[f32], row: u64) -> Vec<u8> {
    let mut bytes = vec![0; kind.n_bytes(values.len() as u64).unwrap() as usize];
    let ones = vec![1.0; row as usize];
    quants::quantize(kind, values, row as usize, Some(&ones), &mut bytes).unwrap();
    bytes
}

/// Shapes of the model's tensors in ggml's order.
const SHAPES: [(&str, &[u64]); 7] = [
    ("token_embd.weight", &[WIDTH, VOCAB]),
    ("blk.0.attn_norm.weight", &[WIDTH]),
    ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
    ("blk.0.attn_k.weight", &[WIDTH, WIDTH / 2]),
    ("blk.0.attn_v.weight", &[WIDTH, WIDTH / 2]),
    ("blk.0.ffn_up_exps.weight", &[WIDTH, 8, 3]),
    ("blk.0.ffn_down.weight", &[WIDTH, WIDTH]),
];

fn model(kind: GgmlType) -> GgufWriter {
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
fn adapter(kind: GgmlType, alpha: f32, names: &[&str], seed: u64) -> GgufWriter {
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
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(model: &GgufWriter, adapters: &[&GgufWriter]) -> Self {
        let folder = TempDir::new().unwrap();
        model.write_to(&folder.path().join("base.gguf")).unwrap();
        for (index, adapter) in adapters.iter().enumerate() {
            adapter.write_to(&folder.path().join(format!("adapter{index}.gguf"))).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str) -> GgufFile {
        GgufFile::open(&self.path(name)).unwrap()
    }

    fn merge(&self, adapters: &[(&str, f64)], options: &LoraOptions) -> Result<Merged, LoraError> {
        let adapters: Vec<(PathBuf, f64)> =
            adapters.iter().map(|(name, scale)| (self.path(name), *scale)).collect();
        merge_lora(&self.path("base.gguf"), &adapters, &self.path("out.gguf"), options, &no_progress)
    }

    /// The error of merging `adapter0.gguf`, which must leave no file.
    #[track_caller]
    fn refusal(&self, options: &LoraOptions) -> String {
        let error = self.merge(&[("adapter0.gguf", 1.0)], options).unwrap_err();
        let left: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        error.to_string()
    }
}

fn numbers(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let mut numbers = vec![0.0; tensor.shape.n_elements() as usize];
    quants::dequantize(tensor.ggml_type, file.tensor_data(tensor), &mut numbers).unwrap();
    numbers
}

/// `W + scale · strength · B · A` in F64, as the rules of the format have it.
fn reference(base: &GgufFile, adapters: &[(&GgufFile, f64)], name: &str) -> Vec<f64> {
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
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= tolerance * expected.abs().max(1.0), "{index}: {found} instead of {expected}");
    }
}

const CHANGED: [&str; 4] =
    ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "blk.0.ffn_down.weight"];

#[test]
fn adapters_of_any_type_are_added_to_models_of_any_type() {
    for base in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0, GgmlType::Q4_0] {
        for kind in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
            let bench = Bench::new(
                &model(base),
                &[&adapter(kind, 8.0, &CHANGED, 1), &adapter(kind, 0.0, &CHANGED[1..3], 2)],
            );
            let options = LoraOptions::default().with_out_type(MergeType::F32).with_threads(Some(2));
            let merged = bench.merge(&[("adapter0.gguf", 0.5), ("adapter1.gguf", -2.0)], &options).unwrap();
            assert_eq!((merged.n_tensors, merged.n_changed, merged.ignored.len()), (7, 4, 0));
            let (model, out) = (bench.open("base.gguf"), bench.open("out.gguf"));
            let (first, second) = (bench.open("adapter0.gguf"), bench.open("adapter1.gguf"));
            for name in CHANGED {
                let mut adapters = vec![(&first, 0.5)];
                if second.tensor(&format!("{name}.lora_a")).is_some() {
                    adapters.push((&second, -2.0));
                }
                assert_eq!(out.tensor(name).unwrap().ggml_type, GgmlType::F32);
                assert_near(&numbers(&out, name), &reference(&model, &adapters, name), 1e-6);
            }
            for name in ["blk.0.attn_norm.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"] {
                let (old, new) = (model.tensor(name).unwrap(), out.tensor(name).unwrap());
                assert_eq!(old.ggml_type, new.ggml_type);
                assert_eq!(model.tensor_data(old), out.tensor_data(new));
            }
        }
    }
}

#[test]
fn tensors_are_packed_again_as_the_sum_itself_would_be() {
    for kind in [GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0, GgmlType::Q4_1, GgmlType::IQ4_NL] {
        let bench = Bench::new(&model(kind), &[&adapter(GgmlType::F32, 4.0, &CHANGED, 3)]);
        bench
            .merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default().with_out_type(MergeType::F32))
            .unwrap();
        let exact: Vec<Vec<f32>> =
            CHANGED.iter().map(|name| numbers(&bench.open("out.gguf"), name)).collect();
        bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default()).unwrap();
        let out = bench.open("out.gguf");
        for (name, exact) in CHANGED.iter().zip(exact) {
            let tensor = out.tensor(name).unwrap();
            assert_eq!(tensor.ggml_type, kind);
            let mut expected = vec![0; tensor.n_bytes as usize];
            quants::quantize(kind, &exact, WIDTH as usize, None, &mut expected).unwrap();
            assert_eq!(out.tensor_data(tensor), expected, "{name} {kind}");
        }
        assert_eq!(out.metadata().get("general.file_type").unwrap().as_u64(), Some(2));
    }
}

#[test]
fn importances_count_when_tensors_are_packed_again() {
    let name = "blk.0.ffn_up_exps.weight";
    let bench = Bench::new(&model(GgmlType::Q4_0), &[&adapter(GgmlType::F32, 4.0, &[name], 3)]);
    bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default().with_out_type(MergeType::F32)).unwrap();
    let exact = numbers(&bench.open("out.gguf"), name);
    let importances: Vec<f32> = noise(3 * WIDTH, 9).iter().map(|value| value * value * 100.0).collect();
    let imatrix = Imatrix::from_importances([(name.to_owned(), importances.clone())]).unwrap();
    bench
        .merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default().with_imatrix(Some(imatrix.into())))
        .unwrap();
    let out = bench.open("out.gguf");
    let expected: Vec<u8> = exact
        .chunks(8 * WIDTH as usize)
        .zip(importances.chunks(WIDTH as usize))
        .flat_map(|(matrix, importances)| {
            let mut bytes = vec![0; GgmlType::Q4_0.n_bytes(8 * WIDTH).unwrap() as usize];
            quants::quantize(GgmlType::Q4_0, matrix, WIDTH as usize, Some(importances), &mut bytes).unwrap();
            bytes
        })
        .collect();
    assert_eq!(out.tensor_data(out.tensor(name).unwrap()), expected);
    let imatrix = Imatrix::from_importances([(name.to_owned(), vec![1.0; 7])]).unwrap();
    fs::remove_file(bench.path("out.gguf")).unwrap();
    let text = bench.refusal(&LoraOptions::default().with_imatrix(Some(imatrix.into())));
    assert!(text.contains("the importance matrix has `7`"), "{text}");
}

#[test]
fn output_types_apply_to_changed_tensors() {
    let kinds = |out_type| {
        let base =
            model(GgmlType::Q4_0).add_tensor("blk.0.ffn_gate.weight", GgmlType::F32, &[1, 1], vec![0; 4]);
        let bench = Bench::new(&base, &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_q.weight"], 1)]);
        bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default().with_out_type(out_type)).unwrap();
        let out = bench.open("out.gguf");
        let file_type = out.metadata().get("general.file_type").unwrap().as_u64().unwrap();
        (
            out.tensor("blk.0.attn_q.weight").unwrap().ggml_type,
            out.tensor("blk.0.attn_k.weight").unwrap().ggml_type,
            file_type,
        )
    };
    assert_eq!(kinds(MergeType::F16), (GgmlType::F16, GgmlType::Q4_0, 1));
    assert_eq!(kinds(MergeType::Bf16), (GgmlType::BF16, GgmlType::Q4_0, 32));
    assert_eq!(kinds(MergeType::Q8_0), (GgmlType::Q8_0, GgmlType::Q4_0, 7));
    assert_eq!(kinds(MergeType::Keep), (GgmlType::Q4_0, GgmlType::Q4_0, 2));
}

#[test]
fn metadata_stays_and_says_what_was_merged() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_q.weight"], 1)]);
    bench.merge(&[("adapter0.gguf", 0.25)], &LoraOptions::default()).unwrap();
    fs::rename(bench.path("out.gguf"), bench.path("base.gguf")).unwrap();
    bench.merge(&[("adapter0.gguf", 1.0), ("adapter0.gguf", 2.0)], &LoraOptions::default()).unwrap();
    let out = bench.open("out.gguf");
    assert_eq!(out.metadata().get("general.name").unwrap().as_str(), Some("base"));
    let names = OwnedValue::from(vec!["adapter0.gguf"; 3]);
    assert_eq!(OwnedValue::from(out.metadata().get("tabagent.lora.names").unwrap()), names);
    let scales = OwnedValue::Array(OwnedArray::F32(vec![0.25, 1.0, 2.0]));
    assert_eq!(OwnedValue::from(out.metadata().get("tabagent.lora.scales").unwrap()), scales);
    assert_eq!(out.tensors().len(), 7);
}

#[test]
fn split_models_become_one_file() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.ffn_down.weight"], 1)]);
    bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default()).unwrap();
    let whole = fs::read(bench.path("out.gguf")).unwrap();
    let parts = model(GgmlType::F16)
        .write_parts(&bench.path("base"), SplitBy::Tensors(2), false, &no_progress)
        .unwrap();
    assert_eq!(parts.len(), 4);
    let adapters = [(bench.path("adapter0.gguf"), 1.0)];
    merge_lora(&parts[2], &adapters, &bench.path("out.gguf"), &LoraOptions::default(), &no_progress).unwrap();
    assert_eq!(fs::read(bench.path("out.gguf")).unwrap(), whole);
}

#[test]
fn progress_is_told_and_stops_without_a_file() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.ffn_down.weight"], 1)]);
    let adapters = [(bench.path("adapter0.gguf"), 1.0)];
    let last = AtomicU64::new(0);
    let tell = |done, total| {
        assert!(done <= total);
        last.store(total - done, Ordering::Relaxed);
        last.fetch_add(1, Ordering::Relaxed);
        true
    };
    merge_lora(&bench.path("base.gguf"), &adapters, &bench.path("out.gguf"), &LoraOptions::default(), &tell)
        .unwrap();
    assert_eq!(last.load(Ordering::Relaxed), 1);
    fs::remove_file(bench.path("out.gguf")).unwrap();
    let stop = |_, _| false;
    let error = merge_lora(
        &bench.path("base.gguf"),
        &adapters,
        &bench.path("out.gguf"),
        &LoraOptions::default(),
        &stop,
    )
    .unwrap_err();
    assert!(matches!(error, LoraError::Gguf(GgufError::Cancelled)), "{error}");
    assert!(!bench.path("out.gguf").exists());
}

#[test]
fn types_that_cannot_be_packed_say_what_to_do() {
    let one = |kind: GgmlType, row: u64| {
        let bytes = vec![0; kind.n_bytes(row * 4).unwrap() as usize];
        GgufWriter::new().add("general.architecture", "llama").add_tensor("t.weight", kind, &[row, 4], bytes)
    };
    let change = |row: u64| {
        adapter(GgmlType::F32, 1.0, &[], 1)
            .add_tensor("t.weight.lora_a", GgmlType::F32, &[row, 1], vec![0; 4 * row as usize])
            .add_tensor("t.weight.lora_b", GgmlType::F32, &[1, 4], vec![0; 16])
    };
    let keep = LoraOptions::default();
    let f32s = || LoraOptions::default().with_out_type(MergeType::F32);
    let text = Bench::new(&one(GgmlType::IQ2_XXS, 256), &[&change(256)]).refusal(&keep);
    assert!(
        text.contains("`base.gguf`: tensor `t.weight` has type `IQ2_XXS`, which needs an importance matrix"),
        "{text}"
    );
    Bench::new(&one(GgmlType::IQ2_XXS, 256), &[&change(256)])
        .merge(&[("adapter0.gguf", 1.0)], &f32s())
        .unwrap();
    let text = Bench::new(&one(GgmlType::F64, 2), &[&change(2)]).refusal(&keep);
    assert!(text.contains("cannot be packed again; choose output type `f32`"), "{text}");
    Bench::new(&one(GgmlType::F64, 2), &[&change(2)]).merge(&[("adapter0.gguf", 1.0)], &f32s()).unwrap();
    let text = Bench::new(&one(GgmlType::I2_S, 128), &[&change(128)]).refusal(&f32s());
    assert!(text.contains("`tabagent convert` first"), "{text}");
    let text = Bench::new(&one(GgmlType::I32, 2), &[&change(2)]).refusal(&keep);
    assert!(text.contains("has type `I32`; no adapter can change it"), "{text}");
}

#[test]
fn sums_that_a_type_cannot_hold_are_refused() {
    let big = |value: f32| {
        let numbers: Vec<u8> = std::iter::repeat_n(value.to_le_bytes(), 64).flatten().collect();
        let name = "blk.0.attn_q.weight";
        adapter(GgmlType::F32, 1.0, &[], 1)
            .add_tensor(&format!("{name}.lora_a"), GgmlType::F32, &[64, 1], numbers.clone())
            .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, &[1, 64], numbers)
    };
    let text = Bench::new(&model(GgmlType::F16), &[&big(300.0)]).refusal(&LoraOptions::default());
    assert!(
        text.contains("tensor `blk.0.attn_q.weight`: weight `0` becomes a number that `F16` cannot hold"),
        "{text}"
    );
    let text = Bench::new(&model(GgmlType::Q8_0), &[&big(3e19)]).refusal(&LoraOptions::default());
    assert!(text.contains("that `Q8_0` cannot hold"), "{text}");
}

#[test]
fn adapters_of_another_kind_or_model_are_refused() {
    let good = || adapter(GgmlType::F16, 1.0, &["blk.0.attn_q.weight"], 1);
    let text =
        |adapter: GgufWriter| Bench::new(&model(GgmlType::F16), &[&adapter]).refusal(&LoraOptions::default());
    for (adapter, expected) in [
        (good().set("general.type", "model"), "key `general.type` must be `adapter`, but is `model`"),
        (good().remove("adapter.type"), "key `adapter.type` must be `lora`, but is no text"),
        (
            good().set("general.architecture", "qwen2"),
            "architecture `qwen2`, but `base.gguf` has architecture `llama`",
        ),
        (good().set("adapter.lora.alpha", f32::NAN), "must be a finite float"),
        (good().set("adapter.lora.alpha", "8"), "must be a finite float"),
        (good().set("adapter.alora.invocation_tokens", vec![1_u32]), "load it beside the model"),
        (adapter(GgmlType::F16, 1.0, &[], 1), "it has no tensors that change any"),
        (
            good().add_tensor("x", GgmlType::F32, &[1], vec![0; 4]),
            "tensor `x` ends neither in `.lora_a` nor in `.lora_b`",
        ),
        (good().add_tensor("x.lora_b", GgmlType::F32, &[1, 1], vec![0; 4]), "tensor `x.lora_a` is missing"),
        (
            good().add_tensor("x.lora_a.lora_a", GgmlType::F32, &[1, 1], vec![0; 4]),
            "tensor `x.lora_a.lora_b` is missing",
        ),
    ] {
        let found = text(adapter);
        assert!(found.contains("adapter0.gguf`: ") && found.contains(expected), "{found}");
    }
    let other = adapter(GgmlType::F16, 1.0, &[], 1)
        .add_tensor("blk.9.attn_q.weight.lora_a", GgmlType::F32, &[64, 1], vec![0; 256])
        .add_tensor("blk.9.attn_q.weight.lora_b", GgmlType::F32, &[1, 64], vec![0; 256]);
    assert!(text(other).contains("changes `blk.9.attn_q.weight`, which `base.gguf` does not have"));
    let empty = good().set("adapter.alora.invocation_tokens", Vec::<u32>::new());
    Bench::new(&model(GgmlType::F16), &[&empty])
        .merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default())
        .unwrap();
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let name = "blk.0.attn_k.weight";
    let with = |a: &[u64], b: &[u64]| {
        let size = |dims: &[u64]| vec![0; 4 * dims.iter().product::<u64>() as usize];
        let adapter = adapter(GgmlType::F32, 1.0, &[], 1)
            .add_tensor(&format!("{name}.lora_a"), GgmlType::F32, a, size(a))
            .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, b, size(b));
        Bench::new(&model(GgmlType::F16), &[&adapter]).refusal(&LoraOptions::default())
    };
    for (a, b, expected) in [
        (&[64, 2][..], &[3, 32][..], "have ranks `2` and `3`"),
        (&[2, 64], &[32, 2], "have ranks `64` and `32`"),
        (
            &[65, 2],
            &[2, 32],
            "make shape `[65, 32]`, but `blk.0.attn_k.weight` of `base.gguf` has shape `[64, 32]`",
        ),
        (&[64, 2], &[2, 64], "make shape `[64, 64]`"),
        (&[64, 2, 3], &[2, 32, 3], "for `3` experts"),
        (&[64, 0], &[0, 32], "but a factor is a matrix"),
        (&[64], &[32], "but a factor is a matrix"),
        (&[64, 2, 1, 1], &[2, 32], "but a factor is a matrix"),
    ] {
        let text = with(a, b);
        assert!(text.contains(expected), "{a:?} {b:?}: {text}");
    }
}

#[test]
fn factors_that_are_no_numbers_are_refused() {
    let name = "blk.0.attn_k.weight";
    let with = |kind: GgmlType, a: Vec<u8>| {
        let adapter = adapter(GgmlType::F32, 1.0, &[], 1)
            .add_tensor(&format!("{name}.lora_a"), kind, &[64, 1], a)
            .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, &[1, 32], vec![0; 128]);
        Bench::new(&model(GgmlType::F16), &[&adapter]).refusal(&LoraOptions::default())
    };
    let mut nan = vec![0; 256];
    nan[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    let text = with(GgmlType::F32, nan);
    assert!(
        text.contains("tensor `blk.0.attn_k.weight.lora_a`") && text.contains("not finite at byte `20`"),
        "{text}"
    );
    assert!(with(GgmlType::I32, vec![0; 256]).contains("has type `I32`; save the adapter as `F16` or `F32`"));
}

#[test]
fn packed_adapters_and_those_of_norms_are_understood() {
    let name = "blk.0.attn_k.weight";
    let (a, b) = (noise(64 * 32, 5), noise(32 * 32, 6));
    let packed = adapter(GgmlType::F32, 16.0, &[], 1)
        .add_tensor(&format!("{name}.lora_a"), GgmlType::Q8_0, &[64, 32], stored(GgmlType::Q8_0, &a, 64))
        .add_tensor(&format!("{name}.lora_b"), GgmlType::Q4_0, &[32, 32], stored(GgmlType::Q4_0, &b, 32))
        .add_tensor("blk.0.attn_norm.weight", GgmlType::F32, &[1], vec![0; 4]);
    let bench = Bench::new(&model(GgmlType::F32), &[&packed]);
    let merged = bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default()).unwrap();
    assert_eq!(merged.ignored, ["blk.0.attn_norm.weight"]);
    let expected = reference(&bench.open("base.gguf"), &[(&bench.open("adapter0.gguf"), 1.0)], name);
    assert_near(&numbers(&bench.open("out.gguf"), name), &expected, 2e-6);
}

#[test]
fn calls_without_sense_are_refused() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_q.weight"], 1)]);
    let text = |adapters: &[(&str, f64)], options: LoraOptions| {
        bench.merge(adapters, &options).unwrap_err().to_string()
    };
    assert!(text(&[], LoraOptions::default()).contains("no adapter"));
    assert!(text(&[("adapter0.gguf", f64::NAN)], LoraOptions::default()).contains("scale `NaN`"));
    assert!(text(&[("adapter0.gguf", 1e300)], LoraOptions::default()).contains("not finite"));
    assert!(
        text(&[("adapter0.gguf", 1.0)], LoraOptions::default().with_threads(Some(0)))
            .contains("at least one")
    );
    assert!(matches!(bench.merge(&[("none", 1.0)], &LoraOptions::default()), Err(LoraError::Read { .. })));
    assert!(
        text(&[("base.gguf", 1.0)], LoraOptions::default()).contains("key `general.type` must be `adapter`")
    );
}

/// A tensor of a checkpoint: name, shape (rows first), numbers.
type Tensor = (String, Vec<u64>, Vec<f32>);

fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Json::Object(header).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()).unwrap();
}

const Q: &str = "model.layers.0.self_attn.q_proj";

/// A PEFT adapter of queries, values and embeddings.
struct Peft {
    config: Json,
    tensors: Vec<Tensor>,
}

impl Peft {
    fn new() -> Self {
        let config = json!({
            "peft_type": "LORA", "r": RANK, "lora_alpha": 8, "bias": "none", "use_dora": false, "fan_in_fan_out": false,
            "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {}, "base_model_name_or_path": "none/here",
        });
        let mut tensors = Vec::new();
        for (module, end, a, b) in [
            (Q, ".weight", vec![RANK, WIDTH], vec![WIDTH, RANK]),
            ("model.layers.0.self_attn.v_proj", ".weight", vec![RANK, WIDTH], vec![WIDTH / 2, RANK]),
            ("model.embed_tokens", "", vec![RANK, VOCAB], vec![WIDTH, RANK]),
        ] {
            let kind = if end.is_empty() { "embedding_" } else { "" };
            for (letter, shape) in [("A", a), ("B", b)] {
                let numbers = noise(shape.iter().product(), tensors.len() as u64 + 50);
                tensors.push((format!("base_model.model.{module}.lora_{kind}{letter}{end}"), shape, numbers));
            }
        }
        Self { config, tensors }
    }

    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        write_safetensors(&folder.join("adapter_model.safetensors"), &self.tensors);
    }

    fn numbers(&self, end: &str) -> &[f32] {
        &self.tensors.iter().find(|tensor| tensor.0.ends_with(end)).unwrap().2
    }

    /// The error of merging it.
    fn refusal(&self) -> String {
        let bench = Bench::new(&model(GgmlType::F32), &[]);
        self.write(&bench.path("peft"));
        bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string()
    }

    /// What `B · A` times `strength` adds to the queries: rows of heads of 16 in pairs, which the adapter has as halves.
    fn query_change(&self, strength: f64) -> Vec<f64> {
        let (a, b) = (self.numbers("q_proj.lora_A.weight"), self.numbers("q_proj.lora_B.weight"));
        let (width, rank, head) = (WIDTH as usize, a.len() / WIDTH as usize, 16);
        let mut change = Vec::new();
        for row in 0..width {
            let within = row % head;
            let from = row / head * head + within % 2 * (head / 2) + within / 2;
            for column in 0..width {
                let product: f64 =
                    (0..rank).map(|k| f64::from(b[from * rank + k]) * f64::from(a[k * width + column])).sum();
                change.push(strength * product);
            }
        }
        change
    }
}

fn sums(base: &[f32], change: &[f64]) -> Vec<f64> {
    base.iter().zip(change).map(|(base, change)| f64::from(*base) + change).collect()
}

#[test]
fn peft_adapters_are_named_and_sorted_as_the_model() {
    let peft = Peft::new();
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    peft.write(&bench.path("peft"));
    let merged = bench.merge(&[("peft", 0.5)], &LoraOptions::default()).unwrap();
    assert_eq!(merged.n_changed, 3);
    let (base, out) = (bench.open("base.gguf"), bench.open("out.gguf"));
    let expected = sums(&numbers(&base, "blk.0.attn_q.weight"), &peft.query_change(0.5 * 8.0 / 4.0));
    assert_near(&numbers(&out, "blk.0.attn_q.weight"), &expected, 1e-6);
    // Embeddings: columns of A are tokens.
    let (a, b) = (peft.numbers("lora_embedding_A"), peft.numbers("lora_embedding_B"));
    let (rank, vocab) = (RANK as usize, VOCAB as usize);
    let change: Vec<f64> = (0..vocab * WIDTH as usize)
        .map(|index| {
            let (token, column) = (index / WIDTH as usize, index % WIDTH as usize);
            (0..rank).map(|k| f64::from(b[column * rank + k]) * f64::from(a[k * vocab + token])).sum()
        })
        .collect();
    let expected = sums(&numbers(&base, "token_embd.weight"), &change);
    assert_near(&numbers(&out, "token_embd.weight"), &expected, 1e-6);
    // The file of the weights is the same adapter.
    let whole = fs::read(bench.path("out.gguf")).unwrap();
    bench.merge(&[("peft/adapter_model.safetensors", 0.5)], &LoraOptions::default()).unwrap();
    assert_eq!(bench.open("out.gguf").tensors().len(), GgufFile::from_bytes(whole).unwrap().tensors().len());
}

#[test]
fn strengths_follow_patterns_and_roots() {
    for (key, value, strength) in [
        ("use_rslora", json!(true), 8.0 / 2.0),
        ("alpha_pattern", json!({"q_proj": 2, "v_proj": 3}), 2.0 / 4.0),
        ("alpha_pattern", json!({r"model\.layers\.\d+\.self_attn\.[qk]_proj": 12.0}), 12.0 / 4.0),
        ("alpha_pattern", json!({"_proj": 3, "attn.q_proj": 3}), 8.0 / 4.0),
        ("rank_pattern", json!({"v_proj|q_proj": 4, "q_proj": 4}), 8.0 / 4.0),
    ] {
        let mut peft = Peft::new();
        peft.config[key] = value.clone();
        let bench = Bench::new(&model(GgmlType::F32), &[]);
        peft.write(&bench.path("peft"));
        bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap();
        let name = "blk.0.attn_q.weight";
        let expected = sums(&numbers(&bench.open("base.gguf"), name), &peft.query_change(strength));
        assert_near(&numbers(&bench.open("out.gguf"), name), &expected, 1e-6);
    }
}

#[test]
fn peft_configurations_that_cannot_be_merged_say_why() {
    for (key, value, expected) in [
        ("peft_type", json!("IA3"), "key `peft_type` is `IA3`"),
        ("peft_type", json!(null), "key `peft_type` must be `LORA`"),
        ("use_dora", json!(true), "DoRA scales every row anew"),
        ("lora_bias", json!(true), "biases of the factors"),
        ("bias", json!("lora_only"), "key `bias` is `lora_only`"),
        ("modules_to_save", json!(["lm_head"]), "whole modules are not merged"),
        ("alora_invocation_tokens", json!([1, 2]), "load it beside the model"),
        ("init_lora_weights", json!("pissa_niter_16"), "path_initial_model_for_weight_conversion"),
        ("r", json!(5), "has rank `4`, but the configuration says `5`"),
        ("r", json!(0), "key `r` must be above 0"),
        ("r", json!("4"), "key `r` must be a number"),
        ("lora_alpha", json!(0), "key `lora_alpha` must be above 0"),
        ("lora_alpha", json!(null), "key `lora_alpha` is missing"),
        ("rank_pattern", json!({"q_proj": 8}), "the configuration says `8`"),
        ("rank_pattern", json!([1]), "key `rank_pattern` must be an object"),
        ("alpha_pattern", json!({"q_proj": -1}), "numbers above 0"),
        ("alpha_pattern", json!({"(": 1}), "pattern `(` of `alpha_pattern` is no regular expression"),
        ("alpha_pattern", json!({"q_proj": 1, ".*": 2}), "different numbers"),
    ] {
        let mut peft = Peft::new();
        peft.config[key] = value.clone();
        let text = peft.refusal();
        assert!(text.contains(expected), "{key} {value}: {text}");
    }
}

#[test]
fn peft_tensors_that_cannot_be_merged_are_named() {
    let with = |name: &str, shape: &[u64], value: f32| {
        let mut peft = Peft::new();
        let numbers = vec![value; shape.iter().product::<u64>() as usize];
        peft.tensors.retain(|tensor| tensor.0 != name);
        peft.tensors.push((name.to_owned(), shape.to_vec(), numbers));
        peft.refusal()
    };
    let q = format!("base_model.model.{Q}");
    for (name, shape, expected) in [
        ("base_model.model.lm_head.weight".to_owned(), &[1, 1][..], "is no factor of a low-rank change"),
        (format!("{q}.lora_magnitude_vector"), &[1], "is of DoRA"),
        (format!("{q}.lora_B.bias"), &[1], "is no factor"),
        (format!("{q}.lora_A.default.weight"), &[1, 1], "is there twice"),
        (
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight".to_owned(),
            &[1, 1],
            "has no place",
        ),
        (
            "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight".to_owned(),
            &[1, 1],
            "matrix `B` of module",
        ),
        (format!("{q}.lora_A.weight"), &[3, 64], "have ranks `3` and `4`"),
        (format!("{q}.lora_A.weight"), &[4, 63], "make shape `[63, 64]`"),
        (format!("{q}.lora_B.weight"), &[62, 4], "which `4` heads of pairs do not divide"),
        (format!("{q}.lora_A.weight"), &[256], "but a factor is a matrix"),
        (format!("{q}.lora_A.weight"), &[0, 64], "but a factor is a matrix"),
    ] {
        let text = with(&name, shape, 0.0);
        assert!(text.contains(expected), "{name}: {text}");
    }
    let text = with(&format!("{q}.lora_A.weight"), &[4, 64], f32::INFINITY);
    assert!(text.contains("not finite"), "{text}");
}

#[test]
fn peft_folders_that_lack_a_file_say_which() {
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    let text = || bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string();
    fs::create_dir(bench.path("peft")).unwrap();
    assert!(text().contains("there is no `adapter_model.safetensors`"));
    Peft::new().write(&bench.path("peft"));
    fs::remove_file(bench.path("peft/adapter_config.json")).unwrap();
    assert!(text().contains("there is no `adapter_config.json`"));
    assert!(!is_adapter_folder(&bench.path("peft")));
    let unknown = model(GgmlType::F32).set("general.architecture", "mamba");
    let bench = Bench::new(&unknown, &[]);
    Peft::new().write(&bench.path("peft"));
    let text = bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string();
    assert!(text.contains("not known for architecture `mamba`") && text.contains("`llama`"), "{text}");
}

#[test]
fn converted_adapters_merge_as_the_original() {
    let mut peft = Peft::new();
    peft.config["alpha_pattern"] = json!({"v_proj": 2});
    peft.config["use_rslora"] = json!(true);
    peft.config["base_model_name_or_path"] = json!("../model");
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    peft.write(&bench.path("peft"));
    fs::create_dir(bench.path("model")).unwrap();
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2});
    fs::write(bench.path("model/config.json"), config.to_string()).unwrap();
    assert!(is_adapter_folder(&bench.path("peft")));
    let done =
        convert_adapter(&bench.path("peft"), None, &bench.path("adapter.gguf"), GgmlType::F32, &no_progress)
            .unwrap();
    assert_eq!((done.architecture.as_str(), done.n_tensors), ("llama", 6));
    assert_eq!(done.n_params, 4 * (64 + 64 + 64 + 32 + 64 + 12));
    let file = bench.open("adapter.gguf");
    let dims = |name: &str| file.tensor(name).unwrap().shape.dims().to_vec();
    assert_eq!(
        (dims("token_embd.weight.lora_a"), dims("token_embd.weight.lora_b")),
        (vec![4, 12], vec![4, 64])
    );
    assert_eq!(
        (dims("blk.0.attn_v.weight.lora_a"), dims("blk.0.attn_v.weight.lora_b")),
        (vec![64, 4], vec![4, 32])
    );
    bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap();
    let original = bench.open("out.gguf");
    let merged = GgufModel::from_parts(vec![original]).unwrap();
    bench.merge(&[("adapter.gguf", 1.0)], &LoraOptions::default()).unwrap();
    let again = bench.open("out.gguf");
    for (name, _) in SHAPES {
        let expected: Vec<f64> = numbers(merged.first(), name).into_iter().map(f64::from).collect();
        assert_near(&numbers(&again, name), &expected, 1e-6);
    }
    peft.config["base_model_name_or_path"] = json!("someone/model");
    peft.write(&bench.path("peft"));
    let out = bench.path("adapter.gguf");
    let text = convert_adapter(&bench.path("peft"), None, &out, GgmlType::F16, &no_progress)
        .unwrap_err()
        .to_string();
    assert!(text.contains("`someone/model` is no folder here"), "{text}");
    convert_adapter(&bench.path("peft"), Some(&bench.path("model")), &out, GgmlType::F16, &no_progress)
        .unwrap();
    let text = convert_adapter(&bench.path("peft"), None, &out, GgmlType::Q8_0, &no_progress)
        .unwrap_err()
        .to_string();
    assert!(text.contains("cannot be written as `Q8_0`"), "{text}");
}

#[test]
fn cut_off_adapters_are_refused() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_k.weight"], 1)]);
    let whole = fs::read(bench.path("adapter0.gguf")).unwrap();
    for length in 0..whole.len() {
        fs::write(bench.path("adapter0.gguf"), &whole[..length]).unwrap();
        assert!(bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default()).is_err(), "{length}");
    }
    let peft = Peft::new();
    peft.write(&bench.path("peft"));
    let whole = fs::read(bench.path("peft/adapter_model.safetensors")).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(bench.path("peft/adapter_model.safetensors"), &whole[..length]).unwrap();
        assert!(bench.merge(&[("peft", 1.0)], &LoraOptions::default()).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_adapters_merge_or_are_refused(at in any::<usize>(), with in proptest::collection::vec(any::<u8>(), 1..9)) {
        let bench = Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_k.weight"], 1)]);
        Peft::new().write(&bench.path("peft"));
        for name in ["adapter0.gguf", "peft/adapter_model.safetensors", "peft/adapter_config.json"] {
            let whole = fs::read(bench.path(name)).unwrap();
            let mut bytes = whole.clone();
            // Mostly in what is not data.
            let at = at % bytes.len().min(1000);
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
            fs::write(bench.path(name), bytes).unwrap();
            let adapter = name.split('/').next().unwrap();
            if bench.merge(&[(adapter, 1.0)], &LoraOptions::default()).is_ok() {
                prop_assert_eq!(bench.open("out.gguf").tensors().len(), SHAPES.len());
            }
            fs::write(bench.path(name), whole).unwrap();
        }
    }
}
