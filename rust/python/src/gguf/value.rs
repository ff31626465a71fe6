//! Metadata values to Python and back.

use crate::errors::value_error;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBoolMethods, PyBytes, PyFloat, PyInt, PyString};
use tabagent_gguf::{OwnedArray, OwnedValue, Value, ValueType};

/// Any value but an array, as a Python object. Bytes of a string that are not UTF-8 become lone surrogates, as in file names.
pub(crate) fn scalar<'py>(py: Python<'py>, value: &Value<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::U8(v) => v.into_pyobject(py)?.into_any(),
        Value::I8(v) => v.into_pyobject(py)?.into_any(),
        Value::U16(v) => v.into_pyobject(py)?.into_any(),
        Value::I16(v) => v.into_pyobject(py)?.into_any(),
        Value::U32(v) => v.into_pyobject(py)?.into_any(),
        Value::I32(v) => v.into_pyobject(py)?.into_any(),
        Value::U64(v) => v.into_pyobject(py)?.into_any(),
        Value::I64(v) => v.into_pyobject(py)?.into_any(),
        Value::F32(v) => PyFloat::new(py, f64::from(*v)).into_any(),
        Value::F64(v) => PyFloat::new(py, *v).into_any(),
        Value::Bool(v) => PyBool::new(py, *v).to_owned().into_any(),
        Value::String(text) => match text.to_str() {
            Some(text) => PyString::new(py, text).into_any(),
            None => PyBytes::new(py, text.as_bytes()).call_method1("decode", ("utf-8", "surrogateescape"))?,
        },
        Value::Array(_) => return Err(PyTypeError::new_err("an array is no single value")),
    })
}

/// The value type that llama.cpp calls `name`.
pub(crate) fn type_named(name: &str) -> PyResult<ValueType> {
    (0..)
        .map_while(ValueType::from_id)
        .find(|kind| kind.name() == name)
        .ok_or_else(|| value_error(format!("`{name}` is no type of metadata; the types are `u8` `i8` `u16` `i16` `u32` `i32` `u64` `i64` `f32` `f64` `bool` `str` and `arr[...]` of these")))
}

/// A value of the type written `u32`, `str` or `arr[arr[f32]]`, from the Python value that fits it.
pub(crate) fn owned(value: &Bound<'_, PyAny>, kind: &str) -> PyResult<OwnedValue> {
    if let Some(item) = kind.strip_prefix("arr[").and_then(|rest| rest.strip_suffix(']')) {
        return Ok(OwnedValue::Array(owned_array(value, item)?));
    }
    Ok(match type_named(kind)? {
        ValueType::U8 => OwnedValue::U8(number(value, kind)?),
        ValueType::I8 => OwnedValue::I8(number(value, kind)?),
        ValueType::U16 => OwnedValue::U16(number(value, kind)?),
        ValueType::I16 => OwnedValue::I16(number(value, kind)?),
        ValueType::U32 => OwnedValue::U32(number(value, kind)?),
        ValueType::I32 => OwnedValue::I32(number(value, kind)?),
        ValueType::U64 => OwnedValue::U64(number(value, kind)?),
        ValueType::I64 => OwnedValue::I64(number(value, kind)?),
        ValueType::F32 => OwnedValue::F32(float(value, kind)? as f32),
        ValueType::F64 => OwnedValue::F64(float(value, kind)?),
        ValueType::Bool => OwnedValue::Bool(truth(value, kind)?),
        ValueType::String => OwnedValue::String(text(value, kind)?),
        ValueType::Array => {
            return Err(value_error("`arr` does not say what its items are; write `arr[u32]` or the like"));
        }
    })
}

fn owned_array(items: &Bound<'_, PyAny>, kind: &str) -> PyResult<OwnedArray> {
    fn all<'py, T>(
        items: &Bound<'py, PyAny>,
        kind: &str,
        one: impl Fn(&Bound<'py, PyAny>, &str) -> PyResult<T>,
    ) -> PyResult<Vec<T>> {
        items.try_iter()?.map(|item| one(&item?, kind)).collect()
    }
    if items.is_instance_of::<PyString>() || items.is_instance_of::<PyBytes>() {
        return Err(wrong(items, &format!("arr[{kind}]")));
    }
    if let Some(item) = kind.strip_prefix("arr[").and_then(|rest| rest.strip_suffix(']')) {
        return Ok(OwnedArray::Array(all(items, item, owned_array)?));
    }
    Ok(match type_named(kind)? {
        ValueType::U8 => OwnedArray::U8(all(items, kind, number)?),
        ValueType::I8 => OwnedArray::I8(all(items, kind, number)?),
        ValueType::U16 => OwnedArray::U16(all(items, kind, number)?),
        ValueType::I16 => OwnedArray::I16(all(items, kind, number)?),
        ValueType::U32 => OwnedArray::U32(all(items, kind, number)?),
        ValueType::I32 => OwnedArray::I32(all(items, kind, number)?),
        ValueType::U64 => OwnedArray::U64(all(items, kind, number)?),
        ValueType::I64 => OwnedArray::I64(all(items, kind, number)?),
        ValueType::F32 => OwnedArray::F32(all(items, kind, |item, kind| Ok(float(item, kind)? as f32))?),
        ValueType::F64 => OwnedArray::F64(all(items, kind, float)?),
        ValueType::Bool => OwnedArray::Bool(all(items, kind, truth)?),
        ValueType::String => OwnedArray::String(all(items, kind, text)?),
        ValueType::Array => return Err(value_error("`arr` does not say what its items are")),
    })
}

fn number<'py, T: FromPyObjectOwned<'py, Error = PyErr>>(
    value: &Bound<'py, PyAny>,
    kind: &str,
) -> PyResult<T> {
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(wrong(value, kind));
    }
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            return value_error(format!("`{value}` does not fit in `{kind}`"));
        }
        error
    })
}

fn float(value: &Bound<'_, PyAny>, kind: &str) -> PyResult<f64> {
    if value.is_instance_of::<PyFloat>()
        || (value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>())
    {
        return value.extract();
    }
    Err(wrong(value, kind))
}

fn truth(value: &Bound<'_, PyAny>, kind: &str) -> PyResult<bool> {
    value.cast::<PyBool>().map(PyBoolMethods::is_true).map_err(|_| wrong(value, kind))
}

fn text(value: &Bound<'_, PyAny>, kind: &str) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let Ok(text) = value.cast::<PyString>() else {
        return Err(wrong(value, kind));
    };
    let bytes = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes().to_vec())
}

fn wrong(value: &Bound<'_, PyAny>, kind: &str) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("a value of type `{kind}` cannot be made of `{found}`"))
}
