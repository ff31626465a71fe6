//! The type that every tensor gets, compared with what the pinned llama.cpp's quantizer chooses.
//!
//! `quantize/choices.txt` holds its answers, so that no engine is needed; where there is one, the answers are checked, too. With
//! `TABAGENT_UPDATE_SNAPSHOTS=1` they are written anew.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod ggml;
#[path = "quantize/models.rs"]
mod models;
#[path = "ggml/quantizer.rs"]
mod oracle;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tabagent_gguf::{FileType, GgmlType, GgufFile, GgufModel, Plan, QuantizeOptions, Target, plan};

use models::{Case, cases, models};
use oracle::{Oracle, chosen, in_child, library_folder};

const SNAPSHOT: &str = include_str!("quantize/choices.txt");
const CHILD: &str = "TABAGENT_TEST_CHOICES";

/// A line of the snapshot: the tensors of a layer that fare alike, and their types from layer to layer with how many there are of each in
/// a row.
fn line(case: &Case, kind: FileType, types: Option<&[(String, GgmlType)]>) -> String {
    let mut text = format!("{} {} {kind}:", case.model, if case.label.is_empty() { "-" } else { case.label });
    let Some(types) = types else { return text + " failed" };
    let mut by_stem: BTreeMap<&str, Vec<GgmlType>> = BTreeMap::new();
    for (name, kind) in types {
        let stem =
            name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(&**name, |(_, stem)| stem);
        by_stem.entry(stem).or_default().push(*kind);
    }
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (stem, kinds) in by_stem {
        let run = |run: &[GgmlType]| match run.len() {
            1 => run[0].to_string(),
            n => format!("{}*{n}", run[0]),
        };
        let runs: Vec<String> = kinds.chunk_by(|a, b| a == b).map(run).collect();
        alike.entry(runs.join("+")).or_default().push(stem.trim_end_matches(".weight"));
    }
    for (runs, stems) in alike {
        let _ = write!(text, " {}={runs}", stems.join(","));
    }
    text
}

fn named(plan: Plan) -> Vec<(String, GgmlType)> {
    plan.tensors.into_iter().map(|tensor| (tensor.name, tensor.to)).collect()
}

fn opened() -> HashMap<&'static str, GgufModel> {
    let open = |bytes| GgufModel::from_parts(vec![GgufFile::from_bytes(bytes).unwrap()]).unwrap();
    models().into_iter().map(|(name, writer)| (name, open(writer.to_bytes().unwrap()))).collect()
}

#[test]
fn tensors_get_the_types_that_llama_cpp_chose() {
    let models = opened();
    let mut lines = String::new();
    for case in cases() {
        for &kind in &case.file_types {
            let planned = plan(&models[case.model], &case.options(kind)).ok();
            let types = planned.map(named);
            lines.push_str(&line(&case, kind, types.as_deref()));
            lines.push('\n');
        }
    }
    for (ours, theirs) in lines.lines().zip(SNAPSHOT.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(lines.lines().count(), SNAPSHOT.lines().count());
}

/// Asks the quantizer about every case, in a child process: one file of answers for each.
#[test]
fn child_asks_for_choices() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let oracle = Oracle::open(&library_folder().unwrap());
    for (number, case) in cases().iter().enumerate() {
        for &kind in &case.file_types {
            let out = folder.join(format!("{number}-{kind}.txt"));
            let source = folder.join(format!("{}.gguf", case.model));
            let log = oracle.quantize(&source, Path::new("/nowhere"), &case.options(kind), true);
            std::fs::write(out, log).unwrap();
        }
    }
}

#[test]
fn tensors_get_the_types_that_llama_cpp_chooses() {
    if library_folder().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let models = opened();
    for (name, writer) in crate::models::models() {
        writer.write_to(&folder.path().join(format!("{name}.gguf"))).unwrap();
    }
    in_child("child_asks_for_choices", CHILD, folder.path());
    let (mut lines, mut differences) = (String::new(), String::new());
    for (number, case) in cases().iter().enumerate() {
        for &kind in &case.file_types {
            let log = std::fs::read_to_string(folder.path().join(format!("{number}-{kind}.txt"))).unwrap();
            let theirs = chosen(&log);
            let planned = plan(&models[case.model], &case.options(kind));
            let problem = planned.as_ref().err().map(ToString::to_string);
            let ours = planned.ok().map(named);
            if ours != theirs {
                let first = ours.iter().flatten().zip(theirs.iter().flatten()).find(|(a, b)| a != b);
                let tail = log.get(log.len().saturating_sub(300)..).unwrap_or_default();
                let _ = writeln!(
                    differences,
                    "{} {} {kind}: {first:?} {problem:?} {} {}",
                    case.model,
                    case.label,
                    ours.as_ref().map_or(0, Vec::len),
                    theirs.as_ref().map_or_else(|| tail.to_owned(), |list| list.len().to_string()),
                );
            }
            lines.push_str(&line(case, kind, theirs.as_deref()));
            lines.push('\n');
        }
    }
    if std::env::var_os("TABAGENT_UPDATE_SNAPSHOTS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quantize/choices.txt");
        std::fs::write(path, &lines).unwrap();
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Real models, which are only here where tests with models run.
#[test]
fn real_models_get_the_types_that_llama_cpp_chooses() {
    let (Some(_), Some(_)) = (tabagent_material::models(), library_folder()) else { return };
    let folder = tempfile::tempdir().unwrap();
    in_child("child_asks_for_real_choices", REAL_CHILD, folder.path());
    for (number, path) in real_models().iter().enumerate() {
        let model = GgufModel::open(path).unwrap();
        for kind in real_file_types(number) {
            let log = std::fs::read_to_string(folder.path().join(format!("{number}-{kind}.txt"))).unwrap();
            let options = QuantizeOptions::new(Target::FileType(kind)).with_requantizing(true);
            let ours = plan(&model, &options).ok().map(named);
            assert_eq!(ours, chosen(&log), "{} {kind}", path.display());
        }
    }
}

const REAL_CHILD: &str = "TABAGENT_TEST_REAL_CHOICES";

/// All for the first; some for the second, whose vocabulary takes the quantizer a second each time.
fn real_file_types(number: usize) -> Vec<FileType> {
    FileType::ALL.iter().copied().step_by(if number == 0 { 1 } else { 4 }).collect()
}

fn real_models() -> Vec<PathBuf> {
    let folder = tabagent_material::models().unwrap();
    ["smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"].map(|name| folder.join(name)).to_vec()
}

#[test]
fn child_asks_for_real_choices() {
    let Some(folder) = std::env::var_os(REAL_CHILD).map(PathBuf::from) else { return };
    let oracle = Oracle::open(&library_folder().unwrap());
    for (number, path) in real_models().iter().enumerate() {
        for kind in real_file_types(number) {
            let options = QuantizeOptions::new(Target::FileType(kind)).with_requantizing(true);
            let log = oracle.quantize(path, Path::new("/nowhere"), &options, true);
            std::fs::write(folder.join(format!("{number}-{kind}.txt")), log).unwrap();
        }
    }
}
