//! Writing quantized models: bytes, parts, refusals, cancelling.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
mod ggml;
#[path = "quantize/models.rs"]
mod models;
#[path = "ggml/quantizer.rs"]
mod oracle;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tabagent_gguf::{
    FileType, GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, OwnedValue, QuantizeError,
    QuantizeOptions, Quantized, Reason, SplitBy, Target, TensorRule, check_model, no_progress, plan,
    quantize_file, quants,
};

use models::{some_importances, use_importances};
use oracle::{Oracle, in_child, library_folder};

const CHILD: &str = "TABAGENT_TEST_QUANTIZED";

fn model(name: &str) -> GgufWriter {
    models::models().into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn options(kind: FileType) -> QuantizeOptions {
    QuantizeOptions::new(Target::FileType(kind))
}

/// A folder with a model `in.gguf`.
fn folder(writer: &GgufWriter) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    writer.write_to(&folder.path().join("in.gguf")).unwrap();
    folder
}

fn quantize(folder: &Path, options: &QuantizeOptions) -> Result<Quantized, QuantizeError> {
    quantize_file(&folder.join("in.gguf"), &folder.join("out.gguf"), options, &no_progress)
}

#[track_caller]
fn refusal(folder: &Path, options: &QuantizeOptions) -> String {
    let text = quantize(folder, options).unwrap_err().to_string();
    assert!(!folder.join("out.gguf").exists());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing is left behind");
    text
}

/// Whole files to be compared: a name, the model and the options.
fn whole_files() -> Vec<(String, &'static str, QuantizeOptions)> {
    let mut files = Vec::new();
    for (model, kinds) in [
        ("llama-33-gqa2", FileType::ALL),
        ("llama-rows-576", &[FileType::Q4_K_M, FileType::Q6_K, FileType::IQ4_XS][..]),
        ("llama-rows-40", &[FileType::Q4_K_M, FileType::F16]),
        ("llama-moe-8", &[FileType::Q4_K_M, FileType::MXFP4_MOE]),
        ("llama-names", &[FileType::Q5_1]),
        ("falcon-32", &[FileType::Q3_K_L]),
    ] {
        for &kind in kinds {
            let mut options = options(kind).with_threads(NonZeroUsize::new(2));
            // All tensors have importances only in the first layer: what needs them is given another type.
            options.rules = vec![TensorRule::new(r"^blk\.([1-9]|..)", GgmlType::Q4_0).unwrap()];
            let needs_importances = options.rules.is_empty() || plan_needs(model, &options);
            if needs_importances {
                use_importances(&mut options);
            } else {
                options.rules.clear();
            }
            files.push((format!("{model}-{kind}"), model, options));
        }
    }
    for kind in [FileType::Q4_0, FileType::Q4_K_M, FileType::IQ3_S] {
        let mut with_imatrix = options(kind);
        use_importances(&mut with_imatrix);
        files.push((format!("imatrix-{kind}"), "llama-33-gqa2", with_imatrix));
    }
    let mut other = options(FileType::Q4_K_S);
    other.pruned_layers = vec![2, 3];
    other.overrides = vec![
        ("general.name".to_owned(), "a name".into()),
        ("llama.rope.freq_base".to_owned(), OwnedValue::F64(5e5)),
        ("general.file_type".to_owned(), OwnedValue::I64(-7)),
        ("some.flag".to_owned(), OwnedValue::Bool(true)),
    ];
    files.push(("pruned".to_owned(), "llama-33-gqa2", other));
    files.push(("copy".to_owned(), "llama-names", QuantizeOptions::new(Target::Copy)));
    files
}

fn plan_needs(name: &str, options: &QuantizeOptions) -> bool {
    let file = GgufFile::from_bytes(model(name).to_bytes().unwrap()).unwrap();
    let mut plain = options.clone();
    plain.rules.clear();
    plan(&GgufModel::from_parts(vec![file]).unwrap(), &plain).unwrap().check(&plain).is_err()
}

/// Writes what llama.cpp's quantizer makes of each, in a child process.
#[test]
fn child_writes_whole_files() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let oracle = Oracle::open(&library_folder().unwrap());
    for (name, model, options) in whole_files() {
        let (source, out) = (folder.join(format!("{model}.in")), folder.join(format!("{name}.theirs")));
        let log = oracle.quantize(&source, &out, &options, false);
        assert!(!log.ends_with("failed\n"), "{name}: {}", &log[log.len().saturating_sub(500)..]);
    }
    let mut parts = options(FileType::Q8_0);
    parts.keeps_split = true;
    let log = oracle.quantize(&folder.join("m-00001-of-00003.gguf"), &folder.join("theirs"), &parts, false);
    assert!(!log.ends_with("failed\n"), "{log}");
    parts.keeps_split = false;
    let log =
        oracle.quantize(&folder.join("m-00001-of-00003.gguf"), &folder.join("merged.theirs"), &parts, false);
    assert!(!log.ends_with("failed\n"), "{log}");
}

#[test]
fn files_are_those_of_llama_cpp_byte_for_byte() {
    if library_folder().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, writer) in models::models() {
        writer.write_to(&at(&format!("{name}.in"))).unwrap();
    }
    model("llama-33-gqa2").write_parts(&at("m"), SplitBy::Tensors(120), false, &no_progress).unwrap();
    in_child("child_writes_whole_files", CHILD, folder.path());
    let read = |name: &str| std::fs::read(at(name)).unwrap();
    for (name, model, options) in whole_files() {
        let out = at(&format!("{name}.ours"));
        quantize_file(&at(&format!("{model}.in")), &out, &options, &no_progress)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(read(&format!("{name}.ours")) == read(&format!("{name}.theirs")), "{name}");
    }
    let mut parts = options(FileType::Q8_0);
    quantize_file(&at("m-00002-of-00003.gguf"), &at("merged.ours"), &parts, &no_progress).unwrap();
    assert!(read("merged.ours") == read("merged.theirs"));
    parts.keeps_split = true;
    let done = quantize_file(&at("m-00001-of-00003.gguf"), &at("ours.gguf"), &parts, &no_progress).unwrap();
    assert_eq!(done.paths.len(), 3);
    for number in 1..=3 {
        let part = format!("-{number:05}-of-00003.gguf");
        assert!(read(&format!("ours{part}")) == read(&format!("theirs{part}")), "{number}");
    }
}

#[test]
fn tensors_are_what_the_plan_says_and_llama_cpp_could_load_them() {
    let folder = folder(&model("llama-tied"));
    let done = quantize(folder.path(), &options(FileType::Q4_K_M)).unwrap();
    let file = GgufFile::open(&folder.path().join("out.gguf")).unwrap();
    check_model(&file).unwrap();
    let source = GgufFile::open(&folder.path().join("in.gguf")).unwrap();
    assert_eq!(file.tensors().len(), source.tensors().len());
    for (tensor, planned) in file.tensors().iter().zip(&done.plan.tensors) {
        assert_eq!((&tensor.name, tensor.ggml_type), (&planned.name, planned.to));
        let before = source.tensor(&tensor.name).unwrap();
        let mut values = vec![0.0; tensor.shape.n_elements() as usize];
        quants::dequantize(before.ggml_type, source.tensor_data(before), &mut values).unwrap();
        let mut expected = vec![0; tensor.n_bytes as usize];
        let row = tensor.shape.row_len() as usize;
        quants::quantize(tensor.ggml_type, &values, row, None, &mut expected).unwrap();
        assert_eq!(file.tensor_data(tensor), expected, "{}", tensor.name);
    }
    let number = |key: &str| file.metadata().get(key).and_then(|value| value.as_u64());
    assert_eq!((number("general.file_type"), number("general.quantization_version")), (Some(15), Some(2)));
    assert_eq!(done.plan.bytes_after(), file.tensors().iter().map(|tensor| tensor.n_bytes).sum::<u64>());
    let embedding = done.plan.tensors.iter().find(|tensor| tensor.name == "token_embd.weight").unwrap();
    assert_eq!(embedding.reason.to_string(), "mixture: token_embd");
}

#[test]
fn one_thread_and_small_buffers_make_the_same_bytes() {
    let folder = folder(&model("llama-moe-4"));
    let mut options = options(FileType::Q5_K_M);
    quantize(folder.path(), &options).unwrap();
    let bytes = std::fs::read(folder.path().join("out.gguf")).unwrap();
    options.threads = NonZeroUsize::new(1);
    options.buffer_bytes = 1;
    quantize(folder.path(), &options).unwrap();
    assert!(bytes == std::fs::read(folder.path().join("out.gguf")).unwrap());
}

#[test]
fn refusals_say_what_to_do() {
    let whole = folder(&model("llama-tied"));
    let text = refusal(whole.path(), &options(FileType::IQ2_XXS));
    assert!(text.contains("would be `IQ2_XXS`, which needs an importance matrix"), "{text}");
    quantize(whole.path(), &options(FileType::Q8_0)).unwrap();
    std::fs::rename(whole.path().join("out.gguf"), whole.path().join("in.gguf")).unwrap();
    let text = refusal(whole.path(), &options(FileType::Q4_0));
    assert!(text.contains("already quantized (tensor `token_embd.weight` is `Q8_0`)"), "{text}");
    assert!(text.contains("--allow-requantize"), "{text}");
    for (change, part) in [
        ((|options| options.output_type = Some(GgmlType::Q4_K)) as fn(&mut QuantizeOptions), "rows of `40`"),
        (|options| options.rules = vec!["attn=q8_k".parse().unwrap()], "`Q8_K` is no type"),
        (|options| options.rules = vec!["attn=i32".parse().unwrap()], "`I32` is no type"),
        (|options| options.pruned_layers = vec![99], "layer `99` cannot be left out"),
        (|options| options.pruned_layers = (0..12).collect(), "no layer would stay"),
        (|options| options.target = Target::Chosen(vec![GgmlType::F16]), "`1` types were chosen"),
        (
            |options| options.overrides = vec![("x".to_owned(), OwnedValue::I64(1 << 40))],
            "key `x` cannot be replaced",
        ),
        (
            |options| options.overrides = vec![("llama.block_count".to_owned(), OwnedValue::I64(0))],
            "llama.block_count",
        ),
    ] {
        let mut options = options(FileType::Q4_K_M);
        change(&mut options);
        let name = if part.contains("40") { "llama-rows-40" } else { "llama-tied" };
        let text = refusal(folder(&model(name)).path(), &options);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_importance_matrix_of_another_model_is_refused() {
    let folder = folder(&model("llama-rows-576"));
    let options = options(FileType::Q4_0).with_imatrix(some_importances(), "i.gguf");
    let text = refusal(folder.path(), &options);
    assert!(text.contains("use one of the same model"), "{text}");
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for (value, kind) in [(f32::NAN, FileType::Q4_K_M), (f32::INFINITY, FileType::Q8_0), (1e6, FileType::F16)]
    {
        let bytes: Vec<u8> =
            (0..512).flat_map(|index| if index == 300 { value } else { 0.5 }.to_le_bytes()).collect();
        let writer = model("llama-tied").add_tensor("blk.0.extra.weight", GgmlType::F32, &[256, 2], bytes);
        let folder = folder(&writer);
        let text = refusal(folder.path(), &options(kind));
        assert!(text.contains("tensor `blk.0.extra.weight` cannot become"), "{text}");
    }
    let bytes: Vec<u8> = [1.0, f32::NAN].into_iter().cycle().take(256).flat_map(f32::to_le_bytes).collect();
    let folder =
        folder(&model("llama-tied").add_tensor("blk.0.extra_norm.weight", GgmlType::F32, &[256], bytes));
    assert!(refusal(folder.path(), &options(FileType::Q8_0)).contains("blk.0.extra_norm.weight"));
}

#[test]
fn the_source_is_never_the_result() {
    let folder = folder(&model("llama-tied"));
    let source = folder.path().join("in.gguf");
    let before = std::fs::read(&source).unwrap();
    let link = folder.path().join("link.gguf");
    std::fs::hard_link(&source, &link).unwrap();
    for out in [&source, &link, &folder.path().join(".").join("in.gguf")] {
        let error = quantize_file(&source, out, &options(FileType::Q8_0), &no_progress).unwrap_err();
        assert!(matches!(error, QuantizeError::SameFile { .. }), "{error}");
    }
    assert!(before == std::fs::read(&source).unwrap());
}

#[test]
fn cancelling_leaves_nothing() {
    let folder = folder(&model("llama-tied"));
    let source = folder.path().join("in.gguf");
    let stop = |done: u64, total: u64| done < total / 2;
    for keeps_split in [false, true] {
        let mut options = options(FileType::Q8_0);
        options.keeps_split = keeps_split;
        let error = quantize_file(&source, &folder.path().join("out.gguf"), &options, &stop).unwrap_err();
        assert!(matches!(error, QuantizeError::Gguf(GgufError::Cancelled)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn types_can_be_chosen_tensor_by_tensor() {
    let folder = folder(&model("llama-tied"));
    let model = GgufModel::open(&folder.path().join("in.gguf")).unwrap();
    let n = plan(&model, &options(FileType::Q8_0)).unwrap().tensors.len();
    let kinds: Vec<GgmlType> =
        (0..n).map(|index| if index % 2 == 0 { GgmlType::Q6_K } else { GgmlType::Q5_0 }).collect();
    let done = quantize(folder.path(), &QuantizeOptions::new(Target::Chosen(kinds.clone()))).unwrap();
    for (tensor, kind) in done.plan.tensors.iter().zip(kinds) {
        let expected = if matches!(tensor.reason, Reason::Exempt(_)) { tensor.from } else { kind };
        assert_eq!(tensor.to, expected, "{}", tensor.name);
    }
}
