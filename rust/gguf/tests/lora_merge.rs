//! GGUF adapters merged into models, against sums in F64, and hostile adapters.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod lora;

use std::fs;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use lora::*;
use tabagent_gguf::{
    GgmlType, GgufError, GgufWriter, Imatrix, LoraError, LoraOptions, MergeType, OwnedArray, OwnedValue,
    SplitBy, merge_lora, no_progress, quants,
};

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
            let options =
                LoraOptions::default().with_out_type(MergeType::F32).with_threads(NonZeroUsize::new(2));
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
    drop(out);
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
    assert!(matches!(bench.merge(&[("none", 1.0)], &LoraOptions::default()), Err(LoraError::Read { .. })));
    assert!(
        text(&[("base.gguf", 1.0)], LoraOptions::default()).contains("key `general.type` must be `adapter`")
    );
}
