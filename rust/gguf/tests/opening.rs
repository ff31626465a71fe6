//! Where files come from: parts of a model, open files, foreign bytes, and the beginnings of files that are elsewhere.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Model, Raw};
use proptest::prelude::*;
use tabagent_gguf::{
    ByteOrder, GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, Header, OwnedArray, OwnedValue, Value,
    check_data, no_progress,
};

/// A part with one tensor named after its number.
fn part(no: u16, count: u16, tensors: i32) -> GgufWriter {
    GgufWriter::new()
        .add("general.name", format!("part {no}").as_str())
        .add("split.no", no)
        .add("split.count", count)
        .add("split.tensors.count", tensors)
        .add_tensor(&format!("t{no}"), GgmlType::I8, &[3], vec![no as u8; 3])
}

fn part_path(dir: &Path, no: u32, count: u32) -> PathBuf {
    dir.join(format!("m-{no:05}-of-{count:05}.gguf"))
}

#[test]
fn a_model_in_parts_is_opened_by_any_of_them() {
    let dir = tempfile::tempdir().unwrap();
    for no in 0..3_u16 {
        part(no, 3, 3).write_to(&part_path(dir.path(), u32::from(no) + 1, 3)).unwrap();
    }
    for no in 1..=3 {
        let model = GgufModel::open(&part_path(dir.path(), no, 3)).unwrap();
        assert_eq!((model.parts().len(), model.n_tensors()), (3, 3));
        assert_eq!(model.metadata().get("general.name").unwrap().as_str(), Some("part 0"));
        let names: Vec<_> = model.tensors().map(|tensor| tensor.info.name.clone()).collect();
        assert_eq!(names, ["t0", "t1", "t2"]);
        assert_eq!(model.tensor("t2").unwrap().data(), [2; 3]);
        assert!(model.tensor("t3").is_none());
        let size: u64 = model.parts().iter().map(GgufFile::file_size).sum();
        assert_eq!(model.file_size(), size);
    }
    std::fs::remove_file(part_path(dir.path(), 2, 3)).unwrap();
    let error = GgufModel::open(&part_path(dir.path(), 1, 3)).unwrap_err();
    assert!(matches!(error, GgufError::MissingParts { count: 3, .. }), "{error}");
}

#[test]
fn files_that_are_not_parts_of_one_model_are_refused() {
    let refusal = |parts: Vec<GgufWriter>| {
        let files = parts.iter().map(|part| GgufFile::from_bytes(part.to_bytes().unwrap()).unwrap());
        GgufModel::from_parts(files.collect()).unwrap_err().to_string()
    };
    let start = "`memory.gguf` does not belong to the other parts: key";
    assert_eq!(
        refusal(vec![part(0, 2, 2), part(0, 2, 2)]),
        format!("{start} `split.no` is `0`, but the file is number `1` of the parts; rename the parts back")
    );
    assert_eq!(
        refusal(vec![part(0, 3, 2), part(1, 3, 2)]),
        format!("{start} `split.count` is `3`, but there are `2` files")
    );
    assert_eq!(
        refusal(vec![part(0, 2, 5), part(1, 2, 5)]),
        format!("{start} `split.tensors.count` is `5`, but the parts hold `2` tensors")
    );
    assert_eq!(
        refusal(vec![part(0, 2, 2), GgufWriter::new()]),
        format!("{start} `split.count` is missing, but the file is one of several")
    );
    let twice = part(1, 2, 2).add_tensor("t0", GgmlType::I8, &[1], vec![0]);
    assert!(refusal(vec![part(0, 2, 2), twice]).contains("tensor `t0` is in an earlier part too"));
    assert!(refusal(Vec::new()).contains("give at least one file"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("renamed.gguf");
    part(0, 2, 2).write_to(&path).unwrap();
    let text = GgufModel::open(&path).unwrap_err().to_string();
    assert!(text.ends_with("rename the parts to `name-00001-of-00002.gguf` and so on"), "{text}");
}

#[test]
fn a_name_like_that_of_a_part_does_not_make_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = part_path(dir.path(), 1, 2);
    Model::llama().writer().write_to(&path).unwrap();
    assert_eq!(GgufModel::open(&path).unwrap().parts().len(), 1);
}

#[test]
fn open_files_and_foreign_bytes_are_read_in_place() {
    let bytes = Model::llama().bytes();
    let mut temporary = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut temporary, &bytes).unwrap();
    let shared: Arc<Vec<u8>> = Arc::new(bytes.clone());
    for file in [
        GgufFile::from_file(&temporary, "anonymous").unwrap(),
        GgufFile::from_foreign(shared.clone(), "foreign").unwrap(),
    ] {
        assert_eq!(file.architecture(), Some("llama"));
        assert_eq!((file.file_size(), file.is_header_only()), (bytes.len() as u64, false));
    }
    let file = GgufFile::from_foreign(shared.clone(), "foreign").unwrap();
    let tensor = file.tensor("output_norm.weight").unwrap();
    let data = file.shared_data(tensor);
    assert!(shared.as_ptr_range().contains(&data.as_ptr()), "the data was copied");
    drop(file);
    assert_eq!(data.len(), 128);
    // Windows opens no folder as a file.
    if cfg!(unix) {
        let folder = std::fs::File::open(std::env::temp_dir()).unwrap();
        let error = GgufFile::from_file(&folder, "folder").unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn the_beginning_of_a_file_tells_what_more_is_needed_and_never_too_much() {
    let bytes = Model::llama().bytes();
    let whole = GgufFile::from_bytes(bytes.clone()).unwrap();
    let size = bytes.len() as u64;
    for known in 0..whole.data_offset() as usize {
        match GgufFile::from_beginning(bytes[..known].to_vec(), size, "there").unwrap() {
            Header::Needs(needed) => {
                assert!(needed > known as u64 && needed <= whole.data_offset(), "{needed} after {known}");
            }
            Header::Complete(file) => {
                assert!(file.is_header_only());
                assert_eq!(file.tensors(), whole.tensors());
                assert_eq!(file.data_offset(), whole.data_offset());
                let model = GgufModel::from_parts(vec![file]).unwrap();
                let text = check_data(&model, &no_progress).unwrap_err().to_string();
                assert!(text.contains("only the file's beginning was read"), "{text}");
            }
        }
    }
    let mut asked = 0;
    let mut known = 4;
    let file = loop {
        asked += 1;
        match GgufFile::from_beginning(bytes[..known].to_vec(), size, "there").unwrap() {
            Header::Needs(needed) => known = needed as usize,
            Header::Complete(file) => break file,
        }
    };
    assert!(asked > 10 && file.metadata().len() == whole.metadata().len());
    assert!(GgufFile::from_beginning(b"GGML".to_vec(), size, "there").is_err());
    let error = GgufFile::from_beginning(bytes[..known].to_vec(), known as u64, "there").unwrap_err();
    assert!(error.to_string().contains("it is cut off"), "{error}");
}

#[test]
fn numbers_that_are_none_are_found_with_their_place() {
    let mut bytes = Model::llama().bytes();
    let check = |bytes: &[u8]| {
        let file = GgufFile::from_bytes(bytes.to_vec()).unwrap();
        check_data(&GgufModel::from_parts(vec![file]).unwrap(), &no_progress)
    };
    check(&bytes).unwrap();
    let file = GgufFile::from_bytes(bytes.clone()).unwrap();
    let start = file.data_start(file.tensor("blk.0.ffn_norm.weight").unwrap()) + 4 * 7;
    bytes[start as usize..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let error = check(&bytes).unwrap_err();
    let GgufError::Data { offset, .. } = &error else { panic!("{error}") };
    assert_eq!(*offset, start);
    assert!(
        error.to_string().contains("tensor `blk.0.ffn_norm.weight` has an infinity or NaN at weight `7`")
    );
    let model = GgufModel::from_parts(vec![file]).unwrap();
    assert!(matches!(check_data(&model, &|_, _| false), Err(GgufError::Cancelled)));
}

#[test]
fn big_endian_floats_are_looked_at_in_their_order() {
    for (stored, good) in [([0x7f, 0x80, 0, 0], false), ([0, 0, 0x80, 0x7f], true)] {
        let mut raw = Raw::new(3, true, 1, 0);
        raw.tensor("t", &[1], 0, 0).data(32, 0).bytes.extend(stored);
        let model = GgufModel::from_parts(vec![raw.open().unwrap()]).unwrap();
        assert_eq!(check_data(&model, &no_progress).is_ok(), good);
    }
}

#[test]
fn scales_of_big_endian_blocks_are_looked_at_in_their_order() {
    for (scale, good) in [([0x7c, 0x00], false), ([0x00, 0x7c], true)] {
        let mut block = [0; 18];
        block[..2].copy_from_slice(&scale);
        let writer = GgufWriter::new().with_byte_order(ByteOrder::Big);
        let bytes = writer.add_tensor("t", GgmlType::Q4_0, &[32], block.to_vec()).to_bytes().unwrap();
        let model = GgufModel::from_parts(vec![GgufFile::from_bytes(bytes).unwrap()]).unwrap();
        assert_eq!(check_data(&model, &no_progress).is_ok(), good);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_item_of_any_array_is_found_by_its_number(
        strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..80),
        numbers in prop::collection::vec(any::<i16>(), 0..80),
    ) {
        let nested: Vec<OwnedArray> =
            strings.chunks(3).map(|some| OwnedArray::String(some.to_vec())).collect();
        let file = GgufFile::from_bytes(
            GgufWriter::new()
                .add("s", OwnedValue::Array(OwnedArray::String(strings.clone())))
                .add("n", numbers.clone())
                .add("a", OwnedValue::Array(OwnedArray::Array(nested)))
                .to_bytes()
                .unwrap(),
        )
        .unwrap();
        let array = |key: &str| file.metadata().shared_array(key).unwrap();
        let (text, number, nested) = (array("s"), array("n"), array("a"));
        prop_assert_eq!((text.len(), number.len()), (strings.len(), numbers.len()));
        for (index, item) in strings.iter().enumerate() {
            let Some(Value::String(found)) = text.get(index) else { panic!("{index}") };
            prop_assert_eq!(found.as_bytes(), &item[..]);
            let inner = nested.nested(index / 3).unwrap();
            let Some(Value::String(found)) = inner.get(index % 3) else { panic!("{index}") };
            prop_assert_eq!(found.as_bytes(), &item[..]);
            prop_assert_eq!(text.iter_from(index).count(), strings.len() - index);
        }
        for (index, &item) in numbers.iter().enumerate() {
            prop_assert_eq!(number.get(index), Some(Value::I16(item)));
        }
        for past in [strings.len().max(numbers.len()), usize::MAX] {
            prop_assert!(text.get(past).is_none() && number.get(past).is_none() && nested.nested(past).is_none());
        }
    }
}
