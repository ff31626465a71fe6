//! The pinned library is recognised by evidence; doctored ones are refused.
//!
//! Needs `TABAGENT_LIBRARY_PATH`, the directory of the built library. `make test` provides it.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use tabagent_material::library;
use tabagent_sys::*;

#[test]
fn the_pinned_library_is_identified_by_version_symbols_and_default_bytes() {
    let Some(path) = library() else { return };
    let opened = locate(&path).unwrap().load().unwrap();
    // SAFETY: the test set-up built this library from the pinned tree.
    let api = unsafe { opened.api() }.unwrap();
    // SAFETY: as above.
    let (model, context) = unsafe { probe(&api) };
    // On AArch64 the two bytes of padding after the last field are copied, too.
    let model_extent = if cfg!(target_arch = "aarch64") { 80 } else { 78 };
    assert_eq!((model.extent(), context.extent()), (model_extent, 160));
    let evidence = Evidence {
        version: VersionEvidence::Is("0.5.0-dev".to_owned()),
        symbols: opened.facts.exported.iter().filter(|s| s.starts_with("llama_")).cloned().collect(),
        model_defaults: Some(model),
        context_defaults: Some(context),
    };
    assert_eq!(identify(&evidence, KNOWN_LAYOUTS, Strictness::Known).unwrap().name, "llama.cpp 0.5.0");
}

/// The size of a tensor in the library that was built, and not only in the headers.
#[test]
fn the_pinned_library_says_how_large_its_tensors_are() {
    let Some(path) = library() else { return };
    let layout = AbiLayout::named("llama.cpp 0.5.0").unwrap();
    let opened = locate(&path).unwrap().load().unwrap();
    // SAFETY: the test set-up built this library from the pinned tree.
    let api = unsafe { opened.api() }.unwrap();
    // SAFETY: it takes nothing.
    let overhead = unsafe { (api.ggml_tensor_overhead)() };
    assert!(layout.tensor.agrees(overhead), "{overhead}");
    assert!(!layout.tensor.agrees(overhead + 8));
}

#[test]
fn every_function_of_the_table_lies_in_the_directory_of_the_library() {
    let Some(path) = library() else { return };
    let opened = locate(&path).unwrap().load().unwrap();
    let directory = opened.path.parent().unwrap();
    for name in Api::REQUIRED.iter().chain(Api::OPTIONAL) {
        let file = file_of_address(opened.address(name)).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(file.parent().unwrap(), directory, "{name}");
    }
}
