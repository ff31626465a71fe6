//! Checkpoints for tests.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

/// Writes tensors of F32: name, shape (rows first), numbers.
pub(crate) fn write_safetensors<N: Clone + Into<Json>>(path: &Path, tensors: &[(String, Vec<N>, Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": Json::from(shape.clone()), "data_offsets": [start, data.len()]}),
        );
    }
    let header = Json::Object(header).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()).unwrap();
}
