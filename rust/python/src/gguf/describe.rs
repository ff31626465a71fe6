//! What a GGUF file says, without an engine.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use tabagent_gguf::{ByteOrder, GgufError, GgufFile, GgufModel, TensorInfo, Value, check_model, check_parts};

/// Metadata and tensors of a model, as JSON; only those of the file at `path` if other parts of the model are missing.
#[pyfunction]
pub(crate) fn gguf_info_json(py: Python<'_>, path: PathBuf, array_items: usize) -> PyResult<String> {
    let shown = path.to_string_lossy().into_owned();
    let described = job::run(py, move |_| match GgufModel::open(&path) {
        Ok(model) => Ok(describe(&model, &shown, array_items, None)),
        Err(missing @ GgufError::MissingParts { .. }) => {
            let model = GgufModel::from_parts(vec![GgufFile::open(&path)?])?;
            Ok(describe(&model, &shown, array_items, Some(&missing)))
        }
        Err(error) => Err(error),
    })?;
    described.map_err(|error: GgufError| error.into_py(py))
}

/// The contents of a model; `file` is its name and `fault` what is known to be wrong with it.
pub(crate) fn describe(
    model: &GgufModel,
    file: &str,
    array_items: usize,
    fault: Option<&GgufError>,
) -> String {
    let first = model.first();
    let metadata: Vec<Json> =
        model.metadata().iter().map(|(key, value)| entry(key, &value, array_items)).collect();
    let tensors: Vec<Json> = (0..)
        .zip(model.parts())
        .flat_map(|(part, file)| file.tensors().iter().map(move |info| tensor(info, part, file)))
        .collect();
    let split = first.split().filter(|_| model.parts().len() == 1);
    let problem = fault.map(ToString::to_string).or_else(|| problem(model).map(|error| error.to_string()));
    let description = json!({
        "file": file,
        "size": model.file_size(),
        "version": first.version(),
        "byte_order": if first.byte_order() == ByteOrder::Big { "big" } else { "little" },
        "alignment": first.alignment(),
        "architecture": first.architecture(),
        "split": split.map(|s| [u32::from(s.no), u32::from(s.count)]),
        "parts": model.parts().iter().map(GgufFile::file_name).collect::<Vec<_>>(),
        "metadata": metadata,
        "tensors": tensors,
        "problem": problem,
    });
    description.to_string()
}

/// Why llama.cpp could not load the model.
fn problem(model: &GgufModel) -> Option<GgufError> {
    let parts = || if model.parts().len() > 1 { check_parts(model.parts()) } else { Ok(()) };
    check_model(model.first()).and_then(|()| parts()).err()
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

fn tensor(info: &TensorInfo, part: u32, file: &GgufFile) -> Json {
    json!({
        "name": info.name,
        "type": info.ggml_type.name(),
        "shape": info.shape.dims(),
        "part": part,
        "offset": file.data_start(info),
        "bytes": info.n_bytes,
    })
}
