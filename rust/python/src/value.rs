//! Python objects as the values that the core reads options from.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use tabagent_model::Value;

/// The value of an object: numbers of every kind that Python takes for one, texts, lists and tuples, dicts with texts as keys.
///
/// # Errors
/// What a key, or a number of a class of its own, raises; an error for a text with lone surrogates.
pub(crate) fn value_of(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if object.is_none() {
        return Ok(Value::Null);
    }
    // Python's `bool` is an `int`, so it comes first.
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::Text(text.to_str()?.to_owned()));
    }
    if object.is_instance_of::<PyFloat>() {
        return Ok(Value::Float(object.extract()?));
    }
    if object.is_instance_of::<PyInt>() || object.hasattr("__index__")? {
        // What 128 bits do not hold is beyond every range.
        return Ok(object.extract::<i128>().map_or_else(|_| other(object), Value::Int));
    }
    if let Ok(items) = object.cast::<PyList>() {
        return items.iter().map(|item| value_of(&item)).collect::<PyResult<_>>().map(Value::List);
    }
    if let Ok(items) = object.cast::<PyTuple>() {
        return items.iter().map(|item| value_of(&item)).collect::<PyResult<_>>().map(Value::List);
    }
    if let Ok(fields) = object.cast::<PyDict>() {
        let read =
            |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| Ok((key.extract()?, value_of(&value)?));
        return fields.iter().map(read).collect::<PyResult<_>>().map(Value::Map);
    }
    Ok(other(object))
}

fn other(object: &Bound<'_, PyAny>) -> Value {
    let kind = object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    Value::Other(kind)
}
