//! Python arguments to Rust values.

use crate::errors::value_error;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyString};
use tabagent_llama::MetadataOverride;
use tabagent_sampling::{SamplerConfig, Stage};

/// Checks the fields of a `SamplerConfig`.
#[pyfunction]
pub(crate) fn check_sampling(config: &Bound<'_, PyAny>) -> PyResult<()> {
    sampler_config(config)?.validate().map_err(value_error)
}

/// A `SamplerConfig` from its `to_dict()`. Ranges are checked by whoever makes a sampler of it.
pub(crate) fn sampler_config(config: &Bound<'_, PyAny>) -> PyResult<SamplerConfig> {
    Ok(SamplerConfig {
        temperature: number(config, "temperature")?,
        top_k: integer(config, "top_k", "an integer of at least 0")?,
        top_p: number(config, "top_p")?,
        min_p: number(config, "min_p")?,
        typical_p: number(config, "typical_p")?,
        min_keep: integer(config, "min_keep", "an integer of at least 1")?,
        repeat_penalty: number(config, "repeat_penalty")?,
        repeat_window: integer(config, "repeat_window", "an integer of at least -1")?,
        frequency_penalty: number(config, "frequency_penalty")?,
        presence_penalty: number(config, "presence_penalty")?,
        mirostat: integer(config, "mirostat", "0, 1 or 2")?,
        mirostat_tau: number(config, "mirostat_tau")?,
        mirostat_eta: number(config, "mirostat_eta")?,
        logit_bias: logit_bias(&field(config, "logit_bias")?)?,
        seed: seed(&field(config, "seed")?)?,
        order: order(&field(config, "order")?)?,
    })
}

fn field<'py>(config: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    config.get_item(name).map_err(|e| {
        if e.is_instance_of::<PyKeyError>(config.py()) {
            PyTypeError::new_err(format!("`{name}` is missing"))
        } else {
            e
        }
    })
}

fn number(config: &Bound<'_, PyAny>, name: &str) -> PyResult<f32> {
    let value = field(config, name)?;
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, "a number", &value));
    }
    value.extract::<f64>().map(|v| v as f32).map_err(|_| wrong_type(name, "a number", &value))
}

fn integer<T: TryFrom<i64>>(config: &Bound<'_, PyAny>, name: &str, range: &str) -> PyResult<T> {
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

fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| "something else".to_owned(), |n| n.to_string());
    PyTypeError::new_err(format!("`{name}` must be {wanted}, got `{kind}`"))
}

fn logit_bias(value: &Bound<'_, PyAny>) -> PyResult<Vec<(i32, f32)>> {
    let wrong = |_| PyTypeError::new_err("`logit_bias` must be pairs of token id and number");
    let pairs: Vec<(i64, f64)> = value.extract().map_err(wrong)?;
    pairs
        .into_iter()
        .map(|(token, bias)| {
            let token = i32::try_from(token).map_err(|_| {
                value_error(format!("`logit_bias` has token `{token}`, which is no token id"))
            })?;
            Ok((token, bias as f32))
        })
        .collect()
}

fn seed(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if value.is_none() {
        return Ok(None);
    }
    if value.is_instance_of::<PyBool>() || !value.hasattr("__index__")? {
        return Err(wrong_type("seed", "an integer or None", value));
    }
    value
        .extract::<u64>()
        .map(Some)
        .map_err(|_| value_error(format!("`seed` must be between 0 and 18446744073709551615, got `{value}`")))
}

fn order(value: &Bound<'_, PyAny>) -> PyResult<Vec<Stage>> {
    let names: Vec<String> =
        value.extract().map_err(|_| PyTypeError::new_err("`order` must be a sequence of stage names"))?;
    names
        .iter()
        .map(|name| {
            name.parse::<Stage>().map_err(|_| {
                let known: Vec<_> = Stage::ALL.iter().map(ToString::to_string).collect();
                value_error(format!("`order` has an unknown stage `{name}`; known are {}", known.join(", ")))
            })
        })
        .collect()
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
