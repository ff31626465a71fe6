//! Library directories found in fixture trees, and the choice among them.

#![allow(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{bundled, directory, machine};
use tabagent_variants::{
    Architecture, CatalogueError, CpuModule, LibraryDir, LibrarySource, SelectError, System, VariantRequest,
    Verdict, discover, rank, select,
};
use tempfile::TempDir;

fn library(root: &Path, at: &str, files: &[&str]) -> PathBuf {
    let path = root.join(at);
    fs::create_dir_all(&path).unwrap();
    for file in files {
        fs::write(path.join(file), "").unwrap();
    }
    dunce::canonicalize(path).unwrap()
}

fn root() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn explicit(path: &Path) -> Vec<Result<LibraryDir, CatalogueError>> {
    discover(Some(path), None, &[], None)
}

fn haswell() -> tabagent_variants::Hardware {
    machine(Architecture::X86_64, CpuModule::named("haswell").unwrap().needs.iter().copied())
}

const HOST: &str = if cfg!(windows) {
    "llama.dll"
} else if cfg!(target_vendor = "apple") {
    "libllama.dylib"
} else {
    "libllama.so"
};

#[test]
fn sources_come_in_order_and_a_directory_once() {
    let root = root();
    let paths = ["a", "b", "c", "d"].map(|name| library(root.path(), name, &[HOST]));
    let env = std::env::join_paths([&paths[1], &paths[0]]).unwrap();
    let companions = [("cuda".to_owned(), paths[2].clone())];
    let found = discover(Some(&paths[0]), Some(&env), &companions, Some(&paths[3]));
    let found: Vec<_> = found.into_iter().map(|dir| dir.map(|d| (d.path, d.source)).unwrap()).collect();
    assert_eq!(
        found,
        [
            (paths[0].clone(), LibrarySource::ExplicitPath),
            (paths[1].clone(), LibrarySource::Environment),
            (paths[2].clone(), LibrarySource::Companion { name: "cuda".to_owned() }),
            (paths[3].clone(), LibrarySource::Bundled),
        ]
    );
}

#[test]
fn directory_lists_its_modules_and_backends() {
    let root = root();
    let files = [
        HOST,
        "libggml-cpu-haswell.so",
        "libggml-cpu-zen4.so",
        "libggml-base.so",
        "libggml-cuda.so",
        "readme",
    ];
    let path = library(root.path(), "lib", &files);
    fs::create_dir(path.join("libggml-cpu-x64.so")).unwrap();
    let dir = explicit(&path).remove(0).unwrap();
    assert_eq!(dir.modules.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["haswell", "zen4"]);
    assert_eq!(dir.backends.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["cuda"]);
    assert_eq!(dir.library, path.join(HOST));
}

#[test]
fn library_file_stands_for_its_directory() {
    let root = root();
    let path = library(root.path(), "lib", &[HOST, "libggml-cpu-haswell.so", "other.txt"]);
    let dir = explicit(&path.join(HOST)).remove(0).unwrap();
    assert_eq!((dir.path.clone(), dir.library), (path.clone(), path.join(HOST)));
    assert!(matches!(explicit(&path.join("other.txt"))[0], Err(CatalogueError::NotALibrary { .. })));
}

#[test]
fn places_without_library_say_why() {
    let root = root();
    let empty = library(root.path(), "empty", &["libggml-cpu-haswell.so"]);
    assert!(matches!(explicit(&empty)[0], Err(CatalogueError::NoLibrary { .. })));
    assert!(matches!(explicit(Path::new(""))[0], Err(CatalogueError::EmptyPath { .. })));
    let missing = explicit(&empty.join("no"))[0].clone().unwrap_err();
    assert!(missing.to_string().contains("(explicit path): no such file or directory; give a directory"));
    assert!(discover(None, Some("".as_ref()), &[], None).is_empty());
}

#[test]
fn bitnet_tree_is_listed_by_variant() {
    let root = root();
    let host = System::host().directory();
    let other = if host == "windows" { ("linux", "libllama.so") } else { ("windows", "llama.dll") };
    for name in ["standard", "bitnet-amd-zen2", "bitnet-amd-zen4", "not-a-variant"] {
        library(root.path(), &format!("cpu/{host}/{name}"), &[HOST]);
    }
    library(root.path(), &format!("gpu/{host}/standard-opencl"), &[HOST]);
    library(root.path(), &format!("gpu/{host}/bitnet-python-cuda"), &["generate.py"]);
    library(root.path(), &format!("cpu/{}/standard", other.0), &[other.1]);
    let found = explicit(root.path());
    let dirs: Vec<LibraryDir> = found.iter().flatten().cloned().collect();
    let names: Vec<&str> = dirs.iter().filter_map(|dir| dir.variant.as_deref()).collect();
    assert_eq!(names, ["standard", "bitnet-amd-zen2", "bitnet-amd-zen4", "standard-opencl", "standard"]);
    assert!(found.iter().any(|dir| matches!(dir, Err(CatalogueError::NoLibrary { .. }))));
    assert!(dirs.iter().all(|dir| dir.source == LibrarySource::BitnetRelease));

    let mut hardware = haswell();
    hardware.system = System::host();
    let verdicts = rank(&hardware, &dirs);
    let judged: Vec<(&str, bool)> = verdicts.iter().map(|v| (v.name.as_str(), v.usable)).collect();
    assert_eq!(
        judged[..3],
        [("standard", true), ("standard-opencl", true), ("bitnet-amd-zen2", true)],
        "llama.cpp builds come before those for BitNet files"
    );
    let foreign = verdicts.iter().find(|v| v.name == "standard" && !v.usable).unwrap();
    assert!(foreign.reason.starts_with("built for "), "{}", foreign.reason);
    let zen4 = verdicts.iter().find(|v| v.name == "bitnet-amd-zen4").unwrap();
    assert!(zen4.reason.contains("AVX512_BF16") && !zen4.usable, "{}", zen4.reason);

    let choice = select(&VariantRequest::Path(root.path().to_owned()), &verdicts).unwrap();
    assert_eq!(choice.verdict.name, "standard");
    let inner = root.path().join("cpu").join(host).join("bitnet-amd-zen2");
    assert_eq!(
        select(&VariantRequest::Path(inner.clone()), &verdicts).unwrap().verdict.name,
        "bitnet-amd-zen2"
    );
    let alone = explicit(&inner).remove(0).unwrap();
    assert_eq!(
        (alone.variant.as_deref(), alone.source),
        (Some("bitnet-amd-zen2"), LibrarySource::ExplicitPath)
    );
}

#[test]
fn preferred_source_wins_over_better_module() {
    let dirs =
        [bundled(Architecture::X86_64), directory("/mine", LibrarySource::ExplicitPath, &["sse42", "x64"])];
    let verdicts = rank(&haswell(), &dirs);
    let choice = select(&VariantRequest::Auto, &verdicts).unwrap();
    assert_eq!((choice.verdict.name.as_str(), choice.verdict.path.as_path()), ("sse42", Path::new("/mine")));
    assert_eq!(choice.warning, None);
}

#[test]
fn unusable_explicit_path_is_passed_over_with_a_warning() {
    let dirs = [directory("/mine", LibrarySource::ExplicitPath, &["zen4"]), bundled(Architecture::X86_64)];
    let verdicts = rank(&haswell(), &dirs);
    let choice = select(&VariantRequest::Auto, &verdicts).unwrap();
    assert_eq!(choice.verdict.name, "haswell");
    let warning = choice.warning.unwrap();
    assert!(warning.starts_with("nothing in `/mine` (explicit path) runs on this machine"), "{warning}");
}

#[test]
fn forced_unusable_module_is_an_error_with_what_is_missing() {
    let verdicts = rank(&haswell(), &[bundled(Architecture::X86_64)]);
    let error = select(&"skylakex".parse().unwrap(), &verdicts).unwrap_err();
    assert_eq!(
        error.to_string(),
        "variant `skylakex` cannot run on this machine: needs AVX512; this CPU lacks it; ask for `auto` or another variant"
    );
    assert_eq!(select(&"SSE42".parse().unwrap(), &verdicts).unwrap().verdict.name, "sse42");
}

#[test]
fn unknown_variant_lists_the_closest_names_first() {
    let verdicts = rank(&haswell(), &[bundled(Architecture::X86_64)]);
    let Err(SelectError::UnknownVariant { known, .. }) = select(&"hasswel".parse().unwrap(), &verdicts)
    else {
        panic!("the name is unknown");
    };
    assert_eq!((known[0].as_str(), known.len()), ("haswell", 14));
}

#[test]
fn path_may_be_directory_library_or_module() {
    let root = root();
    let path =
        library(root.path(), "lib", &["libllama.so", "libggml-cpu-haswell.so", "libggml-cpu-sse42.so"]);
    let verdicts = rank(&haswell(), &explicit(&path).into_iter().flatten().collect::<Vec<_>>());
    let name =
        |path: PathBuf| select(&VariantRequest::Path(path), &verdicts).map(|choice| choice.verdict.name);
    assert_eq!(name(path.clone()).as_deref(), Ok("haswell"));
    assert_eq!(name(path.join("libllama.so")).as_deref(), Ok("haswell"));
    assert_eq!(name(path.join("libggml-cpu-sse42.so")).as_deref(), Ok("sse42"));
    assert!(matches!(name(root.path().to_owned()), Err(SelectError::UnknownPath { .. })));
}

#[test]
fn nothing_usable_names_the_closest_variant() {
    let dirs = [directory("/lib", LibrarySource::Bundled, &["zen4", "skylakex"])];
    let error = select(&VariantRequest::Auto, &rank(&haswell(), &dirs)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the 2 variants found runs on this machine; the closest one, `skylakex`, needs AVX512; this CPU lacks it"
    );
    assert_eq!(select(&VariantRequest::Auto, &[]), Err(SelectError::NoLibrary));
}

#[test]
fn builds_of_unknown_needs_come_last_and_unknown_modules_never() {
    let dirs = [directory("/lib", LibrarySource::Bundled, &["base", "graniterapids", "sse42"])];
    let verdicts = rank(&haswell(), &dirs);
    let names: Vec<(&str, bool)> = verdicts.iter().map(|v| (v.name.as_str(), v.usable)).collect();
    assert_eq!(names, [("sse42", true), ("base", true), ("graniterapids", false)]);
    let whole: Vec<Verdict> = rank(&haswell(), &[directory("/lib", LibrarySource::Bundled, &[])]);
    assert_eq!((whole[0].name.as_str(), whole[0].usable), ("built-in", true));
}

#[test]
fn verdicts_serialize() {
    let verdicts = rank(&haswell(), &[directory("/lib", LibrarySource::Bundled, &["haswell"])]);
    let json = serde_json::to_value(&verdicts[0]).unwrap();
    assert_eq!(json["source"], "bundled");
    let module = Path::new("/lib").join("libggml-cpu-haswell.so");
    assert_eq!(json["module"], module.to_str().unwrap());
    assert_eq!(json["score"], 64);
}
