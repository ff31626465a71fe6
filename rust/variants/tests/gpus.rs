//! Companion packages that add backend modules to the bundled library.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use tabagent_variants::{
    AddedModules, Architecture, CatalogueError, CpuModule, GpuFacts, GpuKind, GpuReport, LibraryDir,
    LibrarySource, ModuleFile, System, VariantRequest, Verdict, discover, rank, select,
};

use common::{bundled, machine};

fn gpu(name: &str, kind: GpuKind) -> GpuFacts {
    GpuFacts {
        name: name.to_owned(),
        description: format!("{name} of a test"),
        kind,
        vendor: None,
        memory_total: 8 << 30,
        driver: None,
        compute_capability: None,
        fault: None,
    }
}

fn companion(backend: &str, report: Option<GpuReport>) -> LibraryDir {
    let module =
        ModuleFile { name: backend.to_owned(), path: format!("/{backend}/libggml-{backend}.so").into() };
    let added = AddedModules {
        directory: format!("/{backend}").into(),
        modules: vec![module],
        needed: vec!["/nvidia/libcublas.so.13".into()],
        mismatch: None,
        report,
    };
    let source = LibrarySource::Companion { name: backend.to_owned() };
    LibraryDir { source, added: Some(added), ..bundled(Architecture::X86_64) }
}

fn found(backend: &str, gpus: Vec<GpuFacts>) -> LibraryDir {
    companion(backend, Some(GpuReport::Found(gpus)))
}

fn ranked(dirs: Vec<LibraryDir>) -> Vec<Verdict> {
    let mut all = vec![bundled(Architecture::X86_64)];
    all.extend(dirs);
    let needs = CpuModule::named("haswell").unwrap().needs;
    rank(&machine(Architecture::X86_64, needs.iter().copied()), &all)
}

fn auto(dirs: Vec<LibraryDir>) -> (String, Option<String>) {
    let choice = select(&VariantRequest::Auto, &ranked(dirs)).unwrap();
    (choice.verdict.name, choice.warning)
}

#[test]
fn a_gpu_comes_before_the_cpu_and_brings_its_modules() {
    let verdicts = ranked(vec![found("cuda", vec![gpu("cuda:0", GpuKind::Discrete)])]);
    let first = &verdicts[0];
    assert_eq!(first.name, "cuda");
    assert_eq!(first.backends, [Path::new("/cuda/libggml-cuda.so")]);
    assert_eq!(first.needed, [Path::new("/nvidia/libcublas.so.13")]);
    // The CPU module is that which would be taken without a GPU.
    assert_eq!(first.module, verdicts[1].module);
    assert!(
        first.reason.starts_with("best match for this machine; finds cuda:0 of a test (discrete, 8 GiB)"),
        "{}",
        first.reason
    );
}

#[test]
fn discrete_gpus_come_before_integrated_ones_and_cuda_before_vulkan() {
    let integrated = || found("vulkan", vec![gpu("vulkan:0", GpuKind::Integrated)]);
    let discrete = |backend: &str| found(backend, vec![gpu(&format!("{backend}:0"), GpuKind::Discrete)]);
    assert_eq!(auto(vec![integrated()]), ("vulkan".to_owned(), None));
    assert_eq!(auto(vec![integrated(), discrete("sycl")]).0, "sycl");
    assert_eq!(auto(vec![discrete("vulkan"), discrete("cuda")]).0, "cuda");
    let both =
        found("vulkan", vec![gpu("vulkan:0", GpuKind::Integrated), gpu("vulkan:1", GpuKind::Discrete)]);
    assert_eq!(auto(vec![both, found("cuda", vec![])]).0, "vulkan");
}

#[test]
fn a_program_that_pretends_to_be_a_gpu_is_for_those_who_name_it() {
    let software = || found("vulkan", vec![gpu("vulkan:0", GpuKind::Software)]);
    let (name, warning) = auto(vec![software()]);
    assert_ne!(name, "vulkan");
    assert_eq!(warning, None);
    let verdicts = ranked(vec![software()]);
    let named = select(&VariantRequest::Module("vulkan".to_owned()), &verdicts).unwrap();
    assert!(
        named.verdict.only_named && named.verdict.reason.contains("no GPU but a program"),
        "{}",
        named.verdict.reason
    );
}

#[test]
fn what_a_companion_cannot_do_is_said_aloud() {
    let fault = |words: &str| GpuFacts { fault: Some(words.to_owned()), ..gpu("cuda:0", GpuKind::Discrete) };
    let mut other = found("cuda", vec![gpu("cuda:0", GpuKind::Discrete)]);
    other.added.as_mut().unwrap().mismatch = Some("was built for another llama.cpp".to_owned());
    for (dir, reason) in [
        (companion("cuda", None), "its GPUs were not asked for"),
        (companion("cuda", Some(GpuReport::Failed("has no driver".to_owned()))), "has no driver"),
        (found("cuda", vec![]), "finds no GPU"),
        (found("cuda", vec![fault("computes wrong logits")]), "`cuda:0` computes wrong logits"),
        (other, "was built for another llama.cpp"),
        (
            LibraryDir { system: System::Windows, ..found("cuda", vec![]) },
            "built for Windows; this system is Linux",
        ),
    ] {
        let (name, warning) = auto(vec![dir.clone()]);
        assert_eq!(
            warning.unwrap(),
            format!("companion package `cuda` is not used: `cuda` {reason}; took `{name}` instead")
        );
        let text =
            select(&VariantRequest::Module("cuda".to_owned()), &ranked(vec![dir])).unwrap_err().to_string();
        assert!(text.contains(reason), "{text}");
    }
    let one_works = found("cuda", vec![fault("computes wrong logits"), gpu("cuda:1", GpuKind::Discrete)]);
    assert!(ranked(vec![one_works])[0].reason.contains("and 1 more; `cuda:0` computes wrong logits"));
}

#[test]
fn a_directory_of_modules_alone_is_the_bundled_library_with_more() {
    let root = tempfile::tempdir().unwrap();
    let (lib, cuda, empty) = (root.path().join("lib"), root.path().join("cuda"), root.path().join("empty"));
    for directory in [&lib, &cuda, &empty] {
        fs::create_dir(directory).unwrap();
    }
    let info = r#"{"source": {"identity": "x"}, "llama_cpp": {"version": "1", "commit": "c"}}"#;
    for file in [
        lib.join(System::host().library_file()),
        lib.join("libggml-cpu-x64.so"),
        cuda.join("libggml-cuda.so"),
    ] {
        fs::write(file, "").unwrap();
    }
    fs::write(lib.join("build-info.json"), info).unwrap();
    fs::write(cuda.join("build-info.json"), info).unwrap();
    let companions = [("cuda".to_owned(), cuda.clone()), ("none".to_owned(), empty)];
    let found = discover(None, None, &companions, Some(&lib));
    let [Ok(with), Err(CatalogueError::NoLibrary { .. }), Ok(without)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((&with.path, &with.library), (&without.path, &without.library));
    assert_eq!(without.added, None);
    let added = with.added.as_ref().unwrap();
    assert_eq!((added.modules[0].name.as_str(), added.mismatch.as_ref()), ("cuda", None));
    // A path that a user gives is a whole library or nothing.
    assert!(matches!(discover(Some(&cuda), None, &[], Some(&lib))[0], Err(CatalogueError::NoLibrary { .. })));
    let alone = discover(None, None, &companions[..1], None);
    let [Err(error)] = alone.as_slice() else { panic!("{alone:?}") };
    assert!(error.to_string().ends_with("install a wheel of tabagent with libraries"), "{error}");
}
