//! Writing: from files back to the same bytes, in both byte orders, in parts, changed in place, cancelled.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};

use common::{Model, Raw};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tabagent_gguf::{
    ByteOrder, Difference, Edit, Edited, GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, OwnedArray,
    OwnedValue, SplitBy, TensorData, Value, diff_models, edit_metadata, hash_model, no_progress, quants,
};

fn model_of(bytes: Vec<u8>) -> GgufModel {
    GgufModel::from_parts(vec![GgufFile::from_bytes(bytes).unwrap()]).unwrap()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn differences(first: &GgufModel, second: &GgufModel) -> Vec<String> {
    diff_models(first, second).iter().map(Difference::to_string).collect()
}

/// A file of every type of value, in any version and byte order, whose padding is as others write it.
fn hand_made(version: u32, big: bool, data: usize, truth: u8) -> Vec<u8> {
    let mut raw = Raw::new(version, big, 2, 4);
    raw.string(b"general.architecture").u32(8).string(b"llama");
    raw.string(b"b").u32(7).bytes.push(truth);
    raw.string(b"tokens").u32(9).u32(8).length(2).string(b"a").string(b"\xff");
    raw.string(b"deep").u32(9).u32(9).length(1).u32(4).length(2).u32(7).u32(8);
    raw.tensor("t", &[3], 0, 0).tensor("u", &[2, 2], 1, 32).data(32, data);
    let end = raw.bytes.len();
    for (index, byte) in raw.bytes[end - data..].iter_mut().enumerate().take(12) {
        *byte = index as u8;
    }
    raw.bytes
}

#[test]
fn unchanged_files_are_written_back_byte_for_byte() {
    for big in [false, true] {
        for version in [2, 3] {
            // Padded to the end, cut after the last tensor, and with bytes of somebody else behind it.
            for data in [64, 40, 77] {
                let bytes = hand_made(version, big, data, 2);
                let file = GgufFile::from_bytes(bytes.clone()).unwrap();
                let again = GgufWriter::of_file(&file).to_bytes().unwrap();
                assert!(again == bytes, "{version} {big} {data}");
            }
        }
        let old = GgufFile::from_bytes(hand_made(1, big, 64, 1)).unwrap();
        assert!(GgufWriter::of_file(&old).to_bytes().unwrap() == hand_made(3, big, 64, 1));
    }
}

#[test]
fn plain_numbers_change_their_byte_order() {
    let little = GgufFile::from_bytes(hand_made(3, false, 64, 1)).unwrap();
    let big = GgufWriter::of_file(&little).with_byte_order(ByteOrder::Big).to_bytes().unwrap();
    let big = GgufFile::from_bytes(big).unwrap();
    assert_eq!(big.byte_order(), ByteOrder::Big);
    let data = |file: &GgufFile, name: &str| file.tensor_data(file.tensor(name).unwrap()).to_vec();
    assert_eq!(data(&little, "t"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(data(&big, "t"), [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]);
    let back = GgufWriter::of_file(&big).with_byte_order(ByteOrder::Little).to_bytes().unwrap();
    assert!(back == hand_made(3, false, 64, 1));
}

/// Three rows of bytes that are different everywhere, in every type that there is; scales that are finite and none that is NaN.
fn every_type() -> GgufFile {
    let writer = GgmlType::ALL.iter().fold(GgufWriter::new(), |writer, &kind| {
        let n_weights = 3 * kind.block_size();
        let n_bytes = kind.n_bytes(n_weights).unwrap();
        let data: Vec<u8> = (0..n_bytes).map(|k| (k * 5 % 61 + 1) as u8).collect();
        writer.add_tensor(kind.name(), kind, &[kind.block_size(), 3], data)
    });
    GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap()
}

#[test]
fn all_types_change_their_byte_order_and_keep_their_weights() {
    let little = every_type();
    let turned =
        |file: &GgufFile, order| GgufWriter::of_file(file).with_byte_order(order).to_bytes().unwrap();
    let bytes = turned(&little, ByteOrder::Big);
    let big = model_of(bytes.clone());
    assert_eq!(big.first().byte_order(), ByteOrder::Big);
    for (tensor, old) in big.tensors().zip(little.tensors()) {
        let kind = tensor.info.ggml_type;
        let stored = little.tensor_data(old);
        let has_numbers = !matches!(kind, GgmlType::I8 | GgmlType::MXFP4 | GgmlType::NVFP4);
        assert_eq!(tensor.data() != stored, has_numbers, "{kind}");
        assert!(tensor.little_endian_data() == stored, "{kind}");
        let mut swapped = tensor.data().to_vec();
        quants::swap_bytes(kind, &mut swapped).unwrap();
        assert!(swapped == stored, "{kind}");
    }
    assert!(turned(big.first(), ByteOrder::Little) == turned(&little, ByteOrder::Little));
    let differences = diff_models(&model_of(turned(&little, ByteOrder::Little)), &big);
    assert_eq!(differences.len(), 1, "only the byte order: {differences:?}");
}

#[test]
fn data_is_made_when_its_turn_comes_and_must_be_as_long_as_promised() {
    let writer = |promised, made: usize| {
        let data = TensorData::made(promised, move |out| (0..made).try_for_each(|_| out.write_all(&[1])));
        GgufWriter::new().add_tensor("t", GgmlType::I8, &[5], data)
    };
    let model = model_of(writer(5, 5).to_bytes().unwrap());
    assert_eq!(model.tensor("t").unwrap().data(), [1; 5]);
    for made in [4, 6] {
        let text = writer(5, made).to_bytes().unwrap_err().to_string();
        assert!(text.ends_with(&format!("was promised with `5` bytes of data, but `{made}` came")), "{text}");
    }
    assert!(writer(4, 4).to_bytes().unwrap_err().to_string().contains("has `4` bytes of data"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    use std::os::unix::fs::FileTypeExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let writer = GgufWriter::new().add_tensor("t", GgmlType::I8, &[4], vec![0; 4]);
    let error = writer.write_to(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is a device or a pipe; give the path of a file"), "{error}");
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

#[test]
fn failed_and_cancelled_writes_leave_nothing_behind_and_the_old_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, b"old").unwrap();
    let failing = TensorData::made(1 << 20, |out| {
        out.write_all(&[0; 1000])?;
        Err(std::io::Error::other("the disk is on fire"))
    });
    let error = GgufWriter::new().add_tensor("t", GgmlType::I8, &[1 << 20], failing).write_to(&path);
    assert!(error.unwrap_err().to_string().ends_with("the disk is on fire"));
    let large = GgufWriter::new().add_tensor("t", GgmlType::I8, &[1 << 20], vec![0; 1 << 20]);
    let error = large.write_with(&path, &|done, total| {
        assert!(done <= total && total == 1 << 20);
        false
    });
    assert!(matches!(error, Err(GgufError::Cancelled)));
    let error = large.write_parts(&dir.path().join("m"), SplitBy::Tensors(1), true, &|_, _| false);
    assert!(matches!(error, Err(GgufError::Cancelled)));
    assert!(files_in(dir.path()) == [path.as_path()]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn parts_hold_what_they_should_and_merge_to_the_same_bytes() {
    let bytes = Model::llama().bytes();
    let whole = model_of(bytes.clone());
    let n = whole.n_tensors();
    for (by, first_without_tensors) in [
        (SplitBy::Tensors(3), false),
        (SplitBy::Tensors(1), true),
        (SplitBy::Bytes(3000), false),
        (SplitBy::Bytes(1), true),
        (SplitBy::Bytes(u64::MAX), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let writer = GgufWriter::of_model(&whole);
        let prefix = dir.path().join("part");
        let paths = writer.write_parts(&prefix, by, first_without_tensors, &no_progress).unwrap();
        assert_eq!(files_in(dir.path()), paths);
        let model = GgufModel::open(paths.last().unwrap()).unwrap();
        let last = model.parts().last().unwrap();
        assert_eq!(last.metadata().get("split.no"), Some(Value::U16(paths.len() as u16 - 1)));
        assert_eq!(model.metadata().get("split.tensors.count"), Some(Value::I32(n as i32)));
        assert_eq!(model.first().tensors().is_empty(), first_without_tensors);
        for part in &model.parts()[usize::from(first_without_tensors)..] {
            let size: u64 = part.tensors().iter().map(|tensor| tensor.n_bytes.next_multiple_of(32)).sum();
            match by {
                SplitBy::Tensors(limit) => assert!((1..=limit).contains(&part.tensors().len())),
                SplitBy::Bytes(limit) => assert!(size <= limit || part.tensors().len() == 1),
            }
        }
        tabagent_gguf::check_parts(model.parts()).unwrap();
        tabagent_gguf::check_model(model.first()).unwrap();
        assert!(GgufWriter::of_model(&model).to_bytes().unwrap() == bytes, "{by:?}");
        let found = differences(&whole, &model);
        let parts = paths.len();
        let expected = format!("the number of parts is `1` in the first file and `{parts}` in the second");
        assert!(found.is_empty() || found == [expected], "{found:?}");
    }
    let error =
        GgufWriter::of_model(&whole).write_parts(Path::new("x"), SplitBy::Bytes(0), false, &no_progress);
    assert!(error.unwrap_err().to_string().contains("cannot be cut into parts of nothing"));
}

#[test]
fn metadata_changes_in_place_where_the_tensors_need_not_move() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    Model::llama().writer().write_to(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let edit = |edits: &[Edit]| edit_metadata(&path, edits, &no_progress).unwrap();
    let set = |key: &str, value: OwnedValue| Edit::Set(key.to_owned(), value);

    assert_eq!(edit(&[]), Edited::Unchanged);
    assert_eq!(edit(&[set("llama.context_length", 65_u32.into())]), Edited::InPlace { bytes: 1 });
    assert_eq!(edit(&[set("llama.context_length", 64_u32.into())]), Edited::InPlace { bytes: 1 });
    assert!(std::fs::read(&path).unwrap() == before);

    // Longer than any padding, so the tensors move; then back.
    let name = set("general.name", "a name that is longer than the alignment of 32 bytes".into());
    assert_eq!(edit(&[name]), Edited::Rewritten);
    let file = GgufFile::open(&path).unwrap();
    assert!(file.metadata().get("general.name").unwrap().as_str().unwrap().starts_with("a name"));
    let original = GgufFile::from_bytes(before.clone()).unwrap();
    for (new, old) in file.tensors().iter().zip(original.tensors()) {
        assert_eq!(file.tensor_data(new), original.tensor_data(old));
    }
    assert_eq!(edit(&[Edit::Remove("general.name".to_owned())]), Edited::Rewritten);
    assert!(std::fs::read(&path).unwrap() == before);

    // Another alignment moves the tensors although the head may end at the same place.
    assert_eq!(edit(&[set("general.alignment", 64_u32.into())]), Edited::Rewritten);
    assert_eq!(GgufFile::open(&path).unwrap().alignment(), 64);
    let error = edit_metadata(&path, &[set("general.alignment", 3_u32.into())], &no_progress).unwrap_err();
    assert!(matches!(error, GgufError::Unwritable { .. }));
    assert!(files_in(dir.path()) == [path.as_path()]);
}

#[test]
#[cfg(unix)]
fn files_with_other_names_are_not_changed_under_them() {
    let dir = tempfile::tempdir().unwrap();
    let (blob, link, hard) = (dir.path().join("blob"), dir.path().join("link"), dir.path().join("hard"));
    Model::llama().writer().write_to(&blob).unwrap();
    std::os::unix::fs::symlink(&blob, &link).unwrap();
    let before = std::fs::read(&blob).unwrap();
    let edits = [Edit::Set("llama.context_length".to_owned(), 65_u32.into())];
    assert_eq!(edit_metadata(&link, &edits, &no_progress).unwrap(), Edited::Rewritten);
    assert!(std::fs::read(&blob).unwrap() == before);
    std::fs::hard_link(&blob, &hard).unwrap();
    assert_eq!(edit_metadata(&hard, &edits, &no_progress).unwrap(), Edited::Rewritten);
    assert!(std::fs::read(&blob).unwrap() == before);
    assert!(std::fs::read(&hard).unwrap() != before);
}

#[test]
fn hashes_are_those_of_the_bytes_and_do_not_depend_on_metadata_or_parts() {
    let sha = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    let bytes = Model::llama().bytes();
    let model = model_of(bytes.clone());
    let hashes = hash_model(&model, &no_progress).unwrap();
    assert_eq!(hashes.files, [("memory.gguf".to_owned(), tabagent_gguf::Digest(sha(&bytes)))]);
    let all: Vec<u8> = model.tensors().flat_map(|tensor| tensor.data().to_vec()).collect();
    assert_eq!(hashes.weights.0, sha(&all));
    for (tensor, (name, digest)) in model.tensors().zip(&hashes.tensors) {
        assert_eq!((&tensor.info.name, sha(tensor.data())), (name, digest.0));
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = GgufWriter::of_model(&model)
        .add("general.name", "x")
        .write_parts(&dir.path().join("m"), SplitBy::Tensors(4), false, &no_progress)
        .unwrap();
    let parts = hash_model(&GgufModel::open(&paths[0]).unwrap(), &no_progress).unwrap();
    assert_eq!(
        (parts.weights, parts.tensors, parts.files.len()),
        (hashes.weights, hashes.tensors, paths.len())
    );
    assert!(matches!(hash_model(&model, &|_, _| false), Err(GgufError::Cancelled)));
}

#[test]
fn differences_are_told_in_words() {
    let first = Model::llama();
    let mut second = Model::llama();
    second
        .set("llama.context_length", 128_u32)
        .set("llama.block_count", 1_u64)
        .set("tokenizer.ggml.scores", vec![0.0_f32; 3])
        .set("general.name", "new\nname")
        .remove("llama.rope.dimension_count");
    let token = |model: &mut Model, text: &str| {
        let mut tokens = common::sentencepiece_tokens();
        text.clone_into(&mut tokens[259]);
        model.set("tokenizer.ggml.tokens", tokens);
    };
    token(&mut second, "▁other");
    second.retype("blk.0.attn_q.weight", GgmlType::F32);
    second.tensors[2].2 = vec![32, 8];
    second.tensors[3].0 = "blk.0.attn_x.weight".to_owned();
    let found = differences(&model_of(first.bytes()), &model_of(second.bytes()));
    let expected = [
        "key `llama.rope.dimension_count` is only in the first file: `8`",
        "key `llama.context_length` is `64` in the first file and `128` in the second",
        "key `llama.block_count` has type `u32` in the first file and `u64` in the second",
        "key `tokenizer.ggml.tokens` differs in `1` items, first in number `259`: `▁word` in the first file and `▁other` in the second",
        "key `tokenizer.ggml.scores` has `260` items in the first file and `3` in the second",
        "key `general.name` is only in the second file: `new\\nname`",
        "tensor `blk.0.attn_q.weight` has type `Q8_0` in the first file and `F32` in the second; weights differ by 0.000e0 (root mean square), at most by 0.000e0",
        "tensor `blk.0.attn_k.weight` has shape `[32, 16]` in the first file and `[32, 8]` in the second",
        "tensor `blk.0.attn_v.weight` is only in the first file: `Q8_0` of shape `[32, 16]`",
        "tensor `blk.0.attn_x.weight` is only in the second file: `Q8_0` of shape `[32, 16]`",
    ];
    assert_eq!(found, expected);

    let data = |values: Vec<u8>| GgufWriter::new().add_tensor("t", GgmlType::I8, &[4], values);
    let pair =
        [data(vec![1, 2, 3, 4]), data(vec![1, 9, 3, 9])].map(|writer| model_of(writer.to_bytes().unwrap()));
    assert_eq!(differences(&pair[0], &pair[1]), ["tensor `t` has other data in `2` of `4` blocks (50.0 %)"]);
    assert!(differences(&pair[0], &pair[0]).is_empty());

    let floats = |values: [f32; 2]| {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let writer = GgufWriter::new().add_tensor("t", GgmlType::F32, &[2], data);
        model_of(writer.to_bytes().unwrap())
    };
    assert_eq!(
        differences(&floats([3.0, 4.0]), &floats([3.0, 4.5])),
        [
            "tensor `t` has other data in `1` of `2` blocks (50.0 %); weights differ by 3.536e-1 (root mean square), 10.00 % of their size, at most by 5.000e-1"
        ]
    );

    let ordered = |names: [&str; 2]| {
        let writer = GgufWriter::new().add(names[0], 1_u8).add(names[1], 1_u8);
        let writer =
            names.iter().fold(writer, |writer, name| writer.add_tensor(name, GgmlType::I8, &[1], vec![0]));
        model_of(writer.to_bytes().unwrap())
    };
    assert_eq!(
        differences(&ordered(["a", "b"]), &ordered(["b", "a"])),
        ["the keys are in another order", "the tensors are in another order"]
    );
}

#[test]
fn real_files_are_written_back_byte_for_byte() {
    let folders = [tabagent_material::models(), tabagent_material::tree().map(|tree| tree.join("models"))];
    let mut count = 0;
    for folder in folders.iter().flatten() {
        for path in files_in(folder) {
            if path.extension().is_none_or(|extension| extension != "gguf") {
                continue;
            }
            let file = GgufFile::open(&path).unwrap();
            let copy = tempfile::NamedTempFile::new().unwrap();
            GgufWriter::of_file(&file).write_to(copy.path()).unwrap();
            let same = std::fs::read(&path).unwrap() == std::fs::read(copy.path()).unwrap();
            assert!(same, "{}", path.display());
            count += 1;
        }
    }
    let expected = if folders.iter().all(Option::is_some) { 15 } else { 0 };
    assert!(count >= expected, "only {count} files");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_in_either_order_is_read_back_and_written_again(
        big in any::<bool>(),
        version in 2_u32..=3,
        numbers in prop::collection::vec(any::<u64>(), 0..6),
        floats in prop::collection::vec(any::<f32>(), 0..6),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
        tensors in prop::collection::btree_map(
            "[a-z]{1,9}",
            (prop::sample::select(GgmlType::ALL), 0_u64..3, 0_u64..4, any::<u8>()),
            0..6,
        ),
        limit in 1_usize..4,
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let mut writer = GgufWriter::new()
            .with_byte_order(order)
            .with_version(version)
            .add("n", numbers.clone())
            .add("f", floats.clone())
            .add("s", OwnedValue::Array(OwnedArray::String(texts.clone())));
        for (name, &(kind, blocks, rows, fill)) in &tensors {
            let dims = [blocks * kind.block_size(), rows];
            let size = kind.n_bytes(dims.iter().product()).unwrap() as usize;
            writer = writer.add_tensor(name, kind, &dims, vec![fill; size]);
        }
        let bytes = writer.to_bytes().unwrap();
        let model = model_of(bytes.clone());
        let file = model.first();
        prop_assert_eq!((file.byte_order(), file.version()), (order, version));
        let read = file.metadata().get("n").unwrap().as_array().unwrap();
        prop_assert!(read.iter().map(|item| item.as_u64().unwrap()).eq(numbers));
        let read = file.metadata().get("f").unwrap().as_array().unwrap();
        let bits = |item: Value<'_>| match item { Value::F32(value) => value.to_bits(), _ => panic!() };
        prop_assert!(read.iter().map(bits).eq(floats.iter().map(|value| value.to_bits())));
        prop_assert!(GgufWriter::of_file(file).to_bytes().unwrap() == bytes);

        let dir = tempfile::tempdir().unwrap();
        let whole = GgufWriter::of_file(file);
        let paths = whole.write_parts(&dir.path().join("p"), SplitBy::Tensors(limit), false, &no_progress).unwrap();
        let parts = GgufModel::open(&paths[0]).unwrap();
        prop_assert!(GgufWriter::of_model(&parts).to_bytes().unwrap() == bytes);
    }
}
