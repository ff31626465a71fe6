//! Python arguments to Rust values.

use crate::errors::value_error;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyString};
use tabagent_model::MetadataOverride;

/// The error of a value of another type than `wanted`.
fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
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
