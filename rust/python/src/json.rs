//! Python objects as JSON, for what templates read: order of keys kept, objects with fields as their fields.

use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple, PyType};
use serde_json::{Map, Number, Value};

/// How deep objects may lie in each other.
const DEPTH: usize = 200;

/// The JSON of an object that errors call `path`: dicts and other mappings, lists, tuples, texts, numbers, dataclasses and pydantic models.
///
/// # Errors
/// A `TypeError` or `ValueError` that names the part which has no JSON.
pub(crate) fn json_of(object: &Bound<'_, PyAny>, path: &str) -> PyResult<Value> {
    inner(object, path, DEPTH)
}

fn inner(object: &Bound<'_, PyAny>, path: &str, room: usize) -> PyResult<Value> {
    if object.is_none() {
        return Ok(Value::Null);
    }
    // Python's `bool` is an `int`, so it comes first.
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::String(text.to_str()?.to_owned()));
    }
    if object.is_instance_of::<PyInt>()
        || (!object.is_instance_of::<PyFloat>() && object.hasattr("__index__")?)
    {
        if let Ok(number) = object.extract::<i64>() {
            return Ok(number.into());
        }
        let too_large = |_| PyValueError::new_err(format!("`{path}` is a whole number of more than 64 bits"));
        return object.extract::<u64>().map(Value::from).map_err(too_large);
    }
    if object.is_instance_of::<PyFloat>() {
        let number = object.extract::<f64>()?;
        let not_finite = || PyValueError::new_err(format!("`{path}` is not a finite number"));
        return Number::from_f64(number).map(Value::Number).ok_or_else(not_finite);
    }
    let Some(room) = room.checked_sub(1) else {
        return Err(PyRecursionError::new_err(format!(
            "`{path}` lies deeper than {DEPTH} levels, or holds itself"
        )));
    };
    if let Ok(fields) = object.cast::<PyDict>() {
        return object_of(fields.iter(), path, room);
    }
    if let Ok(items) = object.cast::<PyList>() {
        return list_of(items.iter(), path, room);
    }
    if let Ok(items) = object.cast::<PyTuple>() {
        return list_of(items.iter(), path, room);
    }
    if object.is_instance_of::<PyType>() {
        return Err(no_json(object, path));
    }
    if let Ok(fields) = object.getattr("__dataclass_fields__") {
        let mut map = Map::new();
        for name in fields.cast::<PyDict>()?.keys() {
            let name = name.extract::<String>()?;
            let value = inner(&object.getattr(name.as_str())?, &format!("{path}.{name}"), room)?;
            map.insert(name, value);
        }
        return Ok(Value::Object(map));
    }
    if let Ok(dump) = object.getattr("model_dump") {
        return inner(&dump.call0()?, path, room);
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let items = mapping.items()?;
        let pairs = items.iter().map(|pair| pair.extract()).collect::<PyResult<Vec<_>>>()?;
        return object_of(pairs.into_iter(), path, room);
    }
    Err(no_json(object, path))
}

fn list_of<'py>(items: impl Iterator<Item = Bound<'py, PyAny>>, path: &str, room: usize) -> PyResult<Value> {
    items
        .enumerate()
        .map(|(at, item)| inner(&item, &format!("{path}[{at}]"), room))
        .collect::<PyResult<_>>()
        .map(Value::Array)
}

fn object_of<'py>(
    pairs: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    path: &str,
    room: usize,
) -> PyResult<Value> {
    let mut map = Map::new();
    for (key, value) in pairs {
        let Ok(name) = key.cast::<PyString>() else {
            let kind = key.get_type().name()?;
            return Err(PyTypeError::new_err(format!("the keys of `{path}` must be str, got {kind}")));
        };
        let name = name.to_str()?.to_owned();
        let value = inner(&value, &format!("{path}.{name}"), room)?;
        map.insert(name, value);
    }
    Ok(Value::Object(map))
}

fn no_json(object: &Bound<'_, PyAny>, path: &str) -> PyErr {
    let kind = object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "`{path}` must be a dict, list, str, number, bool, None, a dataclass or a pydantic model, got {kind}"
    ))
}
