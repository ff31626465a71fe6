//! The format: versions, byte orders, broken files of every kind, and writing what is read.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{Model, Raw};
use proptest::prelude::*;
use tabagent_gguf::{
    ByteOrder, GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, OwnedArray, OwnedValue, Subject, Value,
    ValueType, check_data, check_model, no_progress,
};

/// A file with a number, an array of strings and a tensor, in any version and byte order.
fn hand_made(version: u32, big: bool) -> Raw {
    let mut raw = Raw::new(version, big, 1, 3);
    raw.string(b"general.architecture").u32(8).string(b"llama");
    raw.string(b"llama.block_count").u32(4).u32(0x0102_0304);
    raw.string(b"tokenizer.ggml.tokens").u32(9).u32(8).length(2).string(b"a").string("é".as_bytes());
    raw.tensor("t", &[4, 2], 0, 0).data(32, 32);
    raw
}

#[test]
fn all_versions_and_byte_orders_are_read() {
    for version in 1..=3 {
        for big in [false, true] {
            let file = hand_made(version, big).open().unwrap();
            assert_eq!(file.version(), version);
            assert_eq!(file.byte_order(), if big { ByteOrder::Big } else { ByteOrder::Little });
            assert_eq!(file.architecture(), Some("llama"));
            assert_eq!(file.metadata().get("llama.block_count"), Some(Value::U32(0x0102_0304)));
            let tokens = file.metadata().get("tokenizer.ggml.tokens").unwrap().as_array().unwrap();
            let texts: Vec<_> = tokens.strings().unwrap().map(|text| text.to_str().unwrap()).collect();
            assert_eq!(texts, ["a", "é"]);
            let tensor = file.tensor("t").unwrap();
            assert_eq!(
                (tensor.ggml_type, tensor.shape.dims(), tensor.n_bytes),
                (GgmlType::F32, &[4, 2][..], 32)
            );
            assert_eq!(file.tensor_data(tensor).len(), 32);
            assert_eq!(file.data_offset() % 32, 0);
            assert_eq!(file.data_offset() + 32, file.file_size());
        }
    }
}

#[test]
fn metadata_keeps_its_order() {
    let file = hand_made(3, false).open().unwrap();
    let keys: Vec<&str> = file.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.architecture", "llama.block_count", "tokenizer.ggml.tokens"]);
    assert_eq!(file.metadata().len(), 3);
    assert_eq!(file.metadata().get("absent"), None);
}

#[test]
fn every_truncation_is_refused() {
    let mut model = Model::llama();
    model.set("tokenizer.ggml.merges", vec!["a b"]);
    model.tensors.truncate(2);
    for bytes in [model.bytes(), hand_made(1, false).bytes, hand_made(2, true).bytes] {
        GgufFile::from_bytes(bytes.clone()).unwrap();
        for length in 0..bytes.len() {
            let error = GgufFile::from_bytes(bytes[..length].to_vec()).unwrap_err();
            let GgufError::Invalid { offset, .. } = error else { panic!("{error}") };
            assert!(offset <= length as u64, "{offset} in {length}");
        }
    }
}

#[test]
fn headers_that_are_no_gguf_are_refused() {
    let refusal = |bytes: &[u8]| GgufFile::from_bytes(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(
        refusal(b"GGML\x03\0\0\0"),
        "`memory.gguf` at byte 0: the header starts with `GGML`, but a GGUF file starts with `GGUF`"
    );
    assert!(refusal(b"").contains("the header ends before its counts"));
    for version in [0, 4, 0x0000_0400, 0x0004_0000] {
        let text = Raw::new(version, false, 0, 0).refusal();
        assert!(text.starts_with("`memory.gguf` at byte 4: the header has version"), "{text}");
    }
}

#[test]
fn counts_beyond_the_file_are_refused_before_memory_is_taken() {
    for (n_tensors, n_entries, what) in [
        (u64::MAX, 0, "tensors"),
        (0, u64::MAX, "metadata entries"),
        (1 << 40, 0, "tensors"),
        (0, 1, "metadata entries"),
    ] {
        let text = Raw::new(3, false, n_tensors, n_entries).refusal();
        assert!(text.contains(&format!("{what}, but only `0` bytes follow")), "{text}");
    }
    let text = Raw::new(3, false, 0, 1).string(b"k").u32(8).u64(1 << 62).data(1, 64).refusal();
    assert!(text.contains("key `k` claims `4,611,686,018,427,387,904` bytes"), "{text}");
    let text = Raw::new(3, false, 0, 1).string(b"k").u32(9).u32(4).u64(1 << 29).data(1, 64).refusal();
    assert!(text.ends_with(
        "key `k` claims `536,870,912` items, but only `64` bytes are left; the file is cut off or damaged"
    ));
    let text = Raw::new(3, false, 0, 1).string(b"k").u32(9).u32(8).u64(9).data(1, 64).refusal();
    assert!(text.contains("claims `9` items"), "{text}");
    let text = Raw::new(3, false, 0, 1).u64(1 << 33).data(1, 64).refusal();
    assert!(text.contains("has key number `0` with a name of `8,589,934,592` bytes"), "{text}");
}

#[test]
fn keys_and_types_are_checked() {
    let text = Raw::new(3, false, 0, 2).string(b"k").u32(4).u32(1).string(b"k").u32(4).u32(2).refusal();
    assert!(text.ends_with("key `k` is there twice, but keys must be unique"), "{text}");
    let text = Raw::new(3, false, 0, 1).string(b"k").u32(13).data(1, 8).refusal();
    assert!(text.ends_with("key `k` has value type `13`, but the types of GGUF are `0` to `12`"), "{text}");
    let text = Raw::new(3, false, 0, 1).string(b"k").u32(9).u32(77).u64(0).refusal();
    assert!(text.ends_with("key `k` has value type `77`, but the types of GGUF are `0` to `12`"), "{text}");
    let text = Raw::new(3, false, 0, 1).string(b"").u32(4).u32(1).refusal();
    assert!(text.ends_with("key `` is empty, but every key has a name"), "{text}");
    let text = Raw::new(3, false, 0, 1).string(b"\xff\xfe").u32(4).u32(1).refusal();
    assert!(text.contains("which is not UTF-8"), "{text}");
}

#[test]
fn nesting_is_bounded() {
    for (depth, accepted) in [(1, true), (4, true), (5, false), (5000, false)] {
        let mut raw = Raw::new(3, false, 0, 1);
        raw.string(b"k").u32(9);
        for _ in 1..depth {
            raw.u32(9).u64(1);
        }
        raw.u32(0).u64(1).data(1, 1);
        match raw.open() {
            Ok(file) => {
                assert!(accepted, "{depth}");
                let mut value = file.metadata().get("k").unwrap();
                for _ in 0..depth {
                    value = value.as_array().unwrap().iter().next().unwrap();
                }
                assert_eq!(value, Value::U8(0));
            }
            Err(error) => {
                assert!(!accepted, "{depth}: {error}");
                assert!(error.to_string().ends_with("has arrays nested more than `4` deep"), "{error}");
            }
        }
    }
}

#[test]
fn alignment_must_be_a_power_of_two() {
    for alignment in [0_u32, 3, 24, u32::MAX] {
        let text = Raw::new(3, false, 0, 1).string(b"general.alignment").u32(4).u32(alignment).refusal();
        assert_eq!(
            text,
            format!(
                "`memory.gguf` at byte 24: key `general.alignment` is `{alignment}`, but it must be a power of two"
            )
        );
    }
    let text = Raw::new(3, false, 0, 1).string(b"general.alignment").u32(10).u64(32).refusal();
    assert!(text.ends_with("key `general.alignment` has type `u64`, but it must be `u32`"), "{text}");
    let mut raw = Raw::new(3, false, 1, 1);
    raw.string(b"general.alignment").u32(4).u32(4096).tensor("t", &[1], 0, 0).data(4096, 4);
    assert_eq!(raw.open().unwrap().data_offset(), 4096);
}

#[test]
fn tensor_records_are_checked() {
    let refusal = |dims: &[u64], type_id, offset| {
        Raw::new(3, false, 1, 0).tensor("t", dims, type_id, offset).data(32, 64).refusal()
    };
    let cases = [
        (refusal(&[1; 5], 0, 0), "has `5` dimensions, but ggml allows `4`"),
        (refusal(&[1 << 32, 1 << 32], 0, 0), "whose number of elements overflows 63 bits"),
        (refusal(&[0, 1 << 32, 1 << 32], 0, 0), "whose number of elements overflows 63 bits"),
        (refusal(&[1 << 62], 28, 0), "whose size in bytes overflows 64 bits"),
        (refusal(&[4], 4, 0), "has ggml type `4`, which is unknown or was removed from ggml"),
        (refusal(&[4], 99, 0), "has ggml type `99`, which is unknown or was removed from ggml"),
        (refusal(&[33], 2, 0), "has rows of `33` weights, but type `Q4_0` packs them in blocks of `32`"),
        (refusal(&[4], 0, 16), "has offset `16`, which is no multiple of the alignment `32`"),
        (refusal(&[4], 0, 32), "has offset `32`, but the tensors before it end at `0`"),
        (refusal(&[4], 0, u64::MAX - 31), "but the tensors before it end at `0`"),
        (refusal(&[64], 0, 0), "but the file has only `128`; it is cut off"),
    ];
    for (text, rule) in cases {
        assert!(text.contains("tensor `t` ") && text.ends_with(rule), "{text}");
    }
    let long = "n".repeat(64);
    let text = Raw::new(3, false, 1, 0).tensor(&long, &[1], 0, 0).data(32, 64).refusal();
    assert!(text.ends_with("has a name of `64` bytes, but ggml allows `63`"), "{text}");
}

#[test]
fn tensors_must_be_unique_and_must_not_overlap() {
    let refusal = |name, offset| {
        Raw::new(3, false, 2, 0)
            .tensor("a", &[16], 0, 0)
            .tensor(name, &[8], 0, offset)
            .data(32, 256)
            .refusal()
    };
    assert!(refusal("a", 64).ends_with("tensor `a` is there twice, but names must be unique"));
    assert!(refusal("b", 32).ends_with("tensor `b` has offset `32`, but the tensors before it end at `64`"));
    assert!(refusal("b", 96).ends_with("tensor `b` has offset `96`, but the tensors before it end at `64`"));
}

/// A small generator with a seed (xorshift64*), so that every run mutates alike.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn mutations_never_panic() {
    let originals = [Model::llama().bytes(), Model::byte_pair().bytes(), hand_made(1, true).bytes];
    let mut random = Random(0x7AB_A6E7);
    let (mut opened, mut refused, mut usable) = (0, 0, 0);
    for round in 0..6000 {
        let mut bytes = originals[round % originals.len()].clone();
        // Mostly the metadata, where the structure is.
        let reach = if round % 4 == 0 { bytes.len() } else { bytes.len().min(700) };
        for _ in 0..=random.below(4) {
            let at = random.below(reach.min(bytes.len()));
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff),
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(file) = GgufFile::from_bytes(bytes) else {
            refused += 1;
            continue;
        };
        opened += 1;
        usable += usize::from(check_model(&file).is_ok());
        for (_, value) in file.metadata().iter() {
            if let Some(array) = value.as_array() {
                assert_eq!(array.iter().count(), array.len());
            }
        }
        for tensor in file.tensors() {
            assert_eq!(file.tensor_data(tensor).len() as u64, tensor.n_bytes);
        }
        // What can be read can be written, and read again.
        let again = GgufFile::from_bytes(GgufWriter::of_file(&file).to_bytes().unwrap()).unwrap();
        assert_eq!(again.metadata().len(), file.metadata().len());
        assert_eq!(again.tensors().len(), file.tensors().len());
        let _ = check_data(&GgufModel::from_parts(vec![file]).unwrap(), &no_progress);
    }
    assert!(opened > 500 && refused > 500 && usable > 50, "{opened} {refused} {usable}");
    if let Some(peak_kib) = peak_memory_kib() {
        assert!(peak_kib < 256 * 1024, "files of some 30 KiB took {peak_kib} KiB of memory");
    }
}

#[test]
fn seeds_of_the_fuzzer_are_read_without_a_panic() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut opened = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let Ok(file) = GgufFile::open(&entry.unwrap().path()) else { continue };
        opened += 1;
        let _ = check_model(&file);
        let again = GgufWriter::of_file(&file).to_bytes().unwrap();
        assert_eq!(GgufFile::from_bytes(again).unwrap().tensors().len(), file.tensors().len());
    }
    assert!(opened >= 6, "only {opened} seeds are good files");
}

/// The most memory that this process ever held, where the system says.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn any_array() -> impl Strategy<Value = OwnedArray> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![
        bytes().prop_map(OwnedArray::U8),
        prop::collection::vec(any::<i8>(), 0..5).prop_map(OwnedArray::I8),
        prop::collection::vec(any::<u16>(), 0..5).prop_map(OwnedArray::U16),
        prop::collection::vec(any::<i16>(), 0..5).prop_map(OwnedArray::I16),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(OwnedArray::U32),
        prop::collection::vec(any::<i32>(), 0..5).prop_map(OwnedArray::I32),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(OwnedArray::U64),
        prop::collection::vec(any::<i64>(), 0..5).prop_map(OwnedArray::I64),
        prop::collection::vec(any::<f32>(), 0..5).prop_map(OwnedArray::F32),
        prop::collection::vec(any::<f64>(), 0..5).prop_map(OwnedArray::F64),
        prop::collection::vec(any::<bool>(), 0..5).prop_map(OwnedArray::Bool),
        prop::collection::vec(bytes(), 0..5).prop_map(OwnedArray::String),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(OwnedArray::Array))
}

fn any_value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<u8>().prop_map(OwnedValue::U8),
        any::<i8>().prop_map(OwnedValue::I8),
        any::<u16>().prop_map(OwnedValue::U16),
        any::<i16>().prop_map(OwnedValue::I16),
        any::<u32>().prop_map(OwnedValue::U32),
        any::<i32>().prop_map(OwnedValue::I32),
        any::<u64>().prop_map(OwnedValue::U64),
        any::<i64>().prop_map(OwnedValue::I64),
        any::<f32>().prop_map(OwnedValue::F32),
        any::<f64>().prop_map(OwnedValue::F64),
        any::<bool>().prop_map(OwnedValue::Bool),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(OwnedValue::String),
        any_array().prop_map(OwnedValue::Array),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        entries in prop::collection::btree_map("[a-z.]{1,20}", any_value(), 0..8),
        tensors in prop::collection::btree_map(
            "[a-z.]{0,63}",
            (prop::sample::select(GgmlType::ALL), 0_u64..3, 0_u64..4, any::<u8>()),
            0..5,
        ),
        alignment in prop::option::of(0_u32..8),
    ) {
        let mut writer = GgufWriter::new();
        for (key, value) in &entries {
            writer = writer.add(key, value.clone());
        }
        if let Some(exponent) = alignment {
            writer = writer.add("general.alignment", 1_u32 << exponent);
        }
        for (name, &(kind, blocks, rows, fill)) in &tensors {
            let dims = [blocks * kind.block_size(), rows];
            let size = kind.n_bytes(dims.iter().product()).unwrap() as usize;
            writer = writer.add_tensor(name, kind, &dims, vec![fill; size]);
        }
        let bytes = writer.to_bytes().unwrap();
        let file = GgufFile::from_bytes(bytes.clone()).unwrap();
        prop_assert_eq!(file.metadata().len(), entries.len() + usize::from(alignment.is_some()));
        prop_assert_eq!(file.alignment(), alignment.map_or(32, |exponent| 1 << exponent));
        // NaNs differ from themselves, so the second writing is what is compared.
        let mut again = GgufWriter::new();
        for (key, value) in file.metadata().iter() {
            if let Some(given) = entries.get(key) {
                prop_assert_eq!(value.value_type(), given.value_type());
            }
            again = again.add(key, OwnedValue::from(value));
        }
        for (tensor, (name, &(kind, _, rows, fill))) in file.tensors().iter().zip(&tensors) {
            prop_assert_eq!((&tensor.name, tensor.ggml_type, tensor.shape.dim(1)), (name, kind, rows));
            let data = file.tensor_data(tensor);
            prop_assert!(data.iter().all(|&byte| byte == fill));
            again = again.add_tensor(&tensor.name, tensor.ggml_type, tensor.shape.dims(), data.to_vec());
        }
        prop_assert_eq!(file.tensors().len(), tensors.len());
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn items_of_number_arrays_are_reached_directly() {
    let file = GgufFile::from_bytes(GgufWriter::new().add("k", vec![7_i16, -8]).to_bytes().unwrap()).unwrap();
    let array = file.metadata().get("k").unwrap().as_array().unwrap();
    assert_eq!(array.item_type(), ValueType::I16);
    assert_eq!((array.get(0), array.get(1), array.get(2)), (Some(Value::I16(7)), Some(Value::I16(-8)), None));
    assert_eq!(array.get(usize::MAX), None);
}

#[test]
fn writer_refuses_what_the_reader_would() {
    let tensor = |kind, dims: &[u64], size| GgufWriter::new().add_tensor("t", kind, dims, vec![0; size]);
    let cases = [
        (GgufWriter::new().add("k", 1_u8).add("k", 2_u8), "key `k` was added twice; keys must be unique"),
        (GgufWriter::new().add("", 1_u8), "key `` is empty; give every key a name"),
        (GgufWriter::new().add("general.alignment", 3_u32), "must be a `u32` that is a power of two"),
        (
            tensor(GgmlType::F32, &[2], 7),
            "has `7` bytes of data, but shape `[2]` of type `F32` takes another size",
        ),
        (
            tensor(GgmlType::Q4_0, &[31], 18),
            "has rows of `31` weights, but type `Q4_0` packs them in blocks of `32`",
        ),
        (
            tensor(GgmlType::F32, &[1; 5], 4),
            "has shape `[1, 1, 1, 1, 1]`, but ggml allows `4` dimensions and 63 bits",
        ),
        (
            tensor(GgmlType::F32, &[1], 4).add_tensor("t", GgmlType::F32, &[1], vec![0; 4]),
            "tensor `t` was added twice",
        ),
    ];
    for (writer, rule) in cases {
        let text = writer.to_bytes().unwrap_err().to_string();
        assert!(text.starts_with("cannot write the GGUF file: ") && text.contains(rule), "{text}");
    }
}

#[test]
fn a_written_file_replaces_the_old_one_whole_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    Model::llama().writer().write_to(&path).unwrap();
    let mapped = GgufFile::open(&path).unwrap();
    let replaced = Model::byte_pair().writer().write_to(&path);
    assert_eq!(mapped.metadata().get("tokenizer.ggml.model").unwrap().as_str(), Some("llama"));
    if cfg!(windows) {
        let error = replaced.unwrap_err().to_string();
        assert!(error.contains("close it there first"), "{error}");
        drop(mapped);
        Model::byte_pair().writer().write_to(&path).unwrap();
    } else {
        replaced.unwrap();
    }
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.metadata().get("tokenizer.ggml.model").unwrap().as_str(), Some("gpt2"));
    assert_eq!(std::fs::read(&path).unwrap(), Model::byte_pair().bytes());
    assert!(GgufWriter::new().add("", 1_u8).write_to(&path).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let error = Model::llama().writer().write_to(&dir.path().join("absent/model.gguf")).unwrap_err();
    assert!(matches!(error, GgufError::Write { .. }), "{error}");
}

#[test]
fn open_names_the_file_in_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.gguf");
    let error = GgufFile::open(&path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot open `{}`: ", path.display())), "{error}");
    assert!(GgufFile::open(dir.path()).unwrap_err().to_string().contains("it is not a regular file"));
    std::fs::write(&path, b"").unwrap();
    assert!(
        GgufFile::open(&path).unwrap_err().to_string().starts_with("`broken.gguf` at byte 0: the header")
    );
    let mut raw = Raw::new(3, false, 0, 1);
    raw.string(b"k").u32(99).data(1, 8);
    std::fs::write(&path, &raw.bytes).unwrap();
    let GgufError::Invalid { file, offset, subject, .. } = GgufFile::open(&path).unwrap_err() else {
        panic!()
    };
    assert_eq!((file.as_str(), offset, subject), ("broken.gguf", 24, Subject::Key("k".to_owned())));
}

#[test]
fn a_last_tensor_without_padding_and_version_1_are_taken_on_purpose() {
    let mut raw = Raw::new(3, false, 1, 0);
    raw.tensor("t", &[3], 0, 0).data(32, 12);
    assert_eq!(raw.bytes.len() % 32, 12, "nothing follows the tensor");
    let file = raw.open().unwrap();
    assert_eq!(file.tensor_data(&file.tensors()[0]), [0; 12]);
    raw.bytes.pop();
    assert!(raw.refusal().contains("it is cut off"));

    let old = hand_made(1, false).open().unwrap();
    assert_eq!(old.version(), 1);
    let text = tabagent_gguf::check_model(&old).unwrap_err().to_string();
    assert!(text.contains("version `1`, which llama.cpp no longer reads"), "{text}");
}
