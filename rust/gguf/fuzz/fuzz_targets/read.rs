//! Opens any bytes as a GGUF file, reads all that it holds, checks it as a model, and writes it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tabagent_gguf::{GgufFile, GgufModel, GgufWriter, Header, Value, check_data, check_model, no_progress};

fuzz_target!(|bytes: &[u8]| {
    for known in [bytes.len() / 2, bytes.len()] {
        let beginning = bytes[..known].to_vec();
        if let Ok(Header::Needs(needed)) = GgufFile::from_beginning(beginning, bytes.len() as u64, "fuzz") {
            assert!(needed > known as u64 && needed <= bytes.len() as u64);
        }
    }
    let Ok(file) = GgufFile::from_bytes(bytes.to_vec()) else { return };
    for (key, value) in file.metadata().iter() {
        read(&value);
        if let Some(array) = file.metadata().shared_array(key) {
            for index in [0, array.len() / 2, array.len().wrapping_sub(1), array.len()] {
                assert_eq!(array.get(index).is_some(), index < array.len());
            }
        }
    }
    for tensor in file.tensors() {
        assert_eq!(file.tensor_data(tensor).len() as u64, tensor.n_bytes);
    }
    let _ = check_model(&file);
    let again = GgufWriter::of_file(&file).to_bytes().expect("what was read can be written");
    let written = GgufFile::from_bytes(again).expect("what was written can be read");
    assert_eq!(written.metadata().len(), file.metadata().len());
    assert_eq!(written.tensors().len(), file.tensors().len());
    let model = GgufModel::from_parts(vec![file]).expect("one file is a model");
    let _ = check_data(&model, &no_progress);
});

fn read(value: &Value<'_>) {
    if let Value::Array(array) = value {
        assert_eq!(array.iter().inspect(read).count(), array.len());
    }
}
