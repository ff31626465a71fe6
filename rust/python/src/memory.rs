//! What models and contexts take of memory, as dictionaries.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tabagent_model::{DeviceNeed, Fitted, MemoryNeed, MemoryPrediction};

pub(crate) fn need<'py>(py: Python<'py>, need: &MemoryNeed) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let MemoryNeed { mapped, weights, cache, compute, vocabulary } = need;
    for (name, bytes) in [
        ("mapped", mapped),
        ("weights", weights),
        ("cache", cache),
        ("compute", compute),
        ("vocabulary", vocabulary),
    ] {
        dict.set_item(name, bytes)?;
    }
    Ok(dict)
}

pub(crate) fn prediction<'py>(
    py: Python<'py>,
    prediction: &MemoryPrediction,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = need(py, &prediction.need)?;
    let (keys, values) = prediction.kv_types;
    dict.set_item("available", prediction.available)?;
    dict.set_item("gpu_layers", prediction.gpu_layers)?;
    let devices = prediction.devices.iter().map(|need| device(py, need)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("devices", devices)?;
    dict.set_item("context_size", prediction.context_size)?;
    dict.set_item("kv_types", (keys.name(), values.name()))?;
    Ok(dict)
}

fn device<'py>(py: Python<'py>, need: &DeviceNeed) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("device", &need.device)?;
    dict.set_item("layers", need.layers)?;
    for (name, bytes) in [
        ("weights", need.weights),
        ("cache", need.cache),
        ("compute", need.compute),
        ("free", need.free),
        ("margin", need.margin),
    ] {
        dict.set_item(name, bytes)?;
    }
    Ok(dict)
}

pub(crate) fn fitted<'py>(py: Python<'py>, fitted: &Fitted) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("asked", prediction(py, &fitted.asked)?)?;
    dict.set_item("taken", prediction(py, &fitted.taken)?)?;
    Ok(dict)
}
