//! Importance matrices of both forms: what is read, what is refused, and hostile files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use tabagent_gguf::{ByteOrder, GgmlType, GgufError, GgufFile, GgufWriter, Imatrix, OwnedArray, OwnedValue};

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The keys of a matrix, and its tensors: sums, columns and counts by name.
fn gguf(tensors: &[(&str, &[f32], &[f32])]) -> GgufWriter {
    let writer = GgufWriter::new()
        .add("general.type", "imatrix")
        .add("imatrix.datasets", vec!["wiki.txt", "code.txt"])
        .add("imatrix.chunk_count", 7_u32)
        .add("imatrix.chunk_size", 512_u32);
    tensors.iter().fold(writer, |writer, (name, sums, counts)| {
        let (columns, n) = (sums.len() as u64 / (counts.len() as u64).max(1), counts.len() as u64);
        writer.add_tensor(&format!("{name}.in_sum2"), GgmlType::F32, &[columns, n], floats(sums)).add_tensor(
            &format!("{name}.counts"),
            GgmlType::F32,
            &[1, n],
            floats(counts),
        )
    })
}

fn dat(entries: &[(&str, i32, &[f32])], trailer: &[u8]) -> Vec<u8> {
    let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, calls, values) in entries {
        bytes.extend((name.len() as i32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(calls.to_le_bytes());
        bytes.extend((values.len() as i32).to_le_bytes());
        bytes.extend(floats(values));
    }
    bytes.extend(trailer);
    bytes
}

/// The end of a newer `.dat` file: chunks and data set.
fn trailer(chunks: i32, dataset: &str) -> Vec<u8> {
    [&chunks.to_le_bytes()[..], &(dataset.len() as i32).to_le_bytes(), dataset.as_bytes()].concat()
}

#[track_caller]
fn refusal(bytes: Vec<u8>) -> String {
    Imatrix::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn sums_are_divided_by_counts() {
    let bytes = gguf(&[("blk.0.attn_q.weight", &[2.0, 4.0, 9.0], &[4.0])]).to_bytes().unwrap();
    let matrix = Imatrix::from_bytes(bytes).unwrap();
    assert_eq!(matrix.importances("blk.0.attn_q.weight"), Some(&[0.5, 1.0, 2.25][..]));
    assert_eq!(matrix.importances("blk.0.attn_q"), None);
    assert_eq!(matrix.datasets(), ["wiki.txt", "code.txt"]);
    assert_eq!((matrix.n_chunks(), matrix.chunk_size(), matrix.n_entries()), (7, 512, 1));
}

#[test]
fn experts_have_counts_of_their_own_and_unused_ones_weigh_the_same() {
    let sums = [2.0, 4.0, 30.0, 60.0, 5.0, 6.0, 7.0, 8.0];
    let writer = gguf(&[("blk.0.ffn_up_exps.weight", &sums, &[2.0, 10.0, 0.0, -3.0])]);
    let matrix = Imatrix::from_bytes(writer.to_bytes().unwrap()).unwrap();
    let found = matrix.importances("blk.0.ffn_up_exps.weight").unwrap();
    assert_eq!(found, [1.0, 2.0, 3.0, 6.0, 1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn counts_are_rounded_to_whole_tokens() {
    let writer = gguf(&[("t", &[8.0, 8.0], &[3.6, 0.4])]);
    let matrix = Imatrix::from_bytes(writer.to_bytes().unwrap()).unwrap();
    assert_eq!(matrix.importances("t"), Some(&[2.0, 1.0][..]));
}

#[test]
fn tensors_of_other_purposes_are_passed_over() {
    let writer = gguf(&[("t", &[1.0], &[1.0])]).add_tensor("t.in_sum", GgmlType::F32, &[1], floats(&[3.0]));
    assert_eq!(Imatrix::from_bytes(writer.to_bytes().unwrap()).unwrap().n_entries(), 1);
}

#[test]
fn big_endian_files_are_read() {
    let big = |values: &[f32]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>();
    let writer = GgufWriter::new()
        .with_byte_order(ByteOrder::Big)
        .add("imatrix.datasets", OwnedValue::Array(OwnedArray::String(vec![])))
        .add("imatrix.chunk_count", 1_u32)
        .add("imatrix.chunk_size", 64_u32)
        .add_tensor("t.in_sum2", GgmlType::F32, &[2], big(&[6.0, 2.0]))
        .add_tensor("t.counts", GgmlType::F32, &[1], big(&[2.0]));
    let matrix = Imatrix::from_bytes(writer.to_bytes().unwrap()).unwrap();
    assert_eq!(matrix.importances("t"), Some(&[3.0, 1.0][..]));
    let again = Imatrix::from_bytes(matrix.writer().to_bytes().unwrap()).unwrap();
    assert_eq!(again.importances("t"), Some(&[3.0, 1.0][..]));
}

#[test]
fn all_generations_of_dat_files_are_read() {
    let entries: &[(&str, i32, &[f32])] =
        &[("blk.1.attn_k.weight", 4, &[2.0, 6.0]), ("blk.0.attn_k.weight", 0, &[5.0]), ("x", -1, &[0.25])];
    for (trailer, chunks, datasets) in [
        (vec![], 0, &[][..]),
        (9_i32.to_le_bytes().to_vec(), 9, &[]),
        (trailer(9, ""), 9, &[]),
        (trailer(9, "wiki.txt"), 9, &["wiki.txt"]),
        (trailer(-9, "a\0b"), 0, &["a"]),
    ] {
        let matrix = Imatrix::from_bytes(dat(entries, &trailer)).unwrap();
        assert_eq!(matrix.importances("blk.1.attn_k.weight"), Some(&[0.5, 1.5][..]));
        assert_eq!(matrix.importances("blk.0.attn_k.weight"), Some(&[5.0][..]));
        assert_eq!(matrix.importances("x"), Some(&[0.25][..]));
        assert_eq!((matrix.n_chunks(), matrix.chunk_size(), matrix.n_entries()), (chunks, 0, 3));
        assert_eq!(matrix.datasets(), datasets);
    }
}

#[test]
fn names_come_in_order_and_can_be_left_out() {
    let entries: &[(&str, i32, &[f32])] = &[("b", 1, &[1.0]), ("a", 1, &[2.0]), ("c", 1, &[3.0])];
    let mut matrix = Imatrix::from_bytes(dat(entries, &[])).unwrap();
    matrix.retain(|name| name != "b");
    assert_eq!(matrix.iter().collect::<Vec<_>>(), [("a", &[2.0][..]), ("c", &[3.0])]);
    assert_eq!(matrix.importances("b"), None);
}

#[test]
fn files_are_read_from_disk_and_rewritten_as_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.dat"), dir.path().join("new.gguf"));
    std::fs::write(&old, dat(&[("t", 3, &[1.0, 2.0, 0.1])], &trailer(3, "wiki.txt"))).unwrap();
    let read = Imatrix::open(&old).unwrap();
    read.write_to(&new).unwrap();
    let again = Imatrix::open(&new).unwrap();
    assert_eq!(again.iter().collect::<Vec<_>>(), read.iter().collect::<Vec<_>>());
    assert_eq!((again.n_chunks(), again.chunk_size(), again.datasets()), (3, 512, read.datasets()));
    let file = GgufFile::open(&new).unwrap();
    let counts = file.tensor("t.counts").unwrap();
    assert_eq!(file.tensor_data(counts), floats(&[1536.0]));
    assert!(matches!(Imatrix::open(&dir.path().join("none")), Err(GgufError::Open { .. })));
}

#[test]
fn rewritten_gguf_keeps_sums_and_counts() {
    let tensors: &[(&str, &[f32], &[f32])] =
        &[("a", &[0.3, 0.7], &[3.0]), ("m", &[1.1, 2.2, 3.3, 4.4], &[0.0, 7.0])];
    let bytes = gguf(tensors).to_bytes().unwrap();
    assert_eq!(Imatrix::from_bytes(bytes.clone()).unwrap().writer().to_bytes().unwrap(), bytes);
}

#[test]
fn importances_fit_tensors_or_are_refused() {
    let entries = [("token_embd.weight", 2), ("blk.0.attn_q.weight", 2), ("blk.0.ffn_up_exps.weight", 12)];
    let matrix = Imatrix::from_importances(entries.map(|(name, n)| (name.to_owned(), vec![1.0; n]))).unwrap();
    let tensor = |name: &str, dims: &[u64]| {
        let data = vec![0; dims.iter().product::<u64>() as usize];
        let bytes = GgufWriter::new().add_tensor(name, GgmlType::I8, dims, data).to_bytes().unwrap();
        GgufFile::from_bytes(bytes).unwrap().tensors()[0].clone()
    };
    let length =
        |name, dims: &[u64]| matrix.importances_for(&tensor(name, dims)).map(|found| found.map(<[f32]>::len));
    assert_eq!(length("blk.0.attn_q.weight", &[2, 5]).unwrap(), Some(2));
    assert_eq!(length("blk.0.ffn_up_exps.weight", &[4, 5, 3]).unwrap(), Some(12));
    assert_eq!(length("blk.0.attn_v.weight", &[4, 5]).unwrap(), None);
    assert_eq!(length("token_embd.weight", &[4, 5]).unwrap(), None);
    let text = length("blk.0.attn_q.weight", &[4, 5]).unwrap_err().to_string();
    assert!(text.contains("`blk.0.attn_q.weight` has `4` columns") && text.contains("`2`"), "{text}");
}

#[test]
fn gguf_files_that_are_no_matrix_say_so() {
    let base = || GgufWriter::new().add("imatrix.chunk_count", 1_u32).add("imatrix.chunk_size", 1_u32);
    let text = |writer: GgufWriter| refusal(writer.to_bytes().unwrap());
    assert!(text(base()).contains("key `imatrix.datasets` is missing"));
    let other = gguf(&[("t", &[1.0], &[1.0])]);
    assert!(text(other.set("general.type", "model")).contains("`general.type` is `model`"));
    assert!(text(base().add("imatrix.datasets", 1_u32)).contains("array of strings"));
    assert!(text(gguf(&[]).remove("imatrix.chunk_size")).contains("key `imatrix.chunk_size` is missing"));
    assert!(text(gguf(&[]).set("imatrix.chunk_count", -1_i32)).contains("below 2^32"));
    assert!(text(gguf(&[])).contains("no tensors whose names end in `.in_sum2`"));
}

#[test]
fn gguf_tensors_that_break_a_rule_are_named() {
    let text = |writer: GgufWriter| refusal(writer.to_bytes().unwrap());
    let alone = |name: &str| gguf(&[]).add_tensor(name, GgmlType::F32, &[1], floats(&[1.0]));
    assert!(
        text(alone("t.in_sum2")).contains("tensor `t.in_sum2` has no counts; tensor `t.counts` is missing")
    );
    assert!(text(alone("t.counts")).contains("tensor `t.counts` has no sums"));
    let half = alone("t.counts").add_tensor("t.in_sum2", GgmlType::F16, &[1], vec![0; 2]);
    assert!(text(half).contains("has type `F16`"));
    let odd = alone("u.counts")
        .add_tensor("u.in_sum2", GgmlType::F32, &[2], floats(&[1.0, 2.0]))
        .add_tensor("t.counts", GgmlType::F32, &[3], floats(&[1.0; 3]))
        .add_tensor("t.in_sum2", GgmlType::F32, &[4], floats(&[1.0; 4]));
    assert!(text(odd).contains("`4` sums, which `3` counts do not divide"));
    let empty = alone("t.in_sum2").add_tensor("t.counts", GgmlType::F32, &[0], vec![]);
    assert!(text(empty).contains("`0` counts do not divide"));
    for (sums, counts, expected) in [
        (&[1.0, f32::NAN][..], &[1.0][..], "importance `NaN` for column `1`"),
        (&[f32::INFINITY], &[1.0], "importance `inf`"),
        (&[-0.5], &[1.0], "importance `-0.5`"),
        (&[1.0], &[f32::NAN], "count `NaN`"),
        (&[1.0], &[1e30], "is no number of tokens"),
    ] {
        let found = text(gguf(&[("t", sums, counts)]));
        assert!(found.contains(expected) && found.contains("tensor `t."), "{found}");
    }
}

#[test]
fn dat_files_that_break_a_rule_are_refused_at_their_place() {
    assert!(refusal(vec![]).contains("ends before its count of entries"));
    assert!(refusal(0_i32.to_le_bytes().to_vec()).contains("promises `0` entries"));
    assert!(refusal(b"not a matrix, but a text of some length".to_vec()).contains("neither GGUF nor `.dat`"));
    assert!(refusal(dat(&[("t", 1, &[])], &[])).contains("tensor `t` promises `0` importances"));
    assert!(refusal(dat(&[("t", 1, &[f32::NAN])], &[])).contains("importance `NaN`"));
    assert!(refusal(dat(&[("t", 2, &[1.0, -1.0])], &[])).contains("importance `-0.5` for column `1`"));
    let mut long = dat(&[("t", 1, &[1.0])], &[]);
    long[13..17].copy_from_slice(&i32::MAX.to_le_bytes());
    assert!(refusal(long).contains("promises importances of `8,589,934,588` bytes, but `4` follow"));
    let mut negative = dat(&[("t", 1, &[1.0])], &[]);
    negative[4..8].copy_from_slice(&(-1_i32).to_le_bytes());
    assert!(refusal(negative).contains("at byte 4"));
}

#[test]
fn every_truncation_is_refused_or_an_older_generation() {
    let whole = dat(&[("one", 1, &[1.0, 2.0]), ("two", 2, &[3.0])], &trailer(5, "wiki.txt"));
    // Without what newer files have at their end: nothing, or the number of chunks.
    let valid = [whole.len() - 16, whole.len() - 12, whole.len()];
    for length in 0..=whole.len() {
        let read = Imatrix::from_bytes(whole[..length].to_vec());
        assert_eq!(read.is_ok(), valid.contains(&length), "{length}");
    }
    let whole = gguf(&[("one", &[1.0, 2.0], &[1.0]), ("two", &[3.0], &[2.0])]).to_bytes().unwrap();
    let data_end = whole.len() - 28;
    for length in 0..data_end {
        assert!(Imatrix::from_bytes(whole[..length].to_vec()).is_err(), "{length}");
    }
}

#[test]
fn given_importances_are_checked() {
    let text = |entries: Vec<(&str, Vec<f32>)>| {
        let entries = entries.into_iter().map(|(name, values)| (name.to_owned(), values));
        Imatrix::from_importances(entries).unwrap_err().to_string()
    };
    assert!(text(vec![("t", vec![])]).contains("has no importances"));
    assert!(text(vec![("t", vec![f32::NAN])]).contains("importance `NaN`"));
    assert!(text(vec![("t", vec![1.0]), ("t", vec![1.0])]).contains("given twice"));
}

proptest! {
    #[test]
    fn any_matrix_survives_writing(
        entries in proptest::collection::btree_map("[a-z.]{1,12}", (proptest::collection::vec(0.0_f32..1e30, 1..9), 1..9_i32), 1..6),
    ) {
        let given: Vec<(&str, i32, &[f32])> =
            entries.iter().map(|(name, (values, calls))| (name.as_str(), *calls, values.as_slice())).collect();
        let read = Imatrix::from_bytes(dat(&given, &trailer(1, "x"))).unwrap();
        let again = Imatrix::from_bytes(read.writer().to_bytes().unwrap()).unwrap();
        prop_assert_eq!(again.iter().collect::<Vec<_>>(), read.iter().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_files_are_read_or_refused(at in 0..400_usize, with in proptest::collection::vec(any::<u8>(), 1..9)) {
        let whole = [
            dat(&[("one", 1, &[1.0, 2.0]), ("two", 2, &[3.0])], &trailer(5, "wiki.txt")),
            gguf(&[("one", &[1.0, 2.0], &[1.0]), ("two", &[3.0], &[2.0])]).to_bytes().unwrap(),
        ];
        for mut bytes in whole {
            let at = at % bytes.len();
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
            if let Ok(matrix) = Imatrix::from_bytes(bytes) {
                prop_assert!(matrix.iter().all(|(_, values)| values.iter().all(|value| *value >= 0.0 && value.is_finite())));
            }
        }
    }
}
