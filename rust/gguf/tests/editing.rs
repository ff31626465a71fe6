//! Edits of metadata: none makes a file worse than it was.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{Model, vec_i32};
use proptest::prelude::*;
use tabagent_gguf::{
    Edit, GgufError, GgufModel, GgufWriter, OwnedArray, OwnedValue, SplitBy, check_data, check_model,
    check_parts, edit_metadata, edit_metadata_to, hash_model, no_progress,
};

/// Keys that mean something to readers, and some that do not.
const KEYS: [&str; 22] = [
    "general.architecture",
    "general.alignment",
    "general.name",
    "general.type",
    "general.file_type",
    "general.tags",
    "split.no",
    "split.count",
    "split.tensors.count",
    "llama.block_count",
    "llama.context_length",
    "llama.attention.head_count",
    "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
    "mine",
];

fn values() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<u8>().prop_map(OwnedValue::U8),
        (0_u16..4).prop_map(OwnedValue::U16),
        prop_oneof![0_u32..70, Just(u32::MAX), Just(64), Just(32)].prop_map(OwnedValue::U32),
        (-2_i32..40).prop_map(OwnedValue::I32),
        any::<u64>().prop_map(OwnedValue::U64),
        any::<f32>().prop_map(OwnedValue::F32),
        any::<bool>().prop_map(OwnedValue::Bool),
        prop_oneof![Just("llama"), Just("gpt2"), Just("bert"), Just("model"), Just(""), Just("a b")]
            .prop_map(OwnedValue::from),
        (0_usize..300).prop_map(|n| OwnedValue::from(vec!["a b"; n])),
        (0_usize..3).prop_map(|n| OwnedValue::from(vec![0.5_f32; 259 + n])),
        (0_usize..3).prop_map(|n| vec_i32(vec![1; 259 + n])),
        Just(OwnedValue::Array(OwnedArray::Array(vec![OwnedArray::U8(vec![1])]))),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let key = prop::sample::select(&KEYS[..]);
    let edit = prop_oneof![
        3 => (key.clone(), values()).prop_map(|(key, value)| Edit::Set(key.to_owned(), value)),
        1 => key.prop_map(|key| Edit::Remove(key.to_owned())),
    ];
    prop::collection::vec(edit, 1..4)
}

/// The checks that a model passes, by name.
fn levels(path: &std::path::Path) -> Vec<&'static str> {
    let mut passed = Vec::new();
    let Ok(model) = GgufModel::open(path) else { return passed };
    passed.push("format");
    let parts = || if model.parts().len() > 1 { check_parts(model.parts()) } else { Ok(()) };
    if check_model(model.first()).and_then(|()| parts()).is_ok() {
        passed.push("model");
    }
    if check_data(&model, &no_progress).is_ok() {
        passed.push("data");
    }
    passed
}

fn models(kind: usize) -> GgufWriter {
    match kind {
        0 => Model::llama().writer(),
        1 => Model::byte_pair().writer(),
        // An architecture that llama.cpp does not know: whole, but not loadable.
        2 => Model::llama().set("general.architecture", "mine").writer(),
        _ => GgufWriter::new().add("a", 1_u32),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_edit_leaves_the_file_as_good_as_it_was(kind in 0_usize..4, split: bool, edits in edits()) {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().join("m.gguf");
        if split {
            let parts = models(kind).write_parts(&dir.path().join("m"), SplitBy::Tensors(4), true, &no_progress);
            path = parts.unwrap()[0].clone();
        } else {
            models(kind).write_to(&path).unwrap();
        }
        let (old, before) = (std::fs::read(&path).unwrap(), levels(&path));
        let weights = hash_model(&GgufModel::open(&path).unwrap(), &no_progress).unwrap().weights;
        let copy = dir.path().join("copies").join(path.file_name().unwrap());
        std::fs::create_dir(copy.parent().unwrap()).unwrap();
        for other in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(other.path(), copy.with_file_name(other.file_name())).unwrap();
        }
        let copied = edit_metadata_to(&path, &edits, &copy, &no_progress);
        prop_assert_eq!(&std::fs::read(&path).unwrap(), &old);
        let lost = |path| before.iter().filter(|level| !levels(path).contains(level)).collect::<Vec<_>>();
        prop_assert!(lost(&copy).is_empty(), "{:?}: the copy does not pass {:?}", edits, lost(&copy));
        match edit_metadata(&path, &edits, &no_progress) {
            Ok(_) => {
                prop_assert!(copied.is_ok());
                prop_assert!(lost(&path).is_empty(), "{:?}: the file does not pass {:?}", edits, lost(&path));
                let model = GgufModel::open(&path).unwrap();
                prop_assert_eq!(hash_model(&model, &no_progress).unwrap().weights, weights);
                for edit in &edits {
                    let (Edit::Set(key, _) | Edit::Remove(key)) = edit;
                    let last = edits.iter().rev().find(|edit| matches!(edit, Edit::Set(k, _) | Edit::Remove(k) if k == key));
                    let found = model.metadata().get(key).map(OwnedValue::from);
                    match last {
                        Some(Edit::Set(_, OwnedValue::F32(number))) if number.is_nan() => {}
                        Some(Edit::Set(_, value)) => prop_assert_eq!(found.as_ref(), Some(value)),
                        _ => prop_assert_eq!(found, None),
                    }
                }
            }
            Err(error) => {
                prop_assert!(matches!(error, GgufError::Unwritable { .. }), "{}", error);
                prop_assert!(copied.is_err());
                prop_assert_eq!(std::fs::read(&path).unwrap(), old);
            }
        }
    }
}

#[test]
fn a_part_keeps_the_keys_that_make_it_one() {
    for key in ["split.no", "split.count", "split.tensors.count"] {
        for part in 0..2 {
            let dir = tempfile::tempdir().unwrap();
            let whole = Model::llama().writer();
            let parts =
                whole.write_parts(&dir.path().join("m"), SplitBy::Tensors(4), true, &no_progress).unwrap();
            let before = levels(&parts[part]);
            assert_eq!(before, ["format", "model", "data"]);
            for edit in [
                Edit::Remove(key.to_owned()),
                Edit::Set(key.to_owned(), 0_u16.into()),
                Edit::Set(key.to_owned(), 0_u32.into()),
            ] {
                // A part may say what it says already.
                let _ = edit_metadata(&parts[part], std::slice::from_ref(&edit), &no_progress);
                assert_eq!(levels(&parts[part]), before, "{edit:?} of part {part}");
            }
        }
    }
}

#[test]
fn later_parts_hold_embeddings_for_as_many_tokens_as_the_first_names() {
    let dir = tempfile::tempdir().unwrap();
    let parts =
        Model::llama().writer().write_parts(&dir.path().join("m"), SplitBy::Tensors(4), true, &no_progress);
    let first = &parts.unwrap()[0];
    let n = common::sentencepiece_tokens().len() - 1;
    let edits = [
        Edit::Set("tokenizer.ggml.tokens".to_owned(), common::sentencepiece_tokens()[..n].to_vec().into()),
        Edit::Set("tokenizer.ggml.scores".to_owned(), vec![0.0_f32; n].into()),
        Edit::Set("tokenizer.ggml.token_type".to_owned(), vec_i32(vec![1; n])),
    ];
    let text = edit_metadata(first, &edits, &no_progress).unwrap_err().to_string();
    assert!(text.contains("embeddings of `260` tokens"), "{text}");
}
