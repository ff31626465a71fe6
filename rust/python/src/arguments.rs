//! Python arguments to Rust values.

use crate::errors::value_error;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyString};
use tabagent_llama::MetadataOverride;

/// A value of a configuration's dict.
pub(crate) fn field<'py>(config: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    config.get_item(name).map_err(|e| {
        if e.is_instance_of::<PyKeyError>(config.py()) {
            PyTypeError::new_err(format!("`{name}` is missing"))
        } else {
            e
        }
    })
}

/// A field that is a number.
pub(crate) fn number(config: &Bound<'_, PyAny>, name: &str) -> PyResult<f32> {
    let value = field(config, name)?;
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, "a number", &value));
    }
    value.extract::<f64>().map(|v| v as f32).map_err(|_| wrong_type(name, "a number", &value))
}

/// A field that is an integer; `range` says which ones fit.
pub(crate) fn integer<T: TryFrom<i64>>(config: &Bound<'_, PyAny>, name: &str, range: &str) -> PyResult<T> {
    let value = field(config, name)?;
    if value.is_instance_of::<PyBool>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyString>()
    {
        return Err(wrong_type(name, "an integer", &value));
    }
    if !value.hasattr("__index__")? {
        return Err(wrong_type(name, "an integer", &value));
    }
    let out_of_range = || value_error(format!("`{name}` must be {range}, got `{value}`"));
    let wide = value.extract::<i64>().map_err(|_| out_of_range())?;
    T::try_from(wide).map_err(|_| out_of_range())
}

/// The error of a value of another type than `wanted`.
pub(crate) fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| "something else".to_owned(), |n| n.to_string());
    PyTypeError::new_err(format!("`{name}` must be {wanted}, got `{kind}`"))
}

/// Metadata overrides; Python's `bool` is an `int`, so it comes first.
pub(crate) fn overrides(values: &Bound<'_, PyDict>) -> PyResult<Vec<(String, MetadataOverride)>> {
    values
        .iter()
        .map(|(key, value)| {
            let key: String = key.extract()?;
            let value = if let Ok(flag) = value.cast::<PyBool>() {
                MetadataOverride::Bool(flag.is_true())
            } else if let Ok(text) = value.cast::<PyString>() {
                MetadataOverride::Str(text.to_str()?.to_owned())
            } else if value.is_instance_of::<PyFloat>() {
                MetadataOverride::Float(value.extract()?)
            } else if value.hasattr("__index__")? {
                let wide = value.extract::<i64>();
                let wide = wide.map_err(|_| {
                    value_error(format!("metadata override `{key}`: the number needs 64 bits or less"))
                })?;
                MetadataOverride::Int(wide)
            } else {
                return Err(wrong_type(&key, "an int, float, bool or str", &value));
            };
            Ok((key, value))
        })
        .collect()
}
