//! What a GGUF file says, without an engine.

use crate::errors::IntoPyErr;
use pyo3::prelude::*;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use tabagent_gguf::{GgufError, GgufFile, TensorInfo, Value, check_model};

/// Metadata and tensors of a GGUF file, as JSON.
#[pyfunction]
pub(crate) fn gguf_info_json(py: Python<'_>, path: PathBuf, array_items: usize) -> PyResult<String> {
    py.detach(|| describe(&path, array_items)).map_err(|e| e.into_py(py))
}

fn describe(path: &std::path::Path, array_items: usize) -> Result<String, GgufError> {
    let file = GgufFile::open(path)?;
    let metadata: Vec<Json> =
        file.metadata().iter().map(|(key, value)| entry(key, &value, array_items)).collect();
    let tensors: Vec<Json> = file.tensors().iter().map(tensor).collect();
    let description = json!({
        "file": path.to_string_lossy(),
        "size": file.file_size(),
        "version": file.version(),
        "alignment": file.alignment(),
        "architecture": file.architecture(),
        "split": file.split().map(|s| [u32::from(s.no), u32::from(s.count)]),
        "metadata": metadata,
        "tensors": tensors,
        "problem": check_model(&file).err().map(|e| e.to_string()),
    });
    Ok(description.to_string())
}

fn entry(key: &str, value: &Value<'_>, array_items: usize) -> Json {
    match value {
        Value::Array(array) => json!({
            "key": key,
            "type": format!("array of {}", array.item_type()),
            "value": array.iter().take(array_items).map(|item| scalar(&item, array_items)).collect::<Vec<_>>(),
            "length": array.len(),
        }),
        other => json!({
            "key": key,
            "type": other.value_type().to_string(),
            "value": scalar(other, array_items),
            "length": Json::Null,
        }),
    }
}

fn scalar(value: &Value<'_>, array_items: usize) -> Json {
    match value {
        Value::U8(v) => (*v).into(),
        Value::I8(v) => (*v).into(),
        Value::U16(v) => (*v).into(),
        Value::I16(v) => (*v).into(),
        Value::U32(v) => (*v).into(),
        Value::I32(v) => (*v).into(),
        Value::U64(v) => (*v).into(),
        Value::I64(v) => (*v).into(),
        // JSON has no NaN and no infinity: they become null.
        Value::F32(v) => f64::from(*v).into(),
        Value::F64(v) => (*v).into(),
        Value::Bool(v) => (*v).into(),
        Value::String(text) => text.to_string_lossy().into(),
        Value::Array(array) => {
            array.iter().take(array_items).map(|item| scalar(&item, array_items)).collect()
        }
    }
}

fn tensor(info: &TensorInfo) -> Json {
    json!({
        "name": info.name,
        "type": info.ggml_type.name(),
        "shape": info.shape.dims(),
        "offset": info.offset,
        "bytes": info.n_bytes,
    })
}
