//! Files that people use are never refused, and opening them is quick.

use std::time::{Duration, Instant};

use tabagent_gguf::{GgmlType, GgufFile, check_model};

#[track_caller]
fn open_good(path: &std::path::Path) -> GgufFile {
    let file = GgufFile::open(path).unwrap_or_else(|error| panic!("{error}"));
    if let Err(error) = check_model(&file) {
        panic!("{error}");
    }
    file
}

#[test]
fn vocabularies_of_llama_cpp_are_accepted() {
    let Some(dir) = tabagent_material::tree() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(dir.join("models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            open_good(&path);
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} vocabularies in {}", dir.display());
}

#[test]
fn smollm2_is_accepted() {
    let Some(path) = tabagent_material::model("smollm2-135m-instruct-q4_1.gguf") else { return };
    let file = open_good(&path);
    assert_eq!((file.architecture(), file.tensors().len()), (Some("llama"), 272));
}

#[test]
fn gemma_is_accepted_and_opens_in_milliseconds() {
    let Some(path) = tabagent_material::model("gemma-3-270m-q4_k_m.gguf") else { return };
    let file = open_good(&path);
    assert_eq!(file.architecture(), Some("gemma3"));
    let embedding = file.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.shape.dims(), [640, 262_144]);
    assert_ne!(embedding.ggml_type, GgmlType::F32);
    let quickest = (0..5).map(|_| {
        let start = Instant::now();
        drop(GgufFile::open(&path));
        start.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest <= Duration::from_millis(10), "opening took {quickest:?}");
}
